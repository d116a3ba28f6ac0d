"""Promise: SIGTERM loses nothing. What was accepted is answered, what comes too late is told to go elsewhere, nobody hangs."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.conftest import StartServer
from tests.e2e.conftest import Reference
from tests.mnist import Digits
from tests.server_process import ServerProcess

WORKERS = 32
HANG_S = 30.0
PATIENCE_S = 15.0  # well under the default grace: who ends sooner did not wait for it to run out


class Load:
    """Workers that call one after another until the server sends them away, and what became of every call."""

    def __init__(self, stub: Any, digits: Digits, reference: Reference) -> None:
        self.stub = stub
        self.images = digits.images
        self.labels = reference.labels
        self.told = asyncio.Event()  # health said NOT_SERVING
        self.flowing = asyncio.Event()
        self.ends: Counter[tuple[str, str]] = Counter()

    async def work(self, number: int) -> None:
        while not self.ends["UNAVAILABLE", "after"] and not self.ends["UNAVAILABLE", "before"]:
            begun = "after" if self.told.is_set() else "before"
            self.ends[await self.call(number), begun] += 1
            number = (number + WORKERS) % len(self.images)
            if self.ends["right", begun] > 200:
                self.flowing.set()

    async def call(self, number: int) -> str:
        raw = pb.RawImage(pixels=self.images[number].tobytes(), width=28, height=28)
        try:
            answer = await self.stub.Recognize(pb.RecognizeRequest(image=pb.Image(raw=raw)), timeout=HANG_S)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return "right" if answer.text == self.labels[number] else "wrong"

    async def watch(self, channel: grpc.aio.Channel) -> list[int | str]:
        seen: list[int | str] = []
        try:
            async for answer in HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=HANG_S):
                seen.append(answer.status)
                if answer.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                    self.told.set()
        except grpc.aio.AioRpcError as error:
            seen.append(error.code().name)
        return seen


async def drain_under_load(server: ServerProcess, digits: Digits, reference: Reference) -> tuple[Load, list[int | str]]:
    # Without retries: a client that repeats its calls would hide what the server loses.
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(server.address, options) as channel:
        load = Load(RecognizerStub(channel), digits, reference)  # type: ignore[no-untyped-call]
        watching = asyncio.create_task(load.watch(channel))
        workers = [asyncio.create_task(load.work(number)) for number in range(WORKERS)]
        await load.flowing.wait()
        server.terminate()
        await asyncio.wait_for(asyncio.gather(*workers), HANG_S)
        return load, await watching


def test_nothing_is_lost_under_load(start_server: StartServer, mnist_test: Digits, reference: Reference) -> None:
    server = start_server("--drain-delay-s", "0.5")
    load, seen = asyncio.run(drain_under_load(server, mnist_test, reference))
    assert server.wait(PATIENCE_S) == 0
    response = health_pb2.HealthCheckResponse
    assert seen == [response.SERVING, response.NOT_SERVING, "UNAVAILABLE"]
    assert {end for end, _ in load.ends} <= {"right", "UNAVAILABLE"}, "no other end is allowed"
    assert load.ends["UNAVAILABLE", "before"] == 0, "a call begun before NOT_SERVING was lost"
    assert load.ends["right", "after"] > 0, "during drain_delay calls are still answered"


def test_without_a_delay_every_call_ends_and_none_wrongly(
    start_server: StartServer, mnist_test: Digits, reference: Reference
) -> None:
    server = start_server()
    load, _ = asyncio.run(drain_under_load(server, mnist_test, reference))
    assert server.wait(PATIENCE_S) == 0
    assert {end for end, _ in load.ends} <= {"right", "UNAVAILABLE"}


def test_a_terminal_that_closes_loses_nothing_either(start_server: StartServer, mnist_test: Digits) -> None:
    server = start_server("--max-queue-delay-ms", "1000", "--drain-delay-s", "0.2")
    stub = server.stub()
    call = stub.RecognizeBatch.future(make_batch(mnist_test, 0), timeout=HANG_S)
    stub.ListModels(pb.ListModelsRequest(), timeout=HANG_S)
    os.kill(server.pid, signal.SIGHUP)
    assert call.result().classes
    assert server.wait(PATIENCE_S) == 0


def test_what_waits_in_the_tray_is_answered(start_server: StartServer, mnist_test: Digits, reference: Reference) -> None:
    server = start_server("--max-queue-delay-ms", "1000", "--drain-delay-s", "0.2")
    stub = server.stub()
    calls = [stub.RecognizeBatch.future(make_batch(mnist_test, number), timeout=HANG_S) for number in range(50)]
    stub.ListModels(pb.ListModelsRequest(), timeout=HANG_S)  # behind them on the same connection: they have arrived
    server.terminate()
    late: list[Any] = []
    ends: set[tuple[grpc.StatusCode, str]] = set()
    while still_waits(calls[0], 0.15):  # so rarely that the server has its quiet, and could say goodbye to the connection
        ends.update((call.code(), call.details()) for call in late if call.done())
        late.append(stub.Recognize.future(make_request(mnist_test, 0), timeout=HANG_S))
    assert ends == {(grpc.StatusCode.UNAVAILABLE, "the server is draining and accepts no more requests")}
    assert [call.result().classes[0] for call in calls] == reference.probabilities[:50].argmax(axis=1).tolist()
    assert server.wait(PATIENCE_S) == 0


def still_waits(call: Any, at_most_s: float) -> bool:
    """Whether the call has not ended after so long; told at once if it ends."""
    try:
        call.result(at_most_s)
    except grpc.FutureTimeoutError:
        return True
    return False


def make_batch(digits: Digits, number: int) -> pb.RecognizeBatchRequest:
    return pb.RecognizeBatchRequest(images=digits.images[number].tobytes())


def test_a_stream_that_never_pauses_does_not_hold_up_the_drain(
    start_server: StartServer, mnist_test: Digits, reference: Reference
) -> None:
    server, left = start_server("--drain-delay-s", "0.2", "--drain-grace-s", str(2 * HANG_S)), threading.Event()
    texts: list[str] = []

    def write() -> Iterator[pb.RecognizeStreamRequest]:
        for number in itertools.count():
            yield pb.RecognizeStreamRequest(request=make_request(mnist_test, number % len(mnist_test.images)), id=number)
            if left.wait(0.01):
                return

    def read() -> None:
        for answer in server.stub().RecognizeStream(write(), timeout=HANG_S):
            assert answer.id == len(texts)
            texts.append(answer.response.text)
            if len(texts) == 20:
                server.terminate()

    with pytest.raises(grpc.RpcError, match="reads no more of this stream") as ended:
        read()
    left.set()
    assert isinstance(ended.value, grpc.Call)
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert texts == reference.labels[: len(texts)]
    assert len(texts) > 20, "during drain_delay a stream goes on"
    assert server.wait(PATIENCE_S) == 0


def test_an_idle_stream_does_not_hold_up_the_drain(start_server: StartServer, mnist_test: Digits) -> None:
    server = start_server("--drain-grace-s", str(2 * HANG_S))

    async def run() -> None:
        async with grpc.aio.insecure_channel(server.address) as channel:
            call = RecognizerStub(channel).RecognizeStream(timeout=HANG_S)  # type: ignore[no-untyped-call]
            await ask(call, mnist_test, 0)
            server.terminate()
            with pytest.raises(grpc.aio.AioRpcError, match="reads no more of this stream") as ended:
                await call.read()
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE

    asyncio.run(run())
    assert server.wait(PATIENCE_S) == 0


def make_request(digits: Digits, number: int) -> pb.RecognizeRequest:
    raw = pb.RawImage(pixels=digits.images[number].tobytes(), width=28, height=28)
    return pb.RecognizeRequest(image=pb.Image(raw=raw))


async def ask(call: Any, digits: Digits, number: int) -> str:
    await call.write(pb.RecognizeStreamRequest(request=make_request(digits, number), id=number))
    answer = await call.read()
    assert answer.id == number
    return str(answer.response.text)


def test_who_takes_too_long_is_cut_off_after_the_grace(start_server: StartServer, mnist_test: Digits) -> None:
    server = start_server("--drain-grace-s", "0.2", "--max-queue-delay-ms", "1000")
    stub = server.stub()
    call = stub.RecognizeBatch.future(make_batch(mnist_test, 0), timeout=HANG_S)
    stub.ListModels(pb.ListModelsRequest(), timeout=HANG_S)  # behind it on the same connection: it has arrived
    server.terminate()
    with pytest.raises((grpc.RpcError, grpc.FutureCancelledError)):
        call.result()
    assert server.wait(PATIENCE_S) == 0


def test_a_second_sigterm_changes_nothing(start_server: StartServer, mnist_test: Digits) -> None:
    server = start_server("--drain-delay-s", "0.3")
    health = server.health_stub()
    watching = health.Watch(health_pb2.HealthCheckRequest(), timeout=HANG_S)
    assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
    server.terminate()
    assert next(watching).status == health_pb2.HealthCheckResponse.NOT_SERVING
    server.terminate()
    assert server.wait(PATIENCE_S) == 0
