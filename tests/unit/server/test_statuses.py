"""Errors on their way to the wire. (That every error has its status is tests/contract/test_statuses.py.)"""

from __future__ import annotations

import asyncio
import gc
import re
import weakref
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from server.errors import InferenceFailed, InvalidImage, QueueFull, RecognizerError
from server.recorder import Recorder
from server.statuses import answers_errors, hide, read_request_id, to_error
from server.traces import Traces


class Aborted(Exception):
    """What abort() raises in these tests."""


class Context:
    def __init__(self, metadata: Any = ()) -> None:
        self.metadata = metadata

    def invocation_metadata(self) -> Any:
        return self.metadata

    async def abort(self, code: grpc.StatusCode, message: str, metadata: Any) -> None:
        raise Aborted(code, message, dict(metadata))


class Servicer:
    """One method, which answers its request or raises it."""

    @answers_errors
    async def answer(self, request: Any, context: Any) -> Any:
        if isinstance(request, BaseException):
            raise request
        return request


def call(request: Any, *metadata: tuple[str, str | bytes]) -> Any:
    async def answer() -> Any:
        return await Servicer().answer(request, Context(metadata))

    return asyncio.run(answer())


def fail(error: BaseException) -> tuple[grpc.StatusCode, str, status_pb2.Status]:
    with pytest.raises(Aborted) as caught:
        call(error)
    code, message, metadata = caught.value.args
    return code, message, status_pb2.Status.FromString(metadata["grpc-status-details-bin"])


def test_a_good_answer_passes_untouched() -> None:
    answer = object()
    assert call(answer) is answer


def test_the_status_repeats_code_and_message_in_its_details() -> None:
    code, message, status = fail(QueueFull("the tray is full"))
    assert (code, message) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "the tray is full")
    assert (status.code, status.message, len(status.details)) == (8, "the tray is full", 0)


def test_a_field_and_a_delay_are_two_details() -> None:
    _, _, status = fail(RecognizerError("both", field="image", retry_after_ms=0.25))
    bad_request, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(bad_request)
    assert status.details[1].Unpack(retry)
    assert [(each.field, each.description) for each in bad_request.field_violations] == [("image", "both")]
    assert retry.retry_delay.ToMicroseconds() == 250


def test_a_cancelled_call_stays_cancelled() -> None:
    with pytest.raises(asyncio.CancelledError):
        call(asyncio.CancelledError())


def test_the_cause_stays_with_the_abort() -> None:
    error = InvalidImage("no image")
    with pytest.raises(Aborted) as caught:
        call(error)
    assert caught.value.__context__ is error


def test_a_caller_who_is_gone_before_the_error_is_one_who_cancelled() -> None:
    """As gRPC would log a traceback for each of them, and in a flood there are many."""

    class Gone(Context):
        async def abort(self, code: grpc.StatusCode, message: str, metadata: Any) -> None:
            raise grpc.aio.InternalError('Failed "execute_batch"')

    async def answer() -> None:
        await Servicer().answer(QueueFull("full"), Gone())

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(answer())


def test_hiding_tells_an_id_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    hidden = hide(ValueError("secret"), "req-1")
    assert (hidden.code, "secret" in hidden.message) == ("INTERNAL", False)
    assert hidden.message.endswith(" req-1")
    assert "request req-1 failed unexpectedly" in caplog.text


def test_an_error_in_a_stream_carries_field_and_delay() -> None:
    error = to_error(QueueFull("full", field="images", retry_after_ms=2.5), "req-1")
    assert (error.code, error.message, error.field, error.retry_after_ms) == (8, "full", "images", 2.5)


@pytest.mark.parametrize("given", ["a", "0f3e-77.B_", "x" * 128])
def test_the_callers_request_id_is_taken_and_told_again(given: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Aborted) as caught:
        call(ValueError("secret"), ("user-agent", "test"), ("x-request-id", given))
    _, message, metadata = caught.value.args
    assert metadata["x-request-id"] == given
    assert message.endswith(f"request {given}")
    assert [record.__dict__["request_id"] for record in caplog.records] == [given]


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", "line\nbreak", "naïve", b"bytes"])
def test_a_request_id_that_is_not_fit_for_a_log_gives_way_to_a_new_one(given: str | bytes) -> None:
    made = {read_request_id(Context([("x-request-id", given)])) for _ in range(2)}
    assert len(made) == 2
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in made)


def test_every_error_tells_a_request_id() -> None:
    with pytest.raises(Aborted) as caught:
        call(QueueFull("full"))
    assert re.fullmatch("[0-9a-f]{16}", caught.value.args[2]["x-request-id"])


def test_the_servers_own_fault_is_logged_under_the_request_and_the_callers_is_not(caplog: pytest.LogCaptureFixture) -> None:
    for error in (InferenceFailed("the log knows it as batch 17"), InvalidImage("no image")):
        with pytest.raises(Aborted):
            call(error, ("x-request-id", "mine"))
    assert [record.getMessage() for record in caplog.records] == ["request mine: the log knows it as batch 17"]


class Request:
    """What holds a large message."""


class Keeper(Context):
    """As gRPC does it: the call keeps what it was ended by, whose traceback holds the call."""

    ended: BaseException | None = None

    async def abort(self, code: grpc.StatusCode, message: str, metadata: Any) -> None:
        try:
            raise grpc.aio.AbortError(message)
        except grpc.aio.AbortError as error:
            self.ended = error
            raise

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.INVALID_ARGUMENT


class Picky:
    @answers_errors
    async def Refuse(self, request: Any, context: Any) -> Any:  # noqa: N802
        try:
            raise ValueError(request)
        except ValueError:
            raise InvalidImage("no image") from None


def count(servicer: Any) -> Any:
    return Recorder({}, None, ()).watch(servicer)  # type: ignore[arg-type]


def trace(servicer: Any) -> Any:
    return Traces(SimpleSpanProcessor(InMemorySpanExporter())).watch("service", servicer)


@pytest.mark.parametrize("watch", [lambda servicer: servicer, count, trace], ids=["alone", "counted", "traced"])
def test_a_call_that_failed_holds_its_request_no_longer(watch: Callable[[Any], Any]) -> None:
    """A flood of large requests that are refused must not stay in memory until the garbage collector comes by."""
    servicer = watch(Picky())

    async def refuse() -> tuple[Keeper, weakref.ref[Request]]:
        request, context = Request(), Keeper()
        held = weakref.ref(request)
        call = servicer.Refuse(request, context)
        del request
        with pytest.raises(grpc.aio.AbortError):
            await call
        return context, held

    gc.disable()
    try:
        context, held = asyncio.run(refuse())
        assert context.ended
        assert held() is None
    finally:
        gc.enable()
