"""The same promises on a CUDA GPU: the right provider, the CPU's answers, and what it is worth at every batch bucket.

A program of its own, for a machine with a GPU: `python -m benchmarks.gpu`. Elsewhere it refuses in one line.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from digitserve.bench.connection import CHANNEL_OPTIONS, SERVICE
from digitserve.bench.images import load_images
from digitserve.bench.settings import BenchError
from digitserve.v1 import recognizer_pb2 as pb

from benchmarks.processes import ROOT, ServerProcess, busy_cores
from benchmarks.raw import PROVIDERS, predict
from benchmarks.results import check_output, conclude, report
from benchmarks.rounds import interleave, paired_ratios, spread_of
from benchmarks.stage import Stage, find_images, find_model, say
from benchmarks.targets import Row
from benchmarks.throughput import measure_coalesced, measure_unary

PARITY_TARGET = 1e-3
BUCKETS = (1, 8, 32, 64, 128, 256)
PARITY_SIZES = (1, 2, 7, 33, 64, 200, 256)  # on and between the buckets, so that padding is checked, too
TIMEOUT_S = 30.0


def require_gpu() -> None:
    """Raises BenchError unless the CUDA driver is here and finds a GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise BenchError("no CUDA GPU here: there is no CUDA driver (libcuda.so.1)") from None
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        raise BenchError("no CUDA GPU here: the CUDA driver finds no device")


def describe_gpu() -> str:
    """Name, memory and driver version, as nvidia-smi tells them."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def measure_provider(stage: Stage) -> list[Row]:
    """The server must say that it runs on CUDA; anything else ends the run, because every figure would be the CPU's."""
    with grpc.insecure_channel(stage.server.address, options=CHANNEL_OPTIONS) as channel:
        method = channel.unary_unary(SERVICE + "ListModels")
        data = method(pb.ListModelsRequest().SerializeToString(), timeout=TIMEOUT_S)
    providers = {model.execution_provider for model in pb.ListModelsResponse.FromString(data).models}
    if providers != {PROVIDERS["cuda"]}:
        raise BenchError(f"the server runs on {', '.join(sorted(providers)) or 'nothing'}, not on {PROVIDERS['cuda']}")
    return [Row("models on CUDAExecutionProvider", 1.0, "", 1.0, "exactly", digits=0)]


def measure_parity(stage: Stage) -> list[Row]:
    """Probabilities from the server on CUDA against onnxruntime on the CPU, in batches of many sizes."""
    say("parity of CUDA and CPU")
    images = load_images(stage.images)
    served, alone = _ask_probabilities(stage, images.pixels), predict(stage.model, images.pixels)
    difference = float(np.abs(served - alone).max())
    agreement = int((served.argmax(1) == alone.argmax(1)).sum())
    rows = [
        Row("probabilities, CUDA against CPU, largest difference", difference, "", PARITY_TARGET, "at most", digits=6),
        Row(f"same class, of {len(images):,} images", agreement, "images", digits=0),
    ]
    if images.labels is None:
        return rows
    right, expected = (100 * float((found.argmax(1) == images.labels).mean()) for found in (served, alone))
    return [*rows, Row(f"accuracy on CUDA (CPU: {expected:.2f} %), {len(images):,} digits", right, "%")]


def _ask_probabilities(stage: Stage, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    rows = []
    with grpc.insecure_channel(stage.server.address, options=CHANNEL_OPTIONS) as channel:
        method = channel.unary_unary(SERVICE + "RecognizeBatch")
        start = number = 0
        while start < len(pixels):
            batch = pixels[start : start + PARITY_SIZES[number % len(PARITY_SIZES)]]
            request = pb.RecognizeBatchRequest(images=batch.tobytes(), layout=pb.LAYOUT_FRAMED, probabilities=True)
            data = method(request.SerializeToString(), timeout=TIMEOUT_S)
            answer = pb.RecognizeBatchResponse.FromString(data)
            rows.append(np.frombuffer(answer.probabilities, "<f4").reshape(len(batch), -1))
            start, number = start + len(batch), number + 1
    return np.concatenate(rows)


def measure_bucket(stage: Stage, size: int) -> list[Row]:
    """Packed calls of `size` images, one at a time and 16 in flight, against onnxruntime alone on the GPU."""
    say(f"batches of {size}: the server and onnxruntime alone on CUDA")

    def load(in_flight: int) -> tuple[float, float]:
        processes = min(stage.processes, in_flight)
        how: dict[str, Any] = {"mode": "batch", "batch_size": size, "concurrency": in_flight, "processes": processes}
        figures = stage.load(stage.server, **how)
        return figures.images_per_s, figures.latency_ms.p50 if figures.latency_ms else float("nan")

    def run_raw() -> tuple[float, float]:
        figures = stage.raw("--provider", "cuda", "--batch", str(size))
        return figures["images_per_s"], figures["run_ms"]

    measures: dict[str, Callable[[], tuple[float, float]]] = {
        "alone": run_raw,
        "lone": partial(load, 1),
        "many": partial(load, 16),
    }
    runs = interleave(stage.rounds, measures)
    rates = {name: [rate for rate, _ in results] for name, results in runs.items()}
    times_ms = {name: spread_of([time_ms for _, time_ms in results]) for name, results in runs.items()}
    ratio = paired_ratios(rates["many"], rates["alone"])
    many, alone = spread_of(rates["many"]), spread_of(rates["alone"])
    return [
        Row(f"batch {size}, one call, p50", times_ms["lone"].median, "ms", spread=times_ms["lone"], digits=3),
        Row(f"batch {size}, onnxruntime alone, p50", times_ms["alone"].median, "ms", spread=times_ms["alone"], digits=3),
        Row(f"batch {size} x 16 in flight", many.median, "images/s", spread=many, digits=0, raw=dict(rates)),
        Row(f"batch {size}, onnxruntime alone", alone.median, "images/s", spread=alone, digits=0),
        Row(f"batch {size} x 16 in flight, against onnxruntime alone", ratio.median, "x", spread=ratio),
    ]


def parse_options(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="default: %(default)s")
    add("--seconds", type=float, default=2.0, help="of each measurement; default: %(default)s")
    add("--processes", type=int, default=4, help="that make the load; default: %(default)s")
    add("--models", type=Path, default=ROOT / "models", help="the model repository")
    add("--data", default=os.environ.get("DIGITSERVE_DATA", ""), help="holds MNIST; default: $DIGITSERVE_DATA")
    folder = Path(os.environ.get("OUT") or ROOT / "build/bench")
    add("--output", type=Path, default=folder, metavar="FOLDER", help="for gpu.json; default: $OUT, or build/bench")
    options = parser.parse_args(words)
    if options.rounds < 1 or options.processes < 1 or not 0 < options.seconds < float("inf"):
        parser.error("--rounds and --processes must be at least 1, --seconds above 0")
    return options


def run(options: argparse.Namespace) -> None:
    """Measures everything and writes gpu.json. Raises BenchError if there is no GPU or the server won't use it."""
    require_gpu()
    check_output(options.output / "gpu.json")
    model, before = find_model(options.models), busy_cores(1.0)
    images, labelled = find_images(options.data)
    serve = ("server", "--host", "127.0.0.1", "--port", "0", "--models", str(options.models.absolute()))
    with (
        ServerProcess("benchmarks.echo") as echo,
        ServerProcess(*serve, "--execution-provider", "cuda") as server,
    ):
        stage = Stage(
            server, echo, model, images, labelled,
            rounds=options.rounds, seconds=options.seconds, processes=options.processes, quick=False, soak=False,
        )  # fmt: skip
        rows = [Row("start to SERVING on CUDA", server.start_s, "s"), *measure_provider(stage), *measure_parity(stage)]
        rows += [row for size in BUCKETS for row in measure_bucket(stage, size)]
        rows += [*measure_unary(stage), *measure_coalesced(stage), Row("resident memory", server.resident_mb(), "MB")]
    report(rows, (before, busy_cores(1.0)), stage, options.output / "gpu.json", gpu=describe_gpu())


def main(words: list[str] | None = None) -> int:
    options = parse_options(words)
    return conclude("benchmarks.gpu", partial(run, options))


if __name__ == "__main__":
    raise SystemExit(main())
