"""What a failed call says: its status and the google.rpc details in its trailer."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, NamedTuple

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2


class Failure(NamedTuple):
    """A failed call. `trailer_code` is the code in google.rpc.Status, 0 without one; `pushback` is "" without one."""

    code: str
    message: str
    field: str
    retry_ms: float
    trailer_code: int
    trailer: bytes
    pushback: str


async def failure_of(call: Awaitable[Any]) -> Failure:
    """How a call of grpc.aio fails, as it must."""
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return read_failure(caught.value)


def read_failure(error: grpc.RpcError) -> Failure:
    """Reads a grpc.RpcError, sync or asyncio."""
    call: Any = error
    pairs = [(each[0], each[1]) for each in call.trailing_metadata() or ()]
    trailer = next((value for key, value in pairs if key == "grpc-status-details-bin"), b"")
    pushback = next((str(value) for key, value in pairs if key == "grpc-retry-pushback-ms"), "")
    status = status_pb2.Status.FromString(trailer)
    bad_request, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in status.details:
        assert detail.Unpack(bad_request) or detail.Unpack(retry), f"an unknown detail: {detail.type_url}"
    fields = [violation.field for violation in bad_request.field_violations]
    retry_ms = retry.retry_delay.ToTimedelta().total_seconds() * 1e3
    return Failure(call.code().name, call.details() or "", ",".join(fields), retry_ms, status.code, trailer, pushback)
