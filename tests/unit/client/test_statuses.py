"""Our reader of google.rpc.Status against googleapis' own messages."""

from __future__ import annotations

from types import SimpleNamespace

import grpc
import pytest
from digitserve.statuses import Details, error_from_rpc, read_details, wire_fields
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.client.fake_server import pack

BadRequest = error_details_pb2.BadRequest
RetryInfo = error_details_pb2.RetryInfo


@given(
    field=st.text(min_size=1),
    description=st.text(),
    seconds=st.integers(0, 10_000),
    nanos=st.integers(0, 999_999_999),
    message=st.text(),
    retry_first=st.booleans(),
)
def test_reads_what_googleapis_writes(
    field: str, description: str, seconds: int, nanos: int, message: str, retry_first: bool
) -> None:
    violations = [
        BadRequest.FieldViolation(field=field, description=description),
        BadRequest.FieldViolation(field="2nd"),
    ]
    bad_request = pack(BadRequest(field_violations=violations))
    retry = pack(RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds, nanos=nanos)))
    unknown = pack(error_details_pb2.RequestInfo(request_id="7"))
    details = [retry, unknown, bad_request] if retry_first else [bad_request, unknown, retry]
    status = status_pb2.Status(code=3, message=message, details=details)
    assert read_details(status.SerializeToString()) == Details(field, description, seconds + nanos / 1e9)


def test_absent_details_are_absent() -> None:
    status = status_pb2.Status(code=8, message="full", details=[pack(RetryInfo()), pack(BadRequest())])
    assert read_details(status.SerializeToString()) == Details("", "", None)
    assert read_details(b"") == Details()


@given(st.binary())
def test_no_bytes_can_break_it(garbage: bytes) -> None:
    assert isinstance(read_details(garbage), Details)


@given(cut=st.integers(1, 40))
def test_what_is_cut_off_counts_as_absent(cut: int) -> None:
    status = status_pb2.Status(code=3, message="m", details=[pack(BadRequest(field_violations=[{"field": "image"}]))])
    whole = status.SerializeToString()
    assert read_details(whole[:-cut]).field == ""


def test_wire_fields_skips_fixed_numbers_and_names_nonsense() -> None:
    fixed = b"\x09" + bytes(8) + b"\x15" + bytes(4) + b"\x18\x96\x01"
    assert list(wire_fields(fixed)) == [(1, bytes(8)), (2, bytes(4)), (3, 150)]
    with pytest.raises(ValueError, match="unknown wire type 3"):
        list(wire_fields(b"\x0b"))
    with pytest.raises(ValueError, match="cut off"):
        list(wire_fields(b"\xff" * 11))


def test_an_http_status_is_not_left_for_grpcs_own_words() -> None:
    """As of Envoy's admin port, or of any other web server that speaks HTTP/2."""
    words = "Received http2 header with status: 404"
    failed = SimpleNamespace(code=lambda: grpc.StatusCode.UNIMPLEMENTED, details=lambda: words, trailing_metadata=tuple)
    assert error_from_rpc(failed).message == f"{words}: does something else than digitserve listen there?"
