"""Errors on their way to the wire. (That every error has its status is tests/contract/test_statuses.py.)"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from server.errors import InvalidImage, QueueFull, RecognizerError
from server.statuses import answers_errors, hide, to_error


class Aborted(Exception):
    """What abort() raises in these tests."""


class Context:
    async def abort(self, code: grpc.StatusCode, message: str, metadata: Any) -> None:
        raise Aborted(code, message, dict(metadata))


class Servicer:
    """One method, which answers its request or raises it."""

    @answers_errors
    async def answer(self, request: Any, context: Any) -> Any:
        if isinstance(request, BaseException):
            raise request
        return request


def call(request: Any) -> Any:
    async def answer() -> Any:
        return await Servicer().answer(request, Context())

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


def test_hiding_tells_an_id_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    hidden = hide(ValueError("secret"))
    assert (hidden.code, "secret" in hidden.message) == ("INTERNAL", False)
    assert hidden.message.rpartition(" ")[2] in caplog.text


def test_an_error_in_a_stream_carries_field_and_delay() -> None:
    error = to_error(QueueFull("full", field="images", retry_after_ms=2.5))
    assert (error.code, error.message, error.field, error.retry_after_ms) == (8, "full", "images", 2.5)
