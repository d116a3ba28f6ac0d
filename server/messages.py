"""Messages that can't be parsed: the caller's mistake, and told as such.

gRPC itself would end the call UNKNOWN with the decoder's own words, and write a traceback into the log for each: anybody
could fill a disk with that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from google.protobuf.message import DecodeError

from server.errors import InvalidRequest


class Malformed:
    """Stands for a message that is none. Whoever looks at a field of it refuses the call, and a good call pays nothing.

    Raises:
        InvalidRequest: on every field.
    """

    __slots__ = ("_kind",)

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __getattr__(self, field: str) -> NoReturn:
        raise InvalidRequest(f"the message can't be parsed as {self._kind}")


class Registrar:
    """Takes services for a gRPC server, in place of it: what their messages are parsed with never fails."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Does nothing: the same handlers come registered, one by one."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """As grpc.aio.Server does it."""
        patient = {
            name: handler._replace(request_deserializer=_tolerate(handler.request_deserializer))
            for name, handler in handlers.items()
        }
        self._server.add_registered_method_handlers(service, patient)


def _tolerate(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    kind = parse.__self__.DESCRIPTOR.full_name  # type: ignore[attr-defined]  # a class method of the message

    def read(message: bytes) -> Any:
        try:
            return parse(message)
        except DecodeError:
            return Malformed(kind)

    return read
