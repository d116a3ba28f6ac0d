"""From our errors to gRPC statuses with google.rpc details, in one place for every RPC.

This is a wrapper around the servicer's methods rather than a gRPC interceptor: an interceptor costs each good call one more
coroutine and a new handler object (docs/decisions/0002-errors-without-interceptor.md).
"""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import grpc
from digitserve.v1 import recognizer_pb2 as pb
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from server.errors import RecognizerError

logger = logging.getLogger("digitserve.servicer")

DETAILS_KEY = "grpc-status-details-bin"
Answering = TypeVar("Answering")
Method = Callable[[Any, Any, Any], Awaitable[Answering]]


def answers_errors(method: Method[Answering]) -> Method[Answering]:
    """Makes every exception of a unary method its gRPC status. A good call passes untouched."""

    @functools.wraps(method)
    async def answer(self: Any, request: Any, context: Any) -> Answering:
        try:
            return await method(self, request, context)
        except Exception as error:
            await abort(context, error)

    return answer


async def abort(context: Any, error: Exception) -> NoReturn:
    """Ends the call with the error's status."""
    known = error if isinstance(error, RecognizerError) else hide(error)
    await context.abort(grpc.StatusCode[known.code], known.message, _trailing_metadata(known))
    raise AssertionError("abort() returned") from error


def hide(error: Exception) -> RecognizerError:
    """Logs an unforeseen error under a request id, which is all that the caller is told."""
    request_id = secrets.token_hex(8)
    logger.error("request %s failed unexpectedly", request_id, exc_info=error)
    return RecognizerError(f"internal error; the server's log knows it as request {request_id}")


def to_error(error: Exception) -> pb.Error:
    """The same for one request of a stream, which must not end the others."""
    known = error if isinstance(error, RecognizerError) else hide(error)
    return pb.Error(
        code=grpc.StatusCode[known.code].value[0],
        message=known.message,
        field=known.field,
        retry_after_ms=known.retry_after_ms,
    )


def _trailing_metadata(error: RecognizerError) -> tuple[tuple[str, str | bytes], ...]:
    status = status_pb2.Status(code=grpc.StatusCode[error.code].value[0], message=error.message)
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        _attach(status, error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_ms:
        delay = duration_pb2.Duration()
        delay.FromMicroseconds(int(error.retry_after_ms * 1e3))
        _attach(status, error_details_pb2.RetryInfo(retry_delay=delay))
    return ((DETAILS_KEY, status.SerializeToString()),)


def _attach(status: status_pb2.Status, detail: Any) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)
