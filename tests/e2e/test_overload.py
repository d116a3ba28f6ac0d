"""Promise: when the tray is full, calls are refused at once and told when to come back; all others get the right answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from digitserve import AsyncClient, Overloaded
from digitserve.v1 import recognizer_pb2 as pb
from grpc_health.v1 import health_pb2

from tests.conftest import StartServer
from tests.details import read_failure
from tests.e2e.conftest import Reference
from tests.mnist import Digits
from tests.server_process import ServerProcess

CALLS, IMAGES = 300, 50


@pytest.fixture(scope="module")
def small(start_server: StartServer) -> ServerProcess:
    """Its tray is full after two calls, and held for a moment, so that a flood can't be worked off as it comes."""
    return start_server("--max-queue-size", str(2 * IMAGES), "--max-queue-delay-ms", "100", "--max-batch-size", "256")


def test_a_flood(small: ServerProcess, mnist_test: Digits, reference: Reference) -> None:
    stub = small.stub()
    starts = [number * IMAGES % 10_000 for number in range(CALLS)]
    calls = [stub.RecognizeBatch.future(make_request(mnist_test, start), timeout=60) for start in starts]
    refused = answered = 0
    for call, start in zip(calls, starts, strict=True):
        error: Any = call.exception()
        if error is None:
            answered += 1
            expected = reference.probabilities[start : start + IMAGES].argmax(axis=1).tolist()
            assert list(call.result().classes) == expected
        else:
            refused += 1
            failure = read_failure(error)
            assert (failure.code, failure.field) == ("RESOURCE_EXHAUSTED", "")
            assert failure.retry_ms >= 1
    assert refused > 0
    assert answered >= 2


def make_request(digits: Digits, start: int) -> pb.RecognizeBatchRequest:
    return pb.RecognizeBatchRequest(images=digits.images[start : start + IMAGES].tobytes())


def test_it_is_healthy_afterwards(small: ServerProcess, mnist_test: Digits, reference: Reference) -> None:
    test_a_flood(small, mnist_test, reference)
    assert small.health_stub().Check(health_pb2.HealthCheckRequest(), timeout=60).status == 1
    answer = small.stub().RecognizeBatch(make_request(mnist_test, 0), timeout=60)
    assert list(answer.classes) == reference.probabilities[:IMAGES].argmax(axis=1).tolist()


def test_a_stream_of_too_many_answers_each_in_order(small: ServerProcess, mnist_test: Digits, reference: Reference) -> None:
    image = pb.Image(raw=pb.RawImage(pixels=mnist_test.images[0].tobytes(), width=28, height=28))
    streamed = [pb.RecognizeStreamRequest(request=pb.RecognizeRequest(image=image), id=number) for number in range(1000)]
    answers = list(small.stub().RecognizeStream(iter(streamed), timeout=60))
    assert [answer.id for answer in answers] == list(range(1000))
    errors = [answer.error for answer in answers if answer.WhichOneof("result") == "error"]
    assert errors
    assert {error.code for error in errors} == {8}
    assert min(error.retry_after_ms for error in errors) >= 1
    assert {answer.response.text for answer in answers if answer.HasField("response")} == {reference.labels[0]}


def test_the_client_names_the_wait(small: ServerProcess, mnist_test: Digits) -> None:
    async def flood() -> list[object]:
        async with AsyncClient(small.address, timeout_s=60) as client:
            calls = [client.recognize_batch(mnist_test.images[:IMAGES]) for _ in range(CALLS)]
            return await asyncio.gather(*calls, return_exceptions=True)

    refused = [answer for answer in asyncio.run(flood()) if isinstance(answer, Exception)]
    assert refused
    assert {type(error) for error in refused} == {Overloaded}
    assert all((error.retry_after_s or 0) > 0 for error in refused if isinstance(error, Overloaded))
