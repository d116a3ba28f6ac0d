"""Messages that can't be parsed: the caller's mistake, and told as such.

gRPC itself would end the call UNKNOWN with the decoder's own words, and write a traceback into the log for each: anybody
could fill a disk with that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from server.errors import InvalidRequest


class Malformed:
    """Stands for a message that is none. Whoever looks at a field of it refuses the call, and a good call pays nothing.

    Raises:
        InvalidRequest: on every field.
    """

    __slots__ = ("_refusal",)

    def __init__(self, refusal: InvalidRequest) -> None:
        self._refusal = refusal

    def __getattr__(self, field: str) -> NoReturn:
        raise self._refusal


class Registrar(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Takes services in place of a gRPC server, replaces what parses their messages, and finds the handler of each call."""

    def __init__(self) -> None:
        self._handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Does nothing: the same handlers come registered, one by one."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """As grpc.aio.Server does it; but there they would be found before any guard is asked (tokens.py)."""
        for name, handler in handlers.items():
            self._handlers[f"/{service}/{name}"] = handler._replace(request_deserializer=_choose_parser(handler))

    def service(self, call: Any) -> Any:
        """Who answers the call; None if nobody does."""
        return self._handlers.get(call.method)


def _choose_parser(handler: Any) -> Callable[[bytes], Any]:
    """A stream's reader raises what its parser raises, in our own code. A lone message is parsed before ours is called."""
    parse, parser = handler.request_deserializer, _refuse if handler.request_streaming else _tolerate
    return parser(parse, f"the message can't be parsed as {parse.__self__.DESCRIPTOR.full_name}")


def _refuse(parse: Callable[[bytes], Any], reason: str) -> Callable[[bytes], Any]:
    def read(message: bytes) -> Any:
        try:
            return parse(message)
        except DecodeError:
            raise InvalidRequest(reason) from None

    return read


def _tolerate(parse: Callable[[bytes], Any], reason: str) -> Callable[[bytes], Any]:
    def read(message: bytes) -> Any:
        try:
            return parse(message)
        except DecodeError:
            return Malformed(InvalidRequest(reason))

    return read
