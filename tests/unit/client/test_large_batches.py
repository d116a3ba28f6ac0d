"""A batch of more images than one call takes: several calls, one answer. Here a call takes four."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import digitserve.requests
import grpc
import numpy as np
import pytest
from digitserve import AsyncClient, Client, errors
from digitserve.requests import CALLS_IN_FLIGHT, IMAGES_PER_CALL
from digitserve.v1 import recognizer_pb2 as pb
from numpy.typing import NDArray

from tests.unit.client import fake_server
from tests.unit.client.fake_server import PATIENCE_S, FakeServer, Refusal, answer_batch, serve
from tests.unit.client.flavours import Flavour

NUMBERS = [number % 10 for number in range(1, 19)]  # the 10th image is blank; four calls of four, and one of two
REFUSAL = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "scripted", field="images")


def images_of(*brightness: int) -> NDArray[np.uint8]:
    return np.repeat(np.array(brightness, np.uint8), 28 * 28).reshape(-1, 28, 28)


IMAGES = images_of(*NUMBERS)


@pytest.fixture(autouse=True)
def four_images_per_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digitserve.requests, "IMAGES_PER_CALL", 4)


def sizes(server: FakeServer) -> list[int]:
    return [len(call.request.images) // 784 for call in server.recognizer.calls]


def refuse_calls_with(number: int) -> Callable[[Any], Refusal | None]:
    return lambda request: REFUSAL if number in request.images else None


def test_several_calls_give_one_answer(call: Flavour, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    several = call(server.target, lambda client: client.recognize_batch(IMAGES, probabilities=True))
    assert sorted(sizes(server)) == [2, 4, 4, 4, 4]
    monkeypatch.undo()
    one = call(server.target, lambda client: client.recognize_batch(IMAGES, probabilities=True))
    assert several.labels == one.labels == [str(number) if number else "" for number in NUMBERS]
    for name in ("classes", "unsure", "probabilities"):
        assert np.array_equal(getattr(several, name), getattr(one, name))
    assert (several.boxes, several.class_names, several.model) == (None, one.class_names, one.model)
    assert several.timing == one.timing


def test_boxes_come_along_and_probabilities_do_not_unasked(call: Flavour, server: FakeServer) -> None:
    answer = call(server.target, lambda client: client.recognize_batch(IMAGES, model="boxed", layout="auto"))
    assert answer.boxes.tolist() == [[1, 2, 3, 4]] * len(IMAGES)
    assert answer.probabilities is None


def answer_by_version(server: FakeServer, monkeypatch: pytest.MonkeyPatch, versions: Iterator[str]) -> None:
    """Each call without a version is answered by the next of these."""

    def answer(request: Any) -> pb.RecognizeBatchResponse:
        answered = answer_batch(request)
        answered.model.version = request.model.partition(":")[2] or next(versions)
        return answered

    monkeypatch.setattr(fake_server, "answer_batch", answer)


def test_when_a_version_takes_over_in_between_all_are_read_by_that_one(
    call: Flavour, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_by_version(server, monkeypatch, iter("11222"))
    whole = call(server.target, lambda client: client.recognize_batch(IMAGES))
    assert len(server.recognizer.calls) == 10
    assert {each.request.model for each in server.recognizer.calls[5:]} == {str(whole.model)}
    assert str(whole.model) in {"digits:1", "digits:2"}  # the last one's, and two calls are under way at a time
    assert whole.labels == [str(number) if number else "" for number in NUMBERS]


def test_what_one_call_takes_is_one_call(call: Flavour, server: FakeServer) -> None:
    call(server.target, lambda client: client.recognize_batch(IMAGES[:4]))
    assert sizes(server) == [4]


def test_thousands_pass_a_server_with_the_usual_limit(call: Flavour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digitserve.requests, "IMAGES_PER_CALL", IMAGES_PER_CALL)
    images = np.tile(IMAGES, (500, 1, 1))
    with serve(max_message_bytes=4 * 1024 * 1024) as usual:
        labels = call(usual.target, lambda client: client.recognize_batch(images)).labels
    assert labels == [str(number) if number else "" for number in NUMBERS] * 500


def test_bad_arguments_never_leave(call: Flavour, server: FakeServer) -> None:
    with pytest.raises(TypeError, match="float64"):
        call(server.target, lambda client: client.recognize_batch(IMAGES / 2))
    with pytest.raises(ValueError, match="layout is 'single'"):
        call(server.target, lambda client: client.recognize_batch(IMAGES, layout="single"))
    with pytest.raises(ValueError, match="timeout_s"):
        call(server.target, lambda client: client.recognize_batch(IMAGES, timeout_s=0))
    assert not server.recognizer.calls


def test_all_calls_share_one_deadline(call: Flavour, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digitserve.requests, "monotonic", count(0, 100).__next__)  # each look at the clock costs 100 s
    call(server.target, lambda client: client.recognize_batch(IMAGES, timeout_s=1000))
    remaining_s = sorted((each.time_remaining_s or 0) for each in server.recognizer.calls)
    assert remaining_s == pytest.approx([500, 600, 700, 800, 900], abs=20)


def test_a_deadline_that_passes_between_the_calls(call: Flavour, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digitserve.requests, "monotonic", count(0, 100).__next__)
    with pytest.raises(errors.DeadlineExceeded):
        call(server.target, lambda client: client.recognize_batch(IMAGES, timeout_s=250))
    assert len(server.recognizer.calls) == 2


def test_a_deadline_that_passes_during_the_calls(call: Flavour, server: FakeServer) -> None:
    server.recognizer.open.clear()
    with pytest.raises(errors.DeadlineExceeded):
        call(server.target, lambda client: client.recognize_batch(IMAGES, timeout_s=0.2))


def test_an_error_in_the_middle_is_raised_and_nothing_more_is_sent(call: Flavour, server: FakeServer) -> None:
    server.recognizer.refuses = refuse_calls_with(NUMBERS[6])
    with pytest.raises(errors.InvalidImage, match="scripted") as caught:
        call(server.target, lambda client: client.recognize_batch(IMAGES[:16]))
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    assert len(server.recognizer.calls) <= 3


def test_an_answer_of_another_length_is_internal(call: Flavour, server: FakeServer) -> None:
    odd = np.zeros((9, 56, 28), np.uint8)  # two images each, for this server
    with pytest.raises(errors.Internal, match="asked about 4 images, but the server answered 8"):
        call(server.target, lambda client: client.recognize_batch(odd))


class Held:
    """A server that refuses the first part once the second is there, too, and holds the second."""

    def __init__(self, server: FakeServer) -> None:
        self.recognizer = server.recognizer
        self.recognizer.open.clear()
        self.recognizer.refuses = self.refuse

    def refuse(self, request: Any) -> Refusal | None:
        if request.images[0] != NUMBERS[0]:
            return None
        self.recognizer.wait_for_arrivals(CALLS_IN_FLIGHT)
        return REFUSAL

    def all_ended(self) -> bool:
        assert len(self.recognizer.calls) == CALLS_IN_FLIGHT
        return all(call.ended.wait(PATIENCE_S / 4) for call in self.recognizer.calls)


def test_an_error_ends_the_other_calls(server: FakeServer) -> None:
    held = Held(server)
    with Client(server.target) as client:
        with pytest.raises(errors.InvalidImage):
            client.recognize_batch(IMAGES)
        assert held.all_ended()


def test_an_error_ends_the_other_calls_of_a_loop(server: FakeServer) -> None:
    async def scenario() -> None:
        held = Held(server)
        async with AsyncClient(server.target) as client:
            before = asyncio.all_tasks()
            with pytest.raises(errors.InvalidImage):
                async with asyncio.timeout(PATIENCE_S / 4):  # no wait_for(): its own rounds of the loop could tidy up
                    await client.recognize_batch(IMAGES)
            assert asyncio.all_tasks() == before
            assert await asyncio.to_thread(held.all_ended)

    asyncio.run(scenario())


def test_no_more_than_two_are_under_way(server: FakeServer) -> None:
    server.recognizer.open.clear()
    with ThreadPoolExecutor(1) as thread, Client(server.target) as client:
        answer = thread.submit(client.recognize_batch, IMAGES)
        server.recognizer.wait_for_arrivals(CALLS_IN_FLIGHT)
        assert not server.recognizer.arrived.acquire(timeout=0.1)
        server.recognizer.open.set()
        assert len(answer.result(PATIENCE_S)) == len(IMAGES)


def test_no_more_than_two_of_a_loop_are_under_way(server: FakeServer) -> None:
    async def scenario() -> None:
        server.recognizer.open.clear()
        async with AsyncClient(server.target) as client:
            answer = asyncio.create_task(client.recognize_batch(IMAGES))
            await asyncio.to_thread(server.recognizer.wait_for_arrivals, CALLS_IN_FLIGHT)
            assert not await asyncio.to_thread(server.recognizer.arrived.acquire, timeout=0.1)
            server.recognizer.open.set()
            assert len(await answer) == len(IMAGES)

    asyncio.run(scenario())


def test_closing_ends_all_calls(server: FakeServer) -> None:
    server.recognizer.open.clear()
    with ThreadPoolExecutor(1) as thread, Client(server.target) as client:
        answer = thread.submit(client.recognize_batch, IMAGES)
        server.recognizer.wait_for_arrivals(CALLS_IN_FLIGHT)
        client.close()
        with pytest.raises(errors.ClientClosed):
            answer.result(PATIENCE_S)


def test_closing_ends_all_calls_of_a_loop(server: FakeServer) -> None:
    async def scenario() -> None:
        server.recognizer.open.clear()
        async with AsyncClient(server.target) as client:
            answer = asyncio.create_task(client.recognize_batch(IMAGES))
            await asyncio.to_thread(server.recognizer.wait_for_arrivals, CALLS_IN_FLIGHT)
            await client.close()
            with pytest.raises(errors.ClientClosed):
                await answer

    asyncio.run(scenario())


def test_a_closed_client_starts_none(server: FakeServer) -> None:
    with Client(server.target) as client:
        client.close()
        with pytest.raises(errors.ClientClosed):
            client.recognize_batch(IMAGES)


def test_a_cancelled_caller_leaves_nothing_running(server: FakeServer) -> None:
    async def scenario() -> None:
        server.recognizer.open.clear()
        async with AsyncClient(server.target) as client:
            before = asyncio.all_tasks()
            answer = asyncio.create_task(client.recognize_batch(IMAGES))
            await asyncio.to_thread(server.recognizer.wait_for_arrivals, CALLS_IN_FLIGHT)
            answer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(answer, PATIENCE_S / 4)
            assert asyncio.all_tasks() == before
            assert all([await asyncio.to_thread(call.ended.wait, PATIENCE_S / 4) for call in server.recognizer.calls])

    asyncio.run(scenario())
