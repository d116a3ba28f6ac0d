"""From our errors to gRPC statuses with google.rpc details, in one place for every RPC.

This is a wrapper around the servicer's methods rather than a gRPC interceptor: an interceptor costs each good call one more
coroutine and a new handler object (docs/decisions/0002-errors-without-interceptor.md).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, NoReturn, TypeVar

import grpc
from digitserve.v1 import recognizer_pb2 as pb
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from server.errors import InferenceFailed, NotReady, RecognizerError

logger = logging.getLogger("digitserve.servicer")

DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"  # what gRPC's own retries look at; a whole number
REQUEST_ID_KEY = "x-request-id"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
Answering = TypeVar("Answering")
Method = Callable[[Any, Any, Any], Awaitable[Answering]]
StreamMethod = Callable[[Any, Any, Any], AsyncIterator[Answering]]


def answers_errors(method: Method[Answering]) -> Method[Answering]:
    """Makes every exception of a unary method its gRPC status. A good call passes untouched."""

    @functools.wraps(method)
    async def answer(self: Any, request: Any, context: Any) -> Answering:
        try:
            return await method(self, request, context)
        except Exception as error:
            del request  # see abort()
            await abort(context, error)

    return answer


def answers_errors_of_stream(method: Callable[[Any, Any, Any], Any]) -> StreamMethod[Any]:
    """The same for a method that answers with a stream."""

    @functools.wraps(method)
    async def answer(self: Any, requests: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async with aclosing(method(self, requests, context)) as answers:
                async for item in answers:
                    yield item
        except Exception as error:
            await abort(context, error)

    return answer


async def abort(context: Any, error: Exception) -> NoReturn:
    """Ends the call with the error's status, and tells its request id in the trailing metadata.

    gRPC keeps the exception that ends a call in a cycle with that call. What the frames of its traceback hold, and those of its
    context, would live until the garbage collector comes by: in a flood, hundreds of megabytes of requests that were refused
    long ago. So this forgets the error's own traceback, and who has a request in hand lets go of it before the end.
    """
    request_id = read_request_id(context)
    known = to_known(error, request_id)
    error.__traceback__ = error.__context__ = error.__cause__ = None
    metadata = (*_trailing_metadata(known), (REQUEST_ID_KEY, request_id))
    try:
        await context.abort(grpc.StatusCode[known.code], known.message, metadata)
    except grpc.aio.InternalError:  # the caller has gone, and gRPC would log that with a traceback
        raise asyncio.CancelledError from None
    raise AssertionError("abort() returned") from error


def read_request_id(context: Any) -> str:
    """What the caller's metadata calls the request, as `x-request-id`; a new id where that is missing or not fit for a log."""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID_KEY and isinstance(value, str) and REQUEST_ID.fullmatch(value):
            return value
    return secrets.token_hex(8)


def to_known(error: Exception, request_id: str) -> RecognizerError:
    """What the caller may be told. What is the server's own fault is logged under the request's id."""
    if not isinstance(error, RecognizerError):
        return hide(error, request_id)
    if isinstance(error, InferenceFailed | NotReady):
        logger.warning("request %s: %s", request_id, error.message, extra={"request_id": request_id})
    return error


def hide(error: Exception, request_id: str) -> RecognizerError:
    """Logs an unforeseen error under the request's id, which is all that the caller is told."""
    logger.error("request %s failed unexpectedly", request_id, exc_info=error, extra={"request_id": request_id})
    return RecognizerError(f"internal error; the server's log knows it as request {request_id}")


def to_error(error: Exception, request_id: str) -> pb.Error:
    """The same as abort() for one request of a stream, which must not end the others."""
    known = to_known(error, request_id)
    return pb.Error(
        code=grpc.StatusCode[known.code].value[0],
        message=known.message,
        field=known.field,
        retry_after_ms=known.retry_after_ms,
    )


def _trailing_metadata(error: RecognizerError) -> list[tuple[str, str | bytes]]:
    metadata: list[tuple[str, str | bytes]] = []
    status = status_pb2.Status(code=grpc.StatusCode[error.code].value[0], message=error.message)
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        _attach(status, error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_ms:
        delay = duration_pb2.Duration()
        delay.FromMicroseconds(int(error.retry_after_ms * 1e3))
        _attach(status, error_details_pb2.RetryInfo(retry_delay=delay))
        metadata.append((PUSHBACK_KEY, str(math.ceil(error.retry_after_ms))))
    return [(DETAILS_KEY, status.SerializeToString()), *metadata]


def _attach(status: status_pb2.Status, detail: Any) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)
