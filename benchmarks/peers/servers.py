"""The servers that are compared: how each is installed, started and known to be ready.

Each peer gets what its documentation advises for a small model on a CPU, in more than one way where there is a choice, and is
judged by the best of its ways.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from digitserve.bench.settings import BenchError
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.envoy import find_free_port
from benchmarks.processes import ROOT, START_TIMEOUT_S, ServerProcess
from benchmarks.stage import say

HERE = Path(__file__).parent
ENVIRONMENTS = ROOT / "build/peers"
ONNXRUNTIME = "onnxruntime==1.31.1"  # as ours, but for the CUDA libraries in it
MODEL = "digits"
MAX_BATCH_SIZE = 256
POLL_S = 0.05


class Environment:
    """A virtual environment with a peer in it, made when it is first needed."""

    def __init__(self, name: str, *requirements: str) -> None:
        self.folder = ENVIRONMENTS / name
        self.requirements = (*requirements, ONNXRUNTIME)

    @property
    def packages(self) -> Path:
        """Its site-packages."""
        return next(self.folder.glob("lib/python3*/site-packages"))

    def make(self) -> None:
        """Installs it. Raises BenchError if that can't be done."""
        done = self.folder / "requirements.txt"
        wanted = "\n".join(self.requirements)
        if done.is_file() and done.read_text() == wanted:
            return
        say(f"installing {', '.join(self.requirements)} into {self.folder} (once)")
        venv.create(self.folder, with_pip=True, clear=True)
        pip = [str(self.folder / "bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        installed = subprocess.run([*pip, *self.requirements], capture_output=True, text=True)
        if installed.returncode:
            raise BenchError(
                f"{self.folder.name} can't be installed: {(installed.stderr.strip() or 'it said nothing').splitlines()[-1]}"
            )
        done.write_text(wanted)


class PeerProcess(ServerProcess):
    """A peer that is ready once it says so by the protocol itself. To be used in a `with` statement.

    Raises BenchError if it ends instead, or takes too long.
    """

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str], address: str) -> None:
        super().__init__()
        self.command = command
        self.address = address
        self._folder, self._environment = folder, environment

    def __enter__(self) -> PeerProcess:
        started_s = time.perf_counter()
        self.launch(self._folder, self._environment)
        with grpc.insecure_channel(self.address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            while not _is_ready(stub):
                if self.process.poll() is not None or time.perf_counter() - started_s > START_TIMEOUT_S:
                    self.__exit__(None, None, None)
                    raise BenchError(
                        f"`{' '.join(self.command)}` did not start: {' / '.join(self.last_lines) or 'it said nothing'}"
                    )
                time.sleep(POLL_S)
        self.start_s = time.perf_counter() - started_s
        return self


def _is_ready(stub: Any) -> bool:
    try:
        return bool(stub.ModelReady(service_pb2.ModelReadyRequest(name=MODEL), timeout=1).ready)
    except grpc.RpcError:
        return False


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run a peer. `start` takes the model's file and an empty folder."""

    peer: str
    title: str
    start: Callable[[Path, Path], ServerProcess]


def start_ours(model: Path, folder: Path) -> ServerProcess:
    return ServerProcess("server", "--host", "127.0.0.1", "--port", "0", "--models", str(model.parents[2]))


MLSERVER = Environment("mlserver", "mlserver==1.7.1", "uvloop==0.21.0")  # its workers do not start with a newer uvloop
TRITON = Environment("triton", "nvidia-pytriton==0.7.0")  # brings the server itself, and its Python backend


def start_mlserver(model: Path, folder: Path, *, workers: int, batch: int = 0, delay_s: float = 0.0) -> ServerProcess:
    """`workers` processes run the model; with 0, the server's own does.

    Up to `batch` requests that come within `delay_s` are run together.
    """
    MLSERVER.make()
    grpc_port, http_port, metrics_port = (find_free_port() for _ in range(3))
    settings = {"host": "127.0.0.1", "grpc_port": grpc_port, "http_port": http_port, "metrics_port": metrics_port}
    about = {"name": MODEL, "implementation": "mlserver_model.Digits", "parameters": {"uri": str(model)}}
    (folder / "settings.json").write_text(json.dumps(settings | {"parallel_workers": workers, "debug": False}))
    (folder / "model-settings.json").write_text(json.dumps(about | {"max_batch_size": batch, "max_batch_time": delay_s}))
    shutil.copy(HERE / "mlserver_model.py", folder)
    command = [str(MLSERVER.folder / "bin/mlserver"), "start", str(folder)]
    return PeerProcess(command, folder, os.environ | {"PYTHONPATH": str(folder)}, f"127.0.0.1:{grpc_port}")


CONFIG = """
name: "digits"
backend: "python"
max_batch_size: %d
input [{name: "image" data_type: TYPE_UINT8 dims: [28, 28]}]
output [{name: "probabilities" data_type: TYPE_FP32 dims: [10]}]
parameters {key: "path" value: {string_value: "%s"}}
instance_group [{count: %d kind: KIND_CPU}]
dynamic_batching {}
"""


def start_triton(model: Path, folder: Path, *, instances: int) -> ServerProcess:
    """Triton's own server and Python backend, without PyTriton around them, which only costs time."""
    TRITON.make()
    own = TRITON.packages / "pytriton/tritonserver"
    backend, repository = folder / "backends/python", folder / "models"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(own / "backends/python", backend)
    shutil.copy(own / "python_backend_stubs" / version / "triton_python_backend_stub", backend)
    (repository / MODEL / "1").mkdir(parents=True)
    (repository / MODEL / "config.pbtxt").write_text(CONFIG % (MAX_BATCH_SIZE, model, instances))
    script = (HERE / "triton_model.py").read_text().replace("@PACKAGES@", str(TRITON.packages))
    (repository / MODEL / "1/model.py").write_text(script)
    grpc_port, http_port = find_free_port(), find_free_port()
    command = [
        str(own / "bin/tritonserver"), f"--model-repository={repository}", f"--backend-directory={backend.parent}",
        "--grpc-address=127.0.0.1", f"--grpc-port={grpc_port}", "--http-address=127.0.0.1", f"--http-port={http_port}",
        "--allow-metrics=false", "--log-info=false",
    ]  # fmt: skip
    libraries = {"LD_LIBRARY_PATH": str(TRITON.packages / "nvidia_pytriton.libs")}
    return PeerProcess(command, folder, os.environ | libraries, f"127.0.0.1:{grpc_port}")
