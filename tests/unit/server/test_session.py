"""The provider policy, on a machine without a device: CUDA is played by a stand-in runtime."""

from __future__ import annotations

import ctypes
import importlib.metadata
import resource
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from server import session
from server.job import Images, Rows
from server.session import CPU, CUDA, CpuSession, CudaSession, ModelError, ProviderError
from tests.server_process import ROOT
from tests.unit.server.graphs import SumModel, write_graph


def play_wheels(monkeypatch: pytest.MonkeyPatch, *installed: str) -> None:
    def version(name: str) -> str:
        if name in installed:
            return "1.0"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_one_wheel_is_fine_and_two_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for wheel in ("onnxruntime", "onnxruntime-gpu"):
        play_wheels(monkeypatch, wheel)
        session.check_wheels()
    play_wheels(monkeypatch, "onnxruntime", "onnxruntime-gpu")
    with pytest.raises(ProviderError, match="pip uninstall -y onnxruntime onnxruntime-gpu"):
        session.check_wheels()


def play_obstacle(monkeypatch: pytest.MonkeyPatch, obstacle: str | None) -> None:
    monkeypatch.setattr(session, "find_cuda_obstacle", lambda: obstacle)


@pytest.mark.parametrize(
    ("wanted", "obstacle", "chosen"),
    [
        ("cpu", None, (CPU, "asked for")),
        ("cpu", "no driver", (CPU, "asked for")),
        ("cuda", None, (CUDA, "asked for")),
        ("auto", None, (CUDA, "a CUDA device was found")),
        ("auto", "no driver", (CPU, "no driver")),
    ],
)
def test_the_provider_and_its_reason(
    monkeypatch: pytest.MonkeyPatch, wanted: str, obstacle: str | None, chosen: tuple[str, str]
) -> None:
    play_obstacle(monkeypatch, obstacle)
    assert session.choose_provider(wanted) == chosen


def test_cuda_is_a_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    play_obstacle(monkeypatch, "no driver")
    with pytest.raises(ProviderError, match=r"^execution provider cuda can't be had: no driver$"):
        session.choose_provider("cuda")


class Driver:
    """libcuda: cuInit's answer, and the number of devices."""

    def __init__(self, status: int, devices: int) -> None:
        self._status, self._devices = status, devices

    def cuInit(self, flags: int) -> int:  # noqa: N802  # the driver's name
        return self._status

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802  # the driver's name
        count._obj.value = self._devices
        return 0


@pytest.mark.parametrize(
    ("driver", "obstacle"),
    [(Driver(0, 1), None), (Driver(100, 1), "sees no CUDA device"), (Driver(0, 0), "sees no CUDA device")],
)
def test_the_driver_is_asked(monkeypatch: pytest.MonkeyPatch, driver: Driver, obstacle: str | None) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    found = session.find_cuda_obstacle()
    assert found is None if obstacle is None else obstacle in (found or "")


def test_without_a_driver_or_without_cuda_in_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    assert "libcuda.so.1 is missing" in (session.find_cuda_obstacle() or "")
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    assert "built without CUDA" in (session.find_cuda_obstacle() or "")


@pytest.mark.parametrize(
    ("info", "provider", "device"),
    [
        ("model name : one\nflags\t\t: fpu avx2 avx512_vnni\n", CPU, "cpu-vnni"),
        ("flags\t\t: fpu avx_vnni\n", CPU, "cpu-vnni"),
        ("flags\t\t: fpu avx2 avx512f\n", CPU, "cpu"),
        ("Features\t: asimd\n", CPU, "cpu"),  # no x86
        (None, CPU, "cpu"),
        ("flags\t\t: avx_vnni\n", session.CUDA, "cuda"),
    ],
)
def test_the_device_has_a_name_by_which_cards_say_what_is_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, info: str | None, provider: str, device: str
) -> None:
    monkeypatch.setattr(session, "CPU_INFO", tmp_path / "cpuinfo")
    if info is not None:
        (tmp_path / "cpuinfo").write_text(info)
    assert session.name_device(provider) == device


def test_the_cpu_session_answers_row_by_row(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 8, 8), np.uint8)
    runner = session.open_session(write_graph(tmp_path), CPU, max_batch_size=4)
    for count in (5, 1):
        probabilities, evidence = runner.run(images[:count], explain=True)
        expected = SumModel.run(images[:count])
        np.testing.assert_array_equal(probabilities, expected[0])
        assert evidence.shape == expected[1].shape
        (alone,) = runner.run(images[:count])
        np.testing.assert_array_equal(alone, expected[0])


def test_warming_the_cpu_times_the_sizes_up_to_the_maximum(tmp_path: Path) -> None:
    times_ms = CpuSession(write_graph(tmp_path)).warm(20)
    assert list(times_ms) == [1, 2, 4, 8, 16]
    assert all(0 < time_ms < 10_000 for time_ms in times_ms.values())


def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError) as caught:
        session.open_session(path, CPU, max_batch_size=4)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_model_is_what_its_card_says(tmp_path: Path) -> None:
    path = write_graph(tmp_path)
    runner = CpuSession(path)
    assert session.check_model(runner, path, 8, SumModel.classes) == (2, 2), "the size of an evidence map"
    with pytest.raises(ModelError, match="can't be run on an image of 9 x 9"):
        session.check_model(runner, path, 9, SumModel.classes)
    with pytest.raises(ModelError, match="names 7 classes"):
        session.check_model(runner, path, 8, 7)


def test_evidence_that_is_no_map_is_refused() -> None:
    class Flat:
        provider = CPU

        def run(self, images: Images, explain: bool = False) -> Rows:
            return np.zeros((1, 3), np.float32), np.zeros((1, 3), np.float32)

        def warm(self, max_batch_size: int) -> dict[int, float]:
            return {}

        def pad(self, size: int) -> int:
            return size

    with pytest.raises(ModelError, match=r"arrays of \(1, 3\) and \(1, 3\), but model.json names 3 classes"):
        session.check_model(Flat(), Path("model.onnx"), 8, 3)


@pytest.mark.parametrize(
    ("maximum", "sizes"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (100, [1, 2, 4, 8, 16, 32, 64, 100])]
)
def test_buckets_double_up_to_the_maximum(maximum: int, sizes: list[int]) -> None:
    assert session._bucket_sizes(maximum) == sizes


class Value:
    """An OrtValue that lies in ordinary memory."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    @classmethod
    def ortvalue_from_numpy(cls, array: NDArray[Any], device: str, number: int) -> Value:
        return cls(array.copy())

    @classmethod
    def ortvalue_from_shape_and_type(cls, shape: tuple[int, ...], kind: Any, device: str, number: int) -> Value:
        return cls(np.zeros(shape, kind))

    def update_inplace(self, array: NDArray[Any]) -> None:
        assert array.shape == self.array.shape, "the shape of a bound buffer never changes"
        self.array[:] = array

    def numpy(self) -> NDArray[Any]:
        return self.array.copy()


class Settings:
    """SessionOptions and RunOptions: entries by key."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value

    add_run_config_entry = add_session_config_entry


class Binding:
    def __init__(self) -> None:
        self.bound: dict[str, Value] = {}

    def bind_ortvalue_input(self, name: str, value: Value) -> None:
        self.bound[name] = value

    bind_ortvalue_output = bind_ortvalue_input


class Described:
    def __init__(self, name: str, shape: list[Any]) -> None:
        self.name, self.shape = name, shape


class Runtime:
    """onnxruntime with CUDA, as far as CudaSession uses it."""

    OrtValue, SessionOptions, RunOptions = Value, Settings, Settings

    def __init__(self, providers: tuple[str, ...] = (CUDA, CPU), error: Exception | None = None) -> None:
        self._providers, self._error = providers, error
        self.runs: list[tuple[int, dict[str, str]]] = []
        self.asked: list[Any] = []

    def preload_dlls(self) -> None:
        self.asked.append("preload")

    def InferenceSession(self, path: str, options: Settings, providers: list[Any]) -> Runtime:  # noqa: N802
        self.asked += [options.entries, providers]
        if self._error:
            raise self._error
        return self

    def get_providers(self) -> list[str]:
        return list(self._providers)

    def get_inputs(self) -> list[Described]:
        return [Described("image", ["batch", 8, 8])]

    def get_outputs(self) -> list[Described]:
        classes = SumModel.classes
        return [Described("probabilities", ["batch", classes]), Described("evidence", ["batch", classes, 2, 2])]

    def io_binding(self) -> Binding:
        return Binding()

    def run_with_iobinding(self, binding: Binding, options: Settings) -> None:
        images = binding.bound["image"].array
        self.runs.append((len(images), options.entries))
        for name, rows in zip(("probabilities", "evidence"), SumModel.run(images), strict=True):
            binding.bound[name].array[:] = rows


def open_cuda(runtime: Runtime, *, graphs: bool = True, max_batch_size: int = 6) -> CudaSession:
    return CudaSession(Path("model.onnx"), max_batch_size=max_batch_size, graphs=graphs, runtime=runtime)


def test_cuda_pads_to_the_next_bucket_and_answers_row_by_row() -> None:
    runtime = Runtime()
    runner = open_cuda(runtime)
    images = np.random.default_rng(1).integers(0, 256, (6, 8, 8), np.uint8)
    for count in (6, 3, 1, 5, 2):  # smaller after larger: what is left in the buffers must not show
        probabilities, evidence = runner.run(images[:count], explain=True)
        np.testing.assert_array_equal(probabilities, SumModel.run(images[:count])[0])
        assert len(evidence) == count
        assert len(runner.run(images[:count])) == 1  # the evidence stays on the device
    assert [size for size, _ in runtime.runs] == [6, 6, 4, 4, 1, 1, 6, 6, 2, 2]


def test_a_session_says_as_how_many_images_it_computes_a_batch(tmp_path: Path) -> None:
    cuda, cpu = open_cuda(Runtime()), CpuSession(write_graph(tmp_path))
    assert [cuda.pad(size) for size in range(1, 7)] == [1, 2, 4, 4, 6, 6]
    assert [cpu.pad(size) for size in range(1, 7)] == [1, 2, 3, 4, 5, 6]


def test_cuda_never_searches_and_never_falls_back() -> None:
    runtime = Runtime()
    open_cuda(runtime)
    _, entries, providers = runtime.asked
    assert entries["session.disable_cpu_ep_fallback"] == "1"
    ((name, settings),) = providers
    assert (name, settings["cudnn_conv_algo_search"], settings["enable_cuda_graph"]) == (CUDA, "HEURISTIC", "1")


def test_each_bucket_has_a_graph_of_its_own_if_wanted() -> None:
    with_graphs, without = Runtime(), Runtime()
    open_cuda(with_graphs).warm(6)
    open_cuda(without, graphs=False).warm(6)
    assert {size: entries["gpu_graph_id"] for size, entries in with_graphs.runs} == {1: "1", 2: "2", 4: "3", 6: "4"}
    assert all(not entries for _, entries in without.runs)


def test_a_silent_fall_back_is_refused() -> None:
    with pytest.raises(ProviderError, match="onnxruntime fell back to CPUExecutionProvider"):
        open_cuda(Runtime(providers=(CPU,)))


def test_a_node_that_would_run_on_the_cpu_is_refused_with_its_cause() -> None:
    with pytest.raises(ProviderError, match="Resize has no CUDA kernel"):
        open_cuda(Runtime(error=RuntimeError("Resize has no CUDA kernel")))


def test_sessions_on_the_cpu_share_what_their_batches_take() -> None:
    images = np.zeros((256, 28, 28), np.uint8)
    sessions = [CpuSession(ROOT / "models/digits/1/model.onnx") for _ in range(7)]

    def measure() -> int:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        return pages * resource.getpagesize()

    first, *others = sessions
    first.run(images, explain=True)
    before = measure()
    for one in others:
        one.run(images)
        one.run(images, explain=True)
    assert measure() - before < 40e6, "each session alone would take some 30 MB for either"
