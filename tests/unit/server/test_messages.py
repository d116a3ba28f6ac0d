"""What can't be parsed becomes something that refuses the call as soon as anybody looks at it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from digitserve.v1 import recognizer_pb2 as pb

from server.errors import InvalidRequest
from server.messages import Malformed, Registrar


def register(message: Any, make_handler: Any = grpc.unary_unary_rpc_method_handler) -> Any:
    """The deserializer that a server gets to see for an RPC that takes `message`."""
    registrar = Registrar()
    handler = make_handler(print, request_deserializer=message.FromString)
    registrar.add_registered_method_handlers("Recognizer", {"Recognize": handler})
    found = registrar.service(SimpleNamespace(method="/Recognizer/Recognize"))
    assert print in found
    return found.request_deserializer


@pytest.mark.parametrize("make_handler", [grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler])
def test_a_good_message_is_parsed(make_handler: Any) -> None:
    sent = pb.RecognizeRequest(model="digits")
    assert register(pb.RecognizeRequest, make_handler)(sent.SerializeToString()) == sent


REASON = r"can't be parsed as digitserve\.v1\.RecognizeRequest"


def test_a_bad_one_is_refused_when_it_is_read() -> None:
    message = register(pb.RecognizeRequest)(b"\xff" * 20)
    assert isinstance(message, Malformed)
    with pytest.raises(InvalidRequest, match=REASON):
        message.model  # noqa: B018


def test_in_a_stream_it_is_refused_by_its_reader() -> None:
    with pytest.raises(InvalidRequest, match=REASON):
        register(pb.RecognizeRequest, grpc.stream_stream_rpc_method_handler)(b"\xff" * 20)


def test_nobody_answers_a_method_that_is_not_there() -> None:
    assert Registrar().service(SimpleNamespace(method="/Recognizer/Recognise")) is None
