"""What can't be parsed becomes something that refuses the call as soon as anybody looks at it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from digitserve.v1 import recognizer_pb2 as pb

from server.errors import InvalidRequest
from server.messages import Malformed, Registrar


def register(message: Any) -> Any:
    """The deserializer that a server gets to see for an RPC that takes `message`."""
    taken: dict[str, Any] = {}
    server = SimpleNamespace(add_registered_method_handlers=lambda service, handlers: taken.update(handlers))
    handler = grpc.unary_unary_rpc_method_handler(print, request_deserializer=message.FromString)
    Registrar(server).add_registered_method_handlers("Recognizer", {"Recognize": handler})
    assert taken["Recognize"].unary_unary is print
    return taken["Recognize"].request_deserializer


def test_a_good_message_is_parsed() -> None:
    sent = pb.RecognizeRequest(model="digits")
    assert register(pb.RecognizeRequest)(sent.SerializeToString()) == sent


def test_a_bad_one_is_refused_when_it_is_read() -> None:
    message = register(pb.RecognizeRequest)(b"\xff" * 20)
    assert isinstance(message, Malformed)
    with pytest.raises(InvalidRequest, match=r"can't be parsed as digitserve\.v1\.RecognizeRequest"):
        message.model  # noqa: B018
