"""Coalescing as a caller sees it: the same answers and errors, in fewer calls."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from digitserve import AsyncClient, Client, ClientClosed, DeadlineExceeded, ModelNotFound, Recognition
from digitserve.v1 import recognizer_pb2 as pb
from numpy.typing import NDArray

from tests.unit.client.fake_server import PATIENCE_S, FakeServer, Refusal


def image_of(number: int) -> NDArray[np.uint8]:
    return np.full((28, 28), number, np.uint8)


async def ask_for_many(client: AsyncClient, count: int, **arguments: Any) -> list[Recognition]:
    return await asyncio.gather(*(client.recognize(image_of(index + 1), **arguments) for index in range(count)))


def texts(answers: list[Recognition]) -> list[str]:
    return [answer.text for answer in answers]


def expected(count: int) -> list[str]:
    return [str((index + 1) % 10) for index in range(count)]


def test_images_of_one_moment_travel_in_one_call(server: FakeServer) -> None:
    async def scenario() -> None:
        async with AsyncClient(server.target) as client:
            assert texts(await ask_for_many(client, 64)) == expected(64)

    asyncio.run(scenario())
    assert server.recognizer.methods() == ["RecognizeBatch"]
    assert server.recognizer.calls[0].request.probabilities


def test_coalescing_can_be_switched_off(server: FakeServer) -> None:
    async def scenario() -> None:
        async with AsyncClient(server.target, coalesce=False) as client:
            assert texts(await ask_for_many(client, 5)) == expected(5)

    asyncio.run(scenario())
    assert server.recognizer.methods() == ["Recognize"] * 5


def test_only_images_with_the_same_question_travel_together(server: FakeServer) -> None:
    async def scenario() -> None:
        async with AsyncClient(server.target) as client:
            await asyncio.gather(
                ask_for_many(client, 2),
                ask_for_many(client, 3, layout="framed"),
                ask_for_many(client, 4, model="digits:1"),
                ask_for_many(client, 5, priority="bulk"),
                ask_for_many(client, 2, top_k=3),
                ask_for_many(client, 1, layout="single"),
                ask_for_many(client, 1, ink="light"),
                ask_for_many(client, 1, explain=True),
            )

    asyncio.run(scenario())
    assert sorted(server.recognizer.methods()) == ["Recognize"] * 3 + ["RecognizeBatch"] * 4
    packed = [call.request for call in server.recognizer.calls if call.method == "RecognizeBatch"]
    assert sorted(len(request.images) // 784 for request in packed) == [3, 4, 4, 5]
    assert [len(request.images) // 784 for request in packed if request.priority == pb.PRIORITY_BULK] == [5]
    assert [request.priority for request in packed].count(pb.PRIORITY_INTERACTIVE) == 3


def test_the_answers_are_those_of_single_calls(server: FakeServer) -> None:
    async def scenario(coalesce: bool) -> list[Recognition]:
        async with AsyncClient(server.target, coalesce=coalesce) as client:
            blank = client.recognize(np.zeros((28, 28), np.uint8), top_k=2)
            return [*await ask_for_many(client, 12, top_k=2), await blank]

    assert asyncio.run(scenario(coalesce=True)) == asyncio.run(scenario(coalesce=False))


def test_an_error_of_the_batch_reaches_every_member(server: FakeServer) -> None:
    server.recognizer.script.append(Refusal(grpc.StatusCode.NOT_FOUND, "no such model", field="model"))

    async def scenario() -> None:
        async with AsyncClient(server.target) as client:
            calls = [client.recognize(image_of(index), model="absent") for index in range(3)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        for error in outcomes:
            assert isinstance(error, ModelNotFound)
            assert (error.field, error.code) == ("model", "NOT_FOUND")
            assert isinstance(error.__cause__, grpc.RpcError)

    asyncio.run(scenario())


BAD_ARGUMENTS: list[tuple[dict[str, Any], type[Exception]]] = [({"top_k": 1.5}, TypeError), ({"timeout_s": "1"}, TypeError)]


@pytest.mark.parametrize(("bad", "kind"), BAD_ARGUMENTS)
def test_an_argument_that_cannot_be_meant_is_its_callers_alone(
    server: FakeServer, bad: dict[str, Any], kind: type[Exception]
) -> None:
    async def scenario() -> list[Any]:
        async with AsyncClient(server.target) as client:
            calls = [client.recognize(image_of(index + 1), **(bad if index == 5 else {})) for index in range(10)]
            return await asyncio.gather(*calls, return_exceptions=True)

    outcomes = asyncio.run(scenario())
    assert type(outcomes.pop(5)) is kind
    assert texts(outcomes) == expected(5) + expected(10)[6:]


def test_a_deadline_far_away_harms_nobody(server: FakeServer) -> None:
    async def scenario() -> list[Any]:
        async with AsyncClient(server.target) as client:
            calls = [client.recognize(image_of(index + 1), timeout_s=1e10 if index == 5 else None) for index in range(10)]
            return await asyncio.gather(*calls)

    assert texts(asyncio.run(scenario())) == expected(10)
    assert server.recognizer.methods() == ["RecognizeBatch"]


def test_an_argument_of_one_thread_spoils_no_others(server: FakeServer) -> None:
    server.recognizer.open.clear()
    with ThreadPoolExecutor(12) as pool, Client(server.target, in_flight=1) as client:
        first = pool.submit(client.recognize, image_of(1))
        server.recognizer.wait_for_arrivals(1)
        bad: list[dict[str, Any]] = [{"top_k": 1.5}, {"timeout_s": 1e10}]
        others = [
            pool.submit(client.recognize, image_of(index + 2), **(bad.pop() if index in (3, 5) else {})) for index in range(9)
        ]
        server.recognizer.open.set()
        outcomes = [call.exception(PATIENCE_S) for call in (first, *others)]
    assert [type(outcome) for outcome in outcomes].count(type(None)) == 9
    assert isinstance(outcomes[6], TypeError)


def test_each_caller_keeps_its_deadline(server: FakeServer) -> None:
    server.recognizer.open.clear()

    async def scenario() -> None:
        async with AsyncClient(server.target) as client:
            patient = asyncio.ensure_future(client.recognize(image_of(5), timeout_s=PATIENCE_S))
            with pytest.raises(DeadlineExceeded):
                await client.recognize(image_of(6), timeout_s=0.05)
            server.recognizer.open.set()
            assert (await patient).text == "5"

    asyncio.run(scenario())
    remaining_s = server.recognizer.calls[0].time_remaining_s
    assert remaining_s is not None
    assert 1 < remaining_s < PATIENCE_S + 1


def test_closing_ends_coalesced_and_other_calls(server: FakeServer) -> None:
    server.recognizer.open.clear()

    async def scenario() -> list[Any]:
        client = AsyncClient(server.target)
        calls = [client.recognize(image_of(1)), client.recognize(image_of(2)), client.recognize(b"apart")]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.to_thread(server.recognizer.wait_for_arrivals, 2)
        await client.close()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(outcome) for outcome in asyncio.run(scenario())] == [ClientClosed] * 3


def test_cancelling_is_not_closing(server: FakeServer) -> None:
    server.recognizer.open.clear()

    async def scenario() -> None:
        async with AsyncClient(server.target) as client:
            tasks = [asyncio.ensure_future(client.recognize(image)) for image in (image_of(1), b"apart")]
            await asyncio.to_thread(server.recognizer.wait_for_arrivals, 2)
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2

    asyncio.run(scenario())


def test_a_caller_that_is_cancelled_stays_cancelled_though_the_client_is_closed(server: FakeServer) -> None:
    server.recognizer.open.clear()

    async def scenario() -> list[Any]:
        client = AsyncClient(server.target)
        tasks = [asyncio.ensure_future(client.recognize(image)) for image in (image_of(1), b"apart")]
        await asyncio.to_thread(server.recognizer.wait_for_arrivals, 2)
        for task in tasks:
            task.cancel()
        await client.close()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(outcome) for outcome in asyncio.run(scenario())] == [asyncio.CancelledError] * 2


def test_closing_an_injected_channel_cancels_nobody(server: FakeServer) -> None:
    server.recognizer.open.clear()

    async def scenario() -> list[Any]:
        async with grpc.aio.insecure_channel(server.target) as channel:
            client = AsyncClient(channel=channel)
            tasks = [asyncio.ensure_future(client.recognize(image)) for image in (image_of(1), b"apart")]
            await asyncio.to_thread(server.recognizer.wait_for_arrivals, 2)
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(outcome) for outcome in asyncio.run(scenario())] == [ClientClosed] * 2


def test_threads_share_calls(server: FakeServer) -> None:
    server.recognizer.open.clear()
    with ThreadPoolExecutor(20) as pool, Client(server.target, in_flight=1) as client:
        calls = [pool.submit(client.recognize, image_of(1))]
        server.recognizer.wait_for_arrivals(1)
        calls += [pool.submit(client.recognize, image_of(index + 2)) for index in range(12)]
        server.recognizer.open.set()
        assert texts([call.result(PATIENCE_S) for call in calls]) == expected(13)
    assert len(server.recognizer.calls) < 13
    assert server.recognizer.methods()[0] == "Recognize"
    assert "RecognizeBatch" in server.recognizer.methods()


def test_an_error_of_the_batch_reaches_every_thread(server: FakeServer) -> None:
    server.recognizer.open.clear()
    with ThreadPoolExecutor(8) as pool, Client(server.target, in_flight=1) as client:
        first = pool.submit(client.recognize, image_of(1))
        server.recognizer.wait_for_arrivals(1)
        others = [pool.submit(client.recognize, image_of(index), timeout_s=PATIENCE_S) for index in range(5)]
        server.recognizer.script.extend([Refusal(grpc.StatusCode.NOT_FOUND, "gone")] * 10)
        server.recognizer.open.set()
        outcomes = [call.exception(PATIENCE_S) for call in (first, *others)]
    assert [type(outcome) for outcome in outcomes] == [ModelNotFound] * 6
    assert all(isinstance(outcome.__cause__, grpc.RpcError) for outcome in outcomes if outcome)
    assert len({id(outcome) for outcome in outcomes}) == 6


def test_closing_ends_the_calls_of_all_threads(server: FakeServer) -> None:
    server.recognizer.open.clear()
    with ThreadPoolExecutor(8) as pool:
        client = Client(server.target, in_flight=1)
        first = pool.submit(client.recognize, image_of(1))
        apart = pool.submit(client.recognize, b"apart")
        server.recognizer.wait_for_arrivals(2)
        waiting = [pool.submit(client.recognize, image_of(index)) for index in range(3)]
        client.close()
        outcomes = [call.exception(PATIENCE_S) for call in (first, apart, *waiting)]
    assert [type(outcome) for outcome in outcomes] == [ClientClosed] * 5
