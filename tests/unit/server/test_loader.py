"""From a card to a model that answers: opened, tried and warm on its own threads."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import threading
import weakref
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server import loader
from server.config import Settings
from server.errors import InferenceFailed, NotReady
from server.golden import pack
from server.health import HealthServicer
from server.job import Images, Rows
from server.loader import Loader, choose_inline_size
from server.recorder import ModelRecord, Recorder
from server.repository import read_card
from server.servicer import Served
from server.session import CPU, CUDA, ModelError, ProviderError
from tests.repository import write_model
from tests.unit.server.graphs import SumModel, write_graph


class Session:
    """SumModel, which fails while it is told to."""

    def __init__(self, provider: str = CPU) -> None:
        self.provider = provider
        self.broken = False

    def run(self, images: Images, explain: bool = False) -> Rows:
        if self.broken:
            raise RuntimeError("out of order")
        return SumModel.run(images, explain)

    def pad(self, size: int) -> int:
        return size

    def warm(self, max_batch_size: int) -> dict[int, float]:
        return {1: 0.1, 2: 0.2, 4: 0.4, 8: 0.8}


@pytest.mark.parametrize(
    ("provider", "inline_ms", "size"),
    [
        *[(CPU, 0.4, 4), (CPU, 0.49, 4), (CPU, 0.51, 5), (CPU, 0.79, 7)],  # between two warmed sizes, in proportion
        *[(CPU, 0.05, 0), (CPU, 0.0, 0), (CPU, 9.0, 8), (CUDA, 9.0, 0)],
    ],
)
def test_what_runs_inline_is_over_in_time_and_never_on_cuda(provider: str, inline_ms: float, size: int) -> None:
    session = Session(provider)
    assert choose_inline_size(session, session.warm(8), inline_ms) == size


def ignore() -> None:
    """Is told how the model is."""


Loaded = Callable[[Served], Coroutine[Any, Any, None]]


def load(root: Path, settings: Settings, test: Loaded, *, provider: str = CPU, report: Callable[[], object] = ignore) -> None:
    """Loads the one model in a repository and hands it to the test."""

    async def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loader, "choose_provider", lambda wanted: (provider, "by the test"))
            served = await Loader(settings).load(read_card(root / "digits" / "1"), report)
        await test(served)

    asyncio.run(asyncio.wait_for(run(), 30))


def write_sums(root: Path, **changes: Any) -> None:
    """A repository whose digits model is SumModel."""
    root.joinpath("graph").mkdir()
    content = write_graph(root / "graph").read_bytes()
    described: dict[str, Any] = {"class_names": ["a", "b", "c"], "input": {"height": 8, "width": 8}}
    write_model(root, content=content, **described, **changes)


@pytest.mark.parametrize(
    ("settings", "times_ms", "wait_ms", "split_size", "batch_size"),
    [
        (Settings(instances=2), {1: 0.1, 8: 0.8}, 80.0, 8, 8),
        (Settings(instances=2), {1: 40.0, 8: 320.0}, 240.0, 1, 1),
        (Settings(instances=2, max_queue_wait_ms=5.0, max_batch_size=8), {1: 40.0, 8: 320.0}, 5.0, 1, 8),
    ],
)
def test_how_long_may_be_waited_follows_from_the_warm_up_unless_it_is_set(
    settings: Settings,
    times_ms: dict[int, float],
    wait_ms: float,
    split_size: int,
    batch_size: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_sums(tmp_path, max_batch_size=8)
    session = Session()
    monkeypatch.setattr(session, "warm", lambda max_batch_size: times_ms)
    monkeypatch.setattr(loader, "open_session", lambda *given, **named: session)

    async def test(served: Served) -> None:
        limits = served.batcher._limits
        assert (limits.max_queue_wait_ms, limits.min_split_size, limits.max_batch_size) == (wait_ms, split_size, batch_size)
        assert limits.times_ms == times_ms

    load(tmp_path, settings, test)


def test_a_loaded_model_answers(tmp_path: Path) -> None:
    write_sums(tmp_path)

    async def test(served: Served) -> None:
        image = np.full((1, 8, 8), 2, np.uint8)
        answer = await served.batcher.submit(image)
        np.testing.assert_array_equal(answer.rows[0], SumModel.run(image)[0])
        assert (served.provider, served.card.name, served.map_shape) == (CPU, "digits", (2, 2))

    load(tmp_path, Settings(), test)


def test_a_model_that_fails_in_a_row_is_reported_and_so_is_its_recovery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_sums(tmp_path)
    session, image = Session(), np.zeros((1, 8, 8), np.uint8)
    told: list[str] = []
    monkeypatch.setattr(loader, "open_session", lambda *given, **named: session)

    async def test(served: Served) -> None:
        session.broken = True
        for error in (InferenceFailed, InferenceFailed, NotReady):
            assert (served.batcher.healthy, told) == (True, [])
            with pytest.raises(error):
                await served.batcher.submit(image)
        assert (served.batcher.healthy, len(told)) == (False, 1)
        session.broken = False
        await served.batcher.submit(image)
        assert (served.batcher.healthy, len(told)) == (True, 2)

    load(tmp_path, Settings(), test, report=lambda: told.append("something"))


def test_a_model_is_recorded_where_somebody_wants_metrics_and_nowhere_else(tmp_path: Path) -> None:
    write_sums(tmp_path)
    card = read_card(tmp_path / "digits" / "1")

    async def run(recorder: Recorder | None) -> Served:
        served = await Loader(Settings(execution_provider="cpu"), recorder).load(card, ignore)
        await served.batcher.submit(np.full((3, 8, 8), 2, np.uint8))
        return served

    assert asyncio.run(run(None)).batcher.recorder is None
    record = asyncio.run(run(Recorder({}, HealthServicer(), []))).batcher.recorder
    assert isinstance(record, ModelRecord)
    assert (sum(record.batch_sizes), record.batch_sizes[3], record.count_padding()) == (1, 1, 0)


GOLDEN = np.arange(5 * 64, dtype=np.uint8).reshape(5, 8, 8)
SUMS = [float(image.sum()) for image in GOLDEN]


def test_golden_images_are_tried_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_sums(tmp_path, golden=pack(GOLDEN[:1], {"a": SUMS[0]}))

    async def test(served: Served) -> None:
        assert "model digits 1 in fp32: 1 golden images right, warm" in caplog.text

    with caplog.at_level(logging.INFO, "digitserve"):
        load(tmp_path, Settings(), test)


def test_a_model_without_golden_images_loads_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_sums(tmp_path)

    async def test(served: Served) -> None:
        assert "model digits 1 in fp32: no golden images to try it on, warm" in caplog.text

    with caplog.at_level(logging.INFO, "digitserve"):
        load(tmp_path, Settings(), test)


@pytest.mark.parametrize(
    ("answers", "difference"),
    [
        ({"a": SUMS[0] - 0.06}, f"it takes a golden 'a' of {SUMS[0] - 0.06:.2f} for 'a' of {SUMS[0]:.2f}"),
        ({"b": SUMS[0]}, f"it takes a golden 'b' of {SUMS[0]:.2f} for 'a' of {SUMS[0]:.2f}"),
        ({"a": float("nan")}, "it takes a golden 'a' of nan for 'a'"),
    ],
    ids=["another probability", "another class", "no number"],
)
def test_a_model_that_answers_otherwise_is_not_the_one_that_was_measured(
    tmp_path: Path, answers: dict[str, float], difference: str
) -> None:
    write_sums(tmp_path, golden=pack(GOLDEN[:1], answers))

    async def test(served: Served) -> None:
        raise AssertionError("it must not come so far")

    with pytest.raises(ModelError) as caught:
        load(tmp_path, Settings(), test)
    file = tmp_path / "digits" / "1" / "model.onnx"
    assert str(caught.value).startswith(f"{file} is not the model that was measured: {difference}")


@pytest.mark.parametrize("explain", [False, True])
def test_golden_images_are_tried_with_and_without_evidence(
    explain: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sums(tmp_path, golden=pack(GOLDEN[:1], {"a": SUMS[0]}))
    session = Session()

    def lie(images: Images, explained: bool) -> Rows:
        probabilities, *evidence = SumModel.run(images, explained)
        return (probabilities * np.float32(0.5 if explained is explain else 1), *evidence)

    monkeypatch.setattr(session, "run", lambda images, explain=False: lie(images, explain))
    monkeypatch.setattr(loader, "open_session", lambda *given, **named: session)

    async def test(served: Served) -> None:
        raise AssertionError("it must not come so far")

    with pytest.raises(ModelError, match="is not the model that was measured"):
        load(tmp_path, Settings(), test)


def test_whoever_lets_a_model_go_lets_its_threads_and_its_session_go_without_a_garbage_collection(tmp_path: Path) -> None:
    write_sums(tmp_path)

    async def run() -> None:
        before = {*threading.enumerate()}
        served = await Loader(Settings(execution_provider="cpu")).load(read_card(tmp_path / "digits" / "1"), ignore)
        image = np.full((64, 8, 8), 2, np.uint8)
        await asyncio.gather(*[served.batcher.submit(image) for _ in range(4)])
        session = weakref.ref(served.batcher._run.__self__)  # type: ignore[attr-defined]
        threads = {*threading.enumerate()} - before
        assert threads
        assert session() is not None
        del served
        await asyncio.gather(*[asyncio.to_thread(thread.join, 10) for thread in threads])
        assert [thread for thread in threads if thread.is_alive()] == []
        assert session() is None

    gc.disable()
    try:
        asyncio.run(asyncio.wait_for(run(), 30))
    finally:
        gc.enable()


def test_a_slow_load_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step that takes its time waits here for a sign that the event loop itself gives."""
    write_sums(tmp_path, golden=pack(GOLDEN[:1], {"a": SUMS[0]}))
    began, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def wait() -> None:
        began.release()
        assert go_on.acquire(timeout=30)

    class SlowSession(Session):
        def run(self, images: Images, explain: bool = False) -> Rows:
            wait()
            return super().run(images, explain)

        def warm(self, max_batch_size: int) -> dict[int, float]:
            wait()
            return super().warm(max_batch_size)

    def open_slowly(*given: Any, **named: Any) -> Session:
        wait()
        return SlowSession()

    monkeypatch.setattr(loader, "open_session", open_slowly)

    async def run() -> None:
        loading = asyncio.create_task(
            Loader(Settings(execution_provider="cpu")).load(read_card(tmp_path / "digits" / "1"), ignore)
        )
        for _ in ("open", "black", "golden", "golden explained", "warm"):
            assert await asyncio.to_thread(began.acquire, timeout=30)
            assert not loading.done()
            go_on.release()
        await loading

    asyncio.run(asyncio.wait_for(run(), 60))


def play_cuda(monkeypatch: pytest.MonkeyPatch, error: Exception | None, opened: list[Path] | None = None) -> list[str]:
    """Makes CUDA answer, or fail with `error`; returns the providers that are asked for, and notes the files in `opened`."""
    asked: list[str] = []

    def open_session(path: Path, provider: str, **options: Any) -> Session:
        asked.append(provider)
        if opened is not None:
            opened.append(path)
        if provider == CUDA and error:
            raise error
        return Session(provider)

    monkeypatch.setattr(loader, "open_session", open_session)
    return asked


def test_auto_goes_on_with_the_cpu_where_the_device_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_sums(tmp_path)
    asked = play_cuda(monkeypatch, ProviderError("no kernel for this device"))

    async def test(served: Served) -> None:
        assert served.provider == CPU

    load(tmp_path, Settings(execution_provider="auto"), test, provider=CUDA)
    assert asked == [CUDA, CPU]
    assert "no kernel for this device; going on with the CPU" in caplog.text


def write_halves(root: Path) -> Path:
    """write_sums() with a variant for CUDA. Returns the version's folder."""
    content = b"stands for the same in float16"
    variant = {"file": "model.fp16.onnx", "sha256": hashlib.sha256(content).hexdigest()}
    write_sums(root, variants={"fp16": variant}, best={"cpu": "fp32", "cuda": "fp16"})
    folder = root / "digits" / "1"
    (folder / "model.fp16.onnx").write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("provider", "error", "files", "named"),
    [
        (CPU, None, ["model.onnx"], "fp32"),
        (CUDA, None, ["model.fp16.onnx"], "fp16"),
        (CUDA, ProviderError("no kernel for this device"), ["model.fp16.onnx", "model.onnx"], "fp32"),
    ],
)
def test_the_file_for_the_provider_is_taken_and_the_log_says_which(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    provider: str,
    error: Exception | None,
    files: list[str],
    named: str,
) -> None:
    folder = write_halves(tmp_path)
    opened: list[Path] = []
    play_cuda(monkeypatch, error, opened)

    async def test(served: Served) -> None:
        assert opened == [folder / file for file in files]

    with caplog.at_level(logging.INFO, "digitserve"):
        load(tmp_path, Settings(execution_provider="auto"), test, provider=provider)
    assert f"model digits 1 in {named}: no golden" in caplog.text


def test_cuda_that_does_not_work_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sums(tmp_path)
    asked = play_cuda(monkeypatch, ProviderError("no kernel for this device"))

    async def test(served: Served) -> None:
        raise AssertionError("it must not come so far")

    with pytest.raises(ProviderError, match="no kernel"):
        load(tmp_path, Settings(execution_provider="cuda"), test, provider=CUDA)
    assert asked == [CUDA]


@pytest.mark.parametrize("alone", [False, True])
def test_bulk_gathers_where_the_loop_has_one_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool) -> None:
    monkeypatch.setattr(loader, "is_on_one_core", lambda: alone)
    write_sums(tmp_path)

    async def test(served: Served) -> None:
        assert served.batcher._limits.bulk_gathers is alone

    load(tmp_path, Settings(), test)


def test_cuda_runs_one_batch_at_a_time_and_none_inline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sums(tmp_path)
    play_cuda(monkeypatch, None)

    async def test(served: Served) -> None:
        limits = served.batcher._limits
        assert (served.provider, limits.instances, limits.inline_batch_size) == (CUDA, 1, 0)

    load(tmp_path, Settings(instances=8), test, provider=CUDA)
