"""Each mode against a real echo server in this process: short runs, every answer a seven."""

from __future__ import annotations

import asyncio
import multiprocessing
import selectors
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest
from digitserve.bench.connection import CHANNEL_OPTIONS, open_channel, wait_connected
from digitserve.bench.images import LabelledImages
from digitserve.bench.measurement import measure
from digitserve.bench.settings import BenchError, Settings
from digitserve.bench.stream import StreamCaller
from digitserve.bench.worker import choose_loop
from digitserve.bench.workload import prepare_workload
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1 import recognizer_pb2_grpc as pb_grpc

from tests.unit.bench.conftest import serve_on
from tests.unit.bench.virtual_time import run_virtually

DIGITS = [str(digit) for digit in range(10)]
IMAGES = LabelledImages(np.zeros((4, 28, 28), np.uint8), np.array([7, 7, 7, 1]))


@pytest.fixture
def sevens(tmp_path: Path) -> str:
    """Four images of which three are labelled as what the echo server always says."""
    path = tmp_path / "sevens.npz"
    np.savez(path, images=IMAGES.pixels, labels=np.array([7, 7, 7, 1]))
    return str(path)


@pytest.mark.parametrize(("mode", "images"), [("single", 1), ("stream", 1), ("batch", 4)])
def test_a_closed_loop_makes_exactly_its_calls_and_checks_every_answer(
    echo_address: str, sevens: str, mode: Any, images: int
) -> None:
    settings = Settings(server=echo_address, mode=mode, batch_size=4, count=40, warmup_s=0, concurrency=8, images=sevens)
    figures = measure(settings).figures
    assert (figures.calls, figures.failed, figures.images) == (40, 0, 40 * images)
    assert (figures.accuracy, figures.checked) == (0.75, 40 * images)
    assert figures.latency_ms is not None
    assert figures.compute_ms is not None
    assert 0 < figures.latency_ms.p50 <= figures.latency_ms.p99 <= figures.latency_ms.max
    assert figures.compute_ms.p50 == pytest.approx(0.5)
    assert figures.batch_size_max == images


def test_an_open_loop_keeps_its_rate_and_reports_its_lag(echo_address: str) -> None:
    settings = Settings(server=echo_address, rate=200, duration_s=0.5, warmup_s=0.05)
    figures = measure(settings).figures
    assert figures.lag_ms is not None
    assert figures.calls == pytest.approx(100, abs=50)
    assert figures.kept_up is not None
    assert figures.accuracy is None


def test_processes_share_the_calls_and_start_together(echo_address: str, sevens: str) -> None:
    settings = Settings(server=echo_address, count=41, warmup_s=0, concurrency=4, processes=2, images=sevens)
    measurement = measure(settings)
    assert measurement.figures.calls == 41
    assert measurement.figures.images == 41
    assert multiprocessing.active_children() == []


def test_a_label_that_the_model_does_not_know_is_refused_in_every_process(echo_address: str, tmp_path: Path) -> None:
    path = tmp_path / "letters.npz"
    np.savez(path, images=IMAGES.pixels, labels=np.array([1, 2, 3, 25]))
    with pytest.raises(BenchError, match="labels go up to 25, but the model knows 10 classes"):
        measure(Settings(server=echo_address, count=4, images=str(path), processes=2))


class Moody(pb_grpc.RecognizerServicer):
    """Refuses in the way that the request's model name asks for, and on a stream is in a different mood each time."""

    async def Recognize(self, request: pb.RecognizeRequest, context: Any) -> pb.RecognizeResponse:  # noqa: N802
        await context.abort(grpc.StatusCode[request.model], "not today")
        raise AssertionError("abort raises")

    async def RecognizeStream(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.RecognizeStreamRequest], context: Any
    ) -> AsyncIterator[pb.RecognizeStreamResponse]:
        async for request in request_iterator:
            if request.id == 0:
                yield pb.RecognizeStreamResponse(id=0, response=pb.RecognizeResponse(text="7"))
            elif request.id == 1:
                yield pb.RecognizeStreamResponse(id=1, error=pb.Error(code=8, message="the tray is full"))
            elif request.id == 2:
                yield pb.RecognizeStreamResponse(id=99, response=pb.RecognizeResponse(text="7"))
            else:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "draining")


class Strict(pb_grpc.RecognizerServicer):
    """Refuses as gRPC refuses what is over its limit."""

    async def Recognize(self, request: pb.RecognizeRequest, context: Any) -> pb.RecognizeResponse:  # noqa: N802
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (836 vs. 8)")
        raise AssertionError("abort raises")


@pytest.fixture(scope="module")
def moody_address(loop: asyncio.AbstractEventLoop) -> Iterator[str]:
    with serve_on(loop, Moody()) as address:
        yield address


def test_failed_calls_are_counted_by_their_status(moody_address: str) -> None:
    settings = Settings(server=moody_address, model="RESOURCE_EXHAUSTED", count=30, warmup_s=0)
    figures = measure(settings).figures
    assert figures.errors == {"RESOURCE_EXHAUSTED": 30}
    assert figures.error_examples == {"RESOURCE_EXHAUSTED": "not today"}
    assert figures.calls == 0


def test_a_server_without_tls_is_not_taken_for_none(loop: asyncio.AbstractEventLoop, echo_address: str) -> None:
    async def connect() -> None:
        credentials = grpc.ssl_channel_credentials()
        async with grpc.aio.secure_channel(echo_address, credentials, options=CHANNEL_OPTIONS) as channel:
            with pytest.raises(BenchError, match=f"^the server at {echo_address} speaks no TLS: try without$"):
                await wait_connected(channel, echo_address, 10, with_tls=True)

    asyncio.run_coroutine_threadsafe(connect(), loop).result(10)


def test_a_model_of_another_alphabet_is_not_asked_for_the_right_answers() -> None:
    settings, digits = Settings(mode="batch", batch_size=4), tuple(DIGITS)
    of_digits = replace(IMAGES, class_names=digits)
    assert prepare_workload(settings, of_digits, ["A", *digits]).classes == [[8, 8, 8, 2]], "by name, wherever it stands"
    unknown = prepare_workload(settings, of_digits, ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"])
    assert (unknown.texts, unknown.classes) == (None, None)
    assert prepare_workload(settings, IMAGES, digits).texts == ["7", "7", "7", "1"]


@pytest.mark.parametrize("timeout_s", [10.0, 0.5])
def test_a_server_that_is_not_there_is_told_without_waiting_for_it(loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
    async def connect() -> float:
        clock = asyncio.get_running_loop().time
        start_s = clock()
        async with open_channel("127.0.0.1:1") as channel:
            with pytest.raises(BenchError, match="no server at"):
                await wait_connected(channel, "127.0.0.1:1", timeout_s)
        return clock() - start_s

    assert asyncio.run_coroutine_threadsafe(connect(), loop).result(10) < 2


def test_a_call_over_the_servers_limit_ends_the_run_before_it_starts(loop: asyncio.AbstractEventLoop) -> None:
    with serve_on(loop, Strict()) as address, pytest.raises(BenchError, match=r"RESOURCE_EXHAUSTED: .* larger than max"):
        measure(Settings(server=address, count=30))


def test_a_call_that_can_never_succeed_ends_the_run_before_it_starts(moody_address: str) -> None:
    with pytest.raises(BenchError, match="the first call failed with NOT_FOUND: not today"):
        measure(Settings(server=moody_address, model="NOT_FOUND", count=30))


def test_a_stream_counts_each_failure_by_itself_and_opens_again_after_the_last(
    moody_address: str, loop: asyncio.AbstractEventLoop
) -> None:
    async def call_each_twice() -> list[str]:
        settings = Settings(server=moody_address, mode="stream")
        caller = StreamCaller(open_channel(moody_address), settings, prepare_workload(settings, IMAGES, DIGITS))
        try:
            return [(await caller.call(index)).code for index in (0, 1, 2, 3, 0, 1, 2, 3)]
        finally:
            await caller.close()

    codes = ["OK", "RESOURCE_EXHAUSTED", "OUT_OF_ORDER", "UNAVAILABLE"]
    assert asyncio.run_coroutine_threadsafe(call_each_twice(), loop).result(10) == codes + codes


def test_a_stream_call_ends_at_its_own_deadline() -> None:
    async def call_a_silent_server() -> str:
        settings = Settings(mode="stream", timeout_s=0.5)
        caller = StreamCaller(SilentChannel(), settings, prepare_workload(settings, IMAGES, DIGITS))
        try:
            return (await caller.call(0)).code
        finally:
            await caller.close()

    assert run_virtually(call_a_silent_server()) == "DEADLINE_EXCEEDED"


class SilentChannel:
    """Takes everything and never answers."""

    def stream_stream(self, method: str) -> Any:
        return SilentChannel

    async def write(self, message: bytes) -> None:
        return None

    async def read(self) -> bytes:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    def cancel(self) -> None:
        return None

    async def done_writing(self) -> None:
        return None

    async def code(self) -> None:
        return None

    async def close(self) -> None:
        return None


def test_a_timetable_gets_a_loop_that_sleeps_for_microseconds() -> None:
    factory = choose_loop(Settings(rate=10))
    assert factory is not None
    loop = factory()
    try:
        assert isinstance(loop._selector, selectors.SelectSelector)  # type: ignore[attr-defined]
    finally:
        loop.close()
