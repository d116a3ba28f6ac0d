"""onnxruntime sessions: what runs a batch, on the CPU or on a CUDA device.

The provider policy: `cuda` is a demand. onnxruntime falls back to the CPU in silence, as a whole or node by node, so the
demand is checked before, during and after the session is made, and a refusal names its cause. `auto` takes CUDA where it
works and says in the log why it does not. `cpu` never looks for a device.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import logging
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from server.graph import keep_only
from server.job import Images, Rows

logger = logging.getLogger("digitserve.session")

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
OUTPUTS = ("probabilities", "evidence")
CPU_INFO = Path("/proc/cpuinfo")
VNNI = {"avx_vnni", "avx512_vnni"}  # instructions for products of 8-bit integers, which make those faster than float32


class ProviderError(Exception):
    """The execution provider that was asked for can't be had; the message names the cause."""


class ModelError(Exception):
    """The file is no model that this server can run; the message names it."""


class Session(Protocol):
    """A loaded model that runs batches."""

    provider: str

    def run(self, images: Images, explain: bool = False) -> Rows:
        """(n, height, width) uint8 to probabilities (n, classes); to explain, and evidence (n, classes, h, w). Both float32."""
        ...

    def pad(self, size: int) -> int:
        """As how many images a batch of `size` is computed."""
        ...

    def warm(self, max_batch_size: int) -> dict[int, float]:
        """Runs every batch size that costs extra the first time; returns milliseconds for each size that was timed."""
        ...


def check_wheels() -> None:
    """Raises ProviderError if both onnxruntime wheels are installed: they overwrite each other's files."""
    found = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if len(found) > 1:
        raise ProviderError(
            "both onnxruntime and onnxruntime-gpu are installed and overwrite each other: "
            "pip uninstall -y onnxruntime onnxruntime-gpu, then install one of them"
        )


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def choose_provider(wanted: str) -> tuple[str, str]:
    """Resolves `auto`, `cpu` or `cuda` to a provider's name and the reason for it.

    Raises:
        ProviderError: `cuda` is wanted and can't be had.
    """
    if wanted == "cpu":
        return CPU, "asked for"
    missing = find_cuda_obstacle()
    if missing is None:
        return CUDA, "asked for" if wanted == "cuda" else "a CUDA device was found"
    if wanted == "cuda":
        raise ProviderError(f"execution provider cuda can't be had: {missing}")
    return CPU, missing


def name_device(provider: str) -> str:
    """The kind of device that a provider computes on here, as model.json names it: "cuda", "cpu-vnni" or "cpu"."""
    if provider == CUDA:
        return "cuda"
    try:
        flags = next(line for line in CPU_INFO.read_text(encoding="utf-8").splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return "cpu"
    return "cpu-vnni" if VNNI & set(flags.split()) else "cpu"


def find_cuda_obstacle() -> str | None:
    """What keeps CUDA from working on this machine, in words; None if nothing is seen."""
    if CUDA not in ort.get_available_providers():
        return "this onnxruntime was built without CUDA; install onnxruntime-gpu"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver on this machine (libcuda.so.1 is missing)"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value < 1:
        return "the NVIDIA driver sees no CUDA device"
    return None


def open_session(path: Path, provider: str, *, max_batch_size: int, cuda_graphs: bool = True) -> Session:
    """Loads a model for one provider.

    Raises:
        ModelError: onnxruntime can't read the file.
        ProviderError: CUDA was chosen, but the session or one of its nodes would run on the CPU.
    """
    if provider == CUDA:
        return CudaSession(path, max_batch_size=max_batch_size, graphs=cuda_graphs)
    try:
        return CpuSession(path)
    except Exception as error:
        raise ModelError(f"{path} can't be loaded: {_first_line(error)}") from error


def check_model(session: Session, path: Path, size: int, classes: int) -> tuple[int, int]:
    """Asks about one black image of `size` x `size` pixels.

    Returns:
        height and width of its evidence maps.

    Raises:
        ModelError: the model can't answer, or not with a probability for each of its classes.
    """
    try:
        probabilities, evidence = session.run(np.zeros((1, size, size), np.uint8), True)
    except Exception as error:
        raise ModelError(f"{path} can't be run on an image of {size} x {size}: {_first_line(error)}") from error
    if probabilities.shape != (1, classes) or evidence.shape[:2] != (1, classes) or evidence.ndim != 4:
        shapes = f"{probabilities.shape} and {evidence.shape}"
        raise ModelError(f"{path} answers with arrays of {shapes}, but model.json names {classes} classes")
    height, width = evidence.shape[2:]
    return height, width


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


class CpuSession:
    """One thread a batch: batches run side by side in as many threads as there are cores.

    That beats one batch on all cores, since nobody waits at a barrier. onnxruntime's session may be run from many threads at
    once. A batch is one run: smaller ones stay in a core's cache, but were slower in a server under load. Evidence, which few
    ask for, has a session of its own, as onnxruntime would compute it for all.
    """

    provider = CPU

    def __init__(self, path: Path) -> None:
        options = _cpu_options()
        self._explaining = ort.InferenceSession(str(path), options, providers=[CPU])
        self._session = self._explaining
        try:
            self._session = ort.InferenceSession(keep_only(path.read_bytes(), OUTPUTS[0]), options, providers=[CPU])
        except Exception as error:  # a model by somebody else, such as one with weights in a second file
            logger.warning("%s is served with evidence for all, which is slower: %s", path, _first_line(error))
        self._lone = _LoneBuffers(self._session)

    def run(self, images: Images, explain: bool = False) -> Rows:
        if explain:
            return tuple(self._explaining.run(list(OUTPUTS), {"image": images}))
        if len(images) == 1:
            return (self._lone.run(images),)
        return tuple(self._session.run([OUTPUTS[0]], {"image": images}))

    def pad(self, size: int) -> int:
        return size

    def warm(self, max_batch_size: int) -> dict[int, float]:
        sizes = [size for size in (1, 2, 4, 8, 16, 32, 64) if size <= max_batch_size]
        height, width = self._session.get_inputs()[0].shape[1:]
        return {size: _time_ms(self.run, np.zeros((size, height, width), np.uint8)) for size in sizes}


class _LoneBuffers(threading.local):
    """Buffers of each thread, bound once, for a batch of one: onnxruntime's own way in and out costs a sixth of its time."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._image = np.zeros((1, *session.get_inputs()[0].shape[1:]), np.uint8)
        self._probabilities: NDArray[np.float32] = np.zeros_like(session.run([OUTPUTS[0]], {"image": self._image})[0])
        # On the CPU an OrtValue lies over the array's own memory.
        self._binding.bind_ortvalue_input("image", ort.OrtValue.ortvalue_from_numpy(self._image))
        self._binding.bind_ortvalue_output(OUTPUTS[0], ort.OrtValue.ortvalue_from_numpy(self._probabilities))

    def run(self, images: Images) -> NDArray[np.float32]:
        self._image[...] = images
        self._session.run_with_iobinding(self._binding)
        return self._probabilities.copy()


class CudaSession:
    """Fixed batch buckets with buffers bound once, and one CUDA graph for each bucket.

    A batch is padded to the next bucket, so that no shape is ever new to cuDNN. Its buffers are shared by all batches: run
    it from one thread, which is also the thread that must have warmed it, as CUDA graphs belong to a thread.
    """

    provider = CUDA

    def __init__(self, path: Path, *, max_batch_size: int, graphs: bool, runtime: Any = ort) -> None:
        self._runtime = runtime
        options = _options(runtime)
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        settings = {
            "cudnn_conv_algo_search": "HEURISTIC",  # EXHAUSTIVE searches anew for every shape, for seconds
            "enable_cuda_graph": "1" if graphs else "0",
        }
        try:
            if hasattr(runtime, "preload_dlls"):
                runtime.preload_dlls()  # finds the CUDA libraries that came from PyPI
            self._session = runtime.InferenceSession(str(path), options, providers=[(CUDA, settings)])
        except Exception as error:
            raise ProviderError(f"execution provider cuda can't run {path}: {error}") from error
        actual = self._session.get_providers()
        if actual[0] != CUDA:
            raise ProviderError(f"execution provider cuda can't run {path}: onnxruntime fell back to {', '.join(actual)}")
        self._graphs = graphs
        self._buckets = {size: self._bind(size, number) for number, size in enumerate(_bucket_sizes(max_batch_size), 1)}

    def _bind(self, size: int, number: int) -> _Bucket:
        height, width = self._session.get_inputs()[0].shape[1:]
        staging = np.zeros((size, height, width), np.uint8)
        value = self._runtime.OrtValue
        binding = self._session.io_binding()
        image = value.ortvalue_from_numpy(staging, "cuda", 0)
        binding.bind_ortvalue_input("image", image)
        shapes = {output.name: (size, *output.shape[1:]) for output in self._session.get_outputs()}
        outputs = [value.ortvalue_from_shape_and_type(shapes[name], np.float32, "cuda", 0) for name in OUTPUTS]
        for name, output in zip(OUTPUTS, outputs, strict=True):
            binding.bind_ortvalue_output(name, output)
        run_options = self._runtime.RunOptions()
        if self._graphs:
            run_options.add_run_config_entry("gpu_graph_id", str(number))
        return _Bucket(staging, image, outputs, binding, run_options)

    def run(self, images: Images, explain: bool = False) -> Rows:
        size = len(images)
        bucket = self._buckets[self.pad(size)]
        bucket.staging[:size] = images
        bucket.image.update_inplace(bucket.staging)
        self._session.run_with_iobinding(bucket.binding, bucket.run_options)
        outputs = bucket.outputs if explain else bucket.outputs[:1]  # what nobody asked for stays on the device
        return tuple(output.numpy()[:size] for output in outputs)

    def pad(self, size: int) -> int:
        return next(limit for limit in self._buckets if limit >= size)

    def warm(self, max_batch_size: int) -> dict[int, float]:
        return {size: _time_ms(self.run, bucket.staging.copy()) for size, bucket in self._buckets.items()}


class _Bucket:
    """The bound buffers of one batch size."""

    __slots__ = ("binding", "image", "outputs", "run_options", "staging")

    def __init__(self, staging: NDArray[np.uint8], image: Any, outputs: list[Any], binding: Any, run_options: Any) -> None:
        self.staging = staging
        self.image = image
        self.outputs = outputs
        self.binding = binding
        self.run_options = run_options


def _bucket_sizes(max_batch_size: int) -> list[int]:
    """1, 2, 4, ... up to and including the maximum."""
    sizes = [1]
    while sizes[-1] * 2 < max_batch_size:
        sizes.append(sizes[-1] * 2)
    return [*sizes, max_batch_size] if max_batch_size > 1 else sizes


def _options(runtime: Any = ort) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # an idle server costs no CPU
    options.log_severity_level = 4  # what goes wrong is an exception, which we log ourselves, in our form
    return options


def _cpu_options() -> Any:
    _share_memory()
    options = _options()
    options.add_session_config_entry("session.use_env_allocators", "1")
    return options


@cache
def _share_memory() -> None:
    """All sessions on the CPU take from one arena: else each keeps for ever what its largest batch took."""
    arena = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(arena, None)


def _time_ms(run: Callable[[Images], Rows], images: Images) -> float:
    """The fastest of some runs: what the batch costs when nothing disturbs it."""
    fastest = float("inf")
    for _ in range(4):
        started_at = time.perf_counter()
        run(images)
        fastest = min(fastest, time.perf_counter() - started_at)
    return fastest * 1e3
