"""From a failed gRPC call to an error of ours, with the details that travel in its trailer.

`grpc-status-details-bin` holds a google.rpc.Status: google/rpc/status.proto and error_details.proto of googleapis. Reading
the three fields that matter takes less code than the package with all of googleapis' messages would take to install.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from digitserve.errors import RecognitionError, error_from_status

DETAILS_KEY = "grpc-status-details-bin"

_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


class Details(NamedTuple):
    """What google.rpc.Status tells beyond code and message."""

    field: str = ""
    description: str = ""
    retry_after_s: float | None = None


def error_from_rpc(rpc_error: Any) -> RecognitionError:
    """The error of a `grpc.RpcError`, sync or asyncio. Raise it `from` that one."""
    code = rpc_error.code().name
    details = _details_of(rpc_error)
    words = rpc_error.details()
    if words == "Deadline Exceeded":  # gRPC's own, which it says even where it never got as far as the server
        words = "no answer before the deadline: timeout_s is too short, or no server is there"
    if words and words.startswith("Received http2 header"):
        words += ": does something else than digitserve listen there?"
    message = words or details.description or f"the server answered {code} and no reason"
    return error_from_status(code, message, field=details.field, retry_after_s=details.retry_after_s)


def _details_of(rpc_error: Any) -> Details:
    for key, value in rpc_error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            return read_details(value)
    return Details()


def read_details(status: bytes) -> Details:
    """Reads a serialized google.rpc.Status. What can't be read counts as absent: the status itself says enough."""
    field, description, retry_after_s = "", "", None
    try:
        for any_message in _submessages(status, 3):
            kind = b"".join(_submessages(any_message, 1)).decode()
            body = b"".join(_submessages(any_message, 2))
            if kind == _BAD_REQUEST and not field:
                field, description = _first_violation(body)
            elif kind == _RETRY_INFO:
                retry_after_s = _retry_delay_s(body)
    except ValueError:  # also UnicodeDecodeError
        return Details(field, description, retry_after_s)
    return Details(field, description, retry_after_s)


def _first_violation(bad_request: bytes) -> tuple[str, str]:
    for violation in _submessages(bad_request, 1):
        field, description = (b"".join(_submessages(violation, number)).decode() for number in (1, 2))
        return field, description
    return "", ""


def _retry_delay_s(retry_info: bytes) -> float | None:
    for duration in _submessages(retry_info, 1):
        numbers = {number: value for number, value in wire_fields(duration) if isinstance(value, int)}
        return numbers.get(1, 0) + numbers.get(2, 0) / 1e9
    return None


def _submessages(message: bytes, wanted: int) -> Iterator[bytes]:
    return (value for number, value in wire_fields(message) if number == wanted and isinstance(value, bytes))


def wire_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a serialized protobuf message: numbers of varints, bytes of everything else.

    Raises:
        ValueError: not a protobuf message.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        size, at = _size_of(kind, message, at)
        if at + size > len(message):
            raise ValueError(f"field {number} is cut off")
        yield number, message[at : at + size]
        at += size


def _size_of(kind: int, message: bytes, at: int) -> tuple[int, int]:
    if kind == _BYTES:
        return _varint(message, at)
    if kind in (_FIXED64, _FIXED32):
        return (8 if kind == _FIXED64 else 4), at
    raise ValueError(f"unknown wire type {kind}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(message[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("a number is cut off")
