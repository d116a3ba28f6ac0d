"""The order of start and drain, with everything that would open a socket played by stand-ins."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server import app
from server.config import Settings
from server.errors import InferenceFailed, NotReady
from server.health import NOT_SERVING, SERVING, HealthServicer
from server.job import Images, Rows
from server.recorder import ModelRecord
from server.recorder import Recorder as NumberRecorder
from server.repository import ModelCard, read_repository
from server.servicer import Served
from server.session import CPU, CUDA, ProviderError
from tests.unit.server.graphs import SumModel, write_graph
from tests.unit.server.test_repository import write_model


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
    ("provider", "inline_ms", "size"), [(CPU, 0.5, 4), (CPU, 0.05, 0), (CPU, 0.0, 0), (CPU, 9.0, 8), (CUDA, 9.0, 0)]
)
def test_what_runs_inline_is_over_in_time_and_never_on_cuda(provider: str, inline_ms: float, size: int) -> None:
    session = Session(provider)
    assert app._choose_inline_size(session, session.warm(8), inline_ms) == size


def test_channel_options_bound_messages_both_ways_and_share_no_port() -> None:
    options = dict(app.channel_options(Settings(max_message_bytes=1234)))
    assert options["grpc.max_receive_message_length"] == options["grpc.max_send_message_length"] == 1234
    assert options["grpc.so_reuseport"] == 0
    assert dict(app.channel_options(Settings(workers="2")))["grpc.so_reuseport"] == 1, "but workers do"


Loaded = Callable[[Served, HealthServicer], Coroutine[Any, Any, None]]


def load(root: Path, settings: Settings, test: Loaded, *, provider: str = CPU) -> None:
    """Loads the one model in a repository and hands it to the test."""
    (card,) = read_repository(root)

    async def run() -> None:
        health, executors = HealthServicer(app.SERVICE), list[ThreadPoolExecutor]()
        report = partial(health.report, ["digits", "digits:1", "digits@stable"])
        try:
            await test(await app._load(card, provider, settings, report, executors), health)
        finally:
            for executor in executors:
                executor.shutdown()

    asyncio.run(asyncio.wait_for(run(), 30))


def write_sums(root: Path, **changes: Any) -> None:
    """A repository whose digits model is SumModel."""
    root.joinpath("graph").mkdir()
    content = write_graph(root / "graph").read_bytes()
    described: dict[str, Any] = {"class_names": ["a", "b", "c"], "input": {"height": 8, "width": 8}}
    folder = write_model(root, sha256=hashlib.sha256(content).hexdigest(), **described, **changes)
    (folder / "model.onnx").write_bytes(content)


def test_a_loaded_model_answers(tmp_path: Path) -> None:
    write_sums(tmp_path)

    async def test(served: Served, health: HealthServicer) -> None:
        image = np.full((1, 8, 8), 2, np.uint8)
        answer = await served.batcher.submit(image)
        np.testing.assert_array_equal(answer.rows[0], SumModel.run(image)[0])
        assert (served.provider, served.card.name) == (CPU, "digits")

    load(tmp_path, Settings(), test)


def test_a_model_that_fails_in_a_row_is_not_serving_until_it_answers_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_sums(tmp_path, labels=["stable"])
    session = Session()
    monkeypatch.setattr(app, "open_session", lambda *given, **named: session)
    image = np.zeros((1, 8, 8), np.uint8)
    names = ("", app.SERVICE, "digits", "digits:1", "digits@stable")

    async def statuses(health: HealthServicer) -> set[int]:
        return {health._statuses[name] for name in names}

    async def test(served: Served, health: HealthServicer) -> None:
        for name in names:
            health.set(name, SERVING)
        session.broken = True
        for error in (InferenceFailed, InferenceFailed, NotReady):
            assert await statuses(health) == {SERVING}
            with pytest.raises(error):
                await served.batcher.submit(image)
        assert await statuses(health) == {NOT_SERVING}
        session.broken = False
        await served.batcher.submit(image)
        assert await statuses(health) == {SERVING}

    load(tmp_path, Settings(), test)


def test_a_model_is_recorded_where_somebody_wants_metrics_and_nowhere_else(tmp_path: Path) -> None:
    write_sums(tmp_path)
    (card,) = read_repository(tmp_path)

    async def run(recorder: NumberRecorder | None) -> Served:
        executors = list[ThreadPoolExecutor]()
        served = await app._load(card, CPU, Settings(), lambda healthy: None, executors, recorder)
        await served.batcher.submit(np.full((3, 8, 8), 2, np.uint8))
        for executor in executors:
            executor.shutdown()
        return served

    assert asyncio.run(run(None)).batcher.recorder is None
    record = asyncio.run(run(NumberRecorder({}, HealthServicer()))).batcher.recorder
    assert isinstance(record, ModelRecord)
    assert (sum(record.batch_sizes), record.batch_sizes[3], record.count_padding()) == (1, 1, 0)


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

    monkeypatch.setattr(app, "open_session", open_session)
    return asked


def test_auto_goes_on_with_the_cpu_where_the_device_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_sums(tmp_path)
    asked = play_cuda(monkeypatch, ProviderError("no kernel for this device"))

    async def test(served: Served, health: HealthServicer) -> None:
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

    async def test(served: Served, health: HealthServicer) -> None:
        assert opened == [folder / file for file in files]

    with caplog.at_level(logging.INFO, "digitserve"):
        load(tmp_path, Settings(execution_provider="auto"), test, provider=provider)
    assert f"model digits 1 in {named}: warm" in caplog.text


def test_cuda_that_does_not_work_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sums(tmp_path)
    asked = play_cuda(monkeypatch, ProviderError("no kernel for this device"))

    async def test(served: Served, health: HealthServicer) -> None:
        raise AssertionError("it must not come so far")

    with pytest.raises(ProviderError, match="no kernel"):
        load(tmp_path, Settings(execution_provider="cuda"), test, provider=CUDA)
    assert asked == [CUDA]


def test_cuda_runs_one_batch_at_a_time_and_none_inline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sums(tmp_path)
    play_cuda(monkeypatch, None)

    async def test(served: Served, health: HealthServicer) -> None:
        limits = served.batcher._limits
        assert (served.provider, limits.instances, limits.inline_batch_size) == (CUDA, 1, 0)

    load(tmp_path, Settings(instances=8), test, provider=CUDA)


class Done:
    """What a batcher's close() gives to wait for, already over; health's close() gives nothing to wait for."""

    def __await__(self) -> Iterator[None]:
        return iter(())


MODEL_CARD = ModelCard("digits", "1", Path("unused"), (), ("0",), 28, 8, 0.5, 0.9, 10, "")


class Recorder:
    """Stands for server, servicer, health, batcher and executor at once, and writes down what is asked of it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.refused = 0
        self.pressing = 0  # rounds in which calls still come

    def drain(self) -> None:
        self.done.append("not serving")

    async def pause(self, seconds: float) -> None:
        self.done.append(f"pause {seconds}")
        if self.pressing:
            self.pressing -= 1
            self.refused += 1

    def refuse(self) -> None:
        self.done.append("refuse")

    async def stop(self, grace_s: float) -> None:
        self.done.append(f"stop {grace_s}")

    def close(self) -> Done:
        self.done.append("close")
        return Done()

    def shutdown(self) -> None:
        self.done.append("shutdown")


def drain(monkeypatch: pytest.MonkeyPatch, recorder: Recorder) -> list[str]:
    anything: Any = recorder
    served = Served(MODEL_CARD, anything, CPU)
    ours = app.App(anything, anything, anything, {"": served, "digits": served}, [anything], "127.0.0.1:1", anything)

    async def run() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "sleep", recorder.pause)
            await app.drain(ours, Settings(drain_delay_s=3.0, drain_grace_s=7.0))

    asyncio.run(run())
    return recorder.done


def test_draining_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drain(monkeypatch, Recorder()) == [
        "not serving",
        "pause 3.0",
        "close",  # health: its watchers
        "refuse",
        "pause 0.1",
        "stop 7.0",
        "close",  # the one batcher, once
        "shutdown",
        "close",  # the metrics, after all that they could tell of
    ]


def test_calls_that_still_come_are_refused_before_the_stop_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = Recorder(), Recorder()
    few.pressing, many.pressing = 4, 10_000
    assert drain(monkeypatch, few).count("pause 0.1") == 4
    assert drain(monkeypatch, many).count("pause 0.1") == 20


def test_draining_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "digitserve"):
        drain(monkeypatch, Recorder())
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["draining", "drained"]
