"""Every error of ours becomes exactly its gRPC status with its details, through every RPC that can fail so."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from digitserve.v1 import recognizer_pb2 as pb

from server import errors
from server.job import Images
from tests.details import Failure, read_failure
from tests.in_process import serving, stamp

STATUSES = {
    errors.RecognizerError: "INTERNAL",
    errors.InvalidRequest: "INVALID_ARGUMENT",
    errors.InvalidImage: "INVALID_ARGUMENT",
    errors.Unsupported: "UNIMPLEMENTED",
    errors.UnsupportedLayout: "UNIMPLEMENTED",
    errors.ModelNotFound: "NOT_FOUND",
    errors.ModelRefused: "FAILED_PRECONDITION",
    errors.Unauthenticated: "UNAUTHENTICATED",
    errors.QueueFull: "RESOURCE_EXHAUSTED",
    errors.WaitTooLong: "RESOURCE_EXHAUSTED",
    errors.Unavailable: "UNAVAILABLE",
    errors.NotReady: "UNAVAILABLE",
    errors.Draining: "UNAVAILABLE",
    errors.DeadlinePassed: "DEADLINE_EXCEEDED",
    errors.InferenceFailed: "INTERNAL",
}

FRAMED = pb.RecognizeRequest(image=pb.Image(raw=pb.RawImage(pixels=stamp(7), width=28, height=28)), layout=pb.LAYOUT_FRAMED)


class FailingBatcher:
    """Stands where the batcher stands, and fails as it is told."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def answer_at_once(self, images: Images, *, deadline: float | None = None, **how: bool) -> Any:
        raise self._error

    def submit(self, images: Images, *, deadline: float | None = None, **how: bool) -> asyncio.Future[Any]:
        raise self._error


async def recognize(stub: Any) -> Any:
    return await stub.Recognize(FRAMED)


async def recognize_batch(stub: Any) -> Any:
    return await stub.RecognizeBatch(pb.RecognizeBatchRequest(images=stamp(7)))


Call = Callable[[Any], Any]
UNARY = pytest.mark.parametrize("call", [recognize, recognize_batch])


def fail(error: Exception, call: Call) -> Failure:
    async def run() -> Failure:
        async with serving(batcher=FailingBatcher(error)) as here:
            with pytest.raises(grpc.RpcError) as caught:
                await call(here.stub)
            return read_failure(caught.value)

    return asyncio.run(run())


def fail_in_stream(error: Exception) -> pb.Error:
    async def run() -> pb.Error:
        async with serving(batcher=FailingBatcher(error)) as here:
            requests = [pb.RecognizeStreamRequest(request=FRAMED, id=5), pb.RecognizeStreamRequest(request=FRAMED, id=6)]
            answers = [answer async for answer in here.stub.RecognizeStream(iter(requests))]
            assert [answer.id for answer in answers] == [5, 6], "one error must not end the stream"
            return answers[0].error  # type: ignore[no-any-return]

    return asyncio.run(run())


def all_errors(kind: type[errors.RecognizerError] = errors.RecognizerError) -> Iterator[type[errors.RecognizerError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from all_errors(child)


def test_no_error_is_missing_from_the_table() -> None:
    assert set(STATUSES) == set(all_errors())


def test_the_tree_drawn_in_errors_py_shows_every_error_and_its_status() -> None:
    drawn = dict(re.findall(r"(\w+) +([A-Z]+(?:_[A-Z]+)*)  ", errors.__doc__ or ""))
    table = {kind.__name__: code for kind, code in STATUSES.items() if kind is not errors.RecognizerError}
    assert {name: code for name, code in drawn.items() if name in table} == table


@UNARY
@pytest.mark.parametrize(("kind", "code"), STATUSES.items())
def test_an_error_becomes_its_status_and_nothing_more(kind: type[errors.RecognizerError], code: str, call: Call) -> None:
    failure = fail(kind("what is wrong"), call)
    number = grpc.StatusCode[code].value[0]
    assert failure[:5] == (code, "what is wrong", "", 0.0, number)
    assert failure.pushback == ""


@UNARY
@pytest.mark.parametrize(("kind", "code"), STATUSES.items())
def test_the_field_travels_as_bad_request(kind: type[errors.RecognizerError], code: str, call: Call) -> None:
    failure = fail(kind("what is wrong", field="image.raw"), call)
    assert (failure.code, failure.field, failure.retry_ms) == (code, "image.raw", 0.0)


@UNARY
@pytest.mark.parametrize(("kind", "code"), STATUSES.items())
def test_the_delay_travels_as_retry_info_and_as_push_back(kind: type[errors.RecognizerError], code: str, call: Call) -> None:
    failure = fail(kind("come back", retry_after_ms=1234.5), call)
    assert (failure.code, failure.field, failure.retry_ms) == (code, "", 1234.5)
    assert failure.pushback == "1235", "gRPC takes whole milliseconds only"


@pytest.mark.parametrize(("kind", "code"), STATUSES.items())
def test_in_a_stream_the_error_travels_as_a_message(kind: type[errors.RecognizerError], code: str) -> None:
    error = fail_in_stream(kind("what is wrong", field="model", retry_after_ms=12.5))
    assert error == pb.Error(code=grpc.StatusCode[code].value[0], message="what is wrong", field="model", retry_after_ms=12.5)


@UNARY
def test_the_unforeseen_is_internal_with_a_request_id_and_no_text(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "digitserve"):
        failure = fail(ZeroDivisionError("the secret of line 42"), call)
    assert failure.code == "INTERNAL"
    assert b"secret" not in failure.message.encode() + failure.trailer
    (request_id,) = re.findall(r"request ([0-9a-f]{16})$", failure.message)
    (record,) = [record for record in caplog.records if request_id in record.getMessage()]
    assert record.exc_info is not None
    assert "secret of line 42" in str(record.exc_info[1]), "the log must know what the caller does not"


def test_the_unforeseen_in_a_stream_is_hidden_as_well(caplog: pytest.LogCaptureFixture) -> None:
    error = fail_in_stream(ZeroDivisionError("the secret of line 42"))
    assert error.code == grpc.StatusCode.INTERNAL.value[0]
    assert re.search(r"request [0-9a-f]{16}$", error.message)
    assert "secret" not in str(error)


def test_two_failures_have_two_request_ids(caplog: pytest.LogCaptureFixture) -> None:
    assert fail(ValueError("a"), recognize).message != fail(ValueError("a"), recognize).message
