"""Where the server listens."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc

_REUSE = (socket.SO_REUSEADDR,) if os.name == "posix" else ()  # elsewhere the option means to share the port


class ListenError(Exception):
    """The address can't be listened on; the message names it."""


def check_address(host: str, port: int) -> None:
    """Finds out early whether the address can be had: before a model is loaded, and in the system's own words.

    Raises:
        ListenError: the port is taken, or the address is not this machine's.
    """
    _bind(host, port, _REUSE).close()


def reserve_address(host: str, port: int) -> socket.socket:
    """A socket that never listens: its port is one that several processes of ours may listen on, and nobody else's.

    Raises:
        ListenError: as check_address().
    """
    check_address(host, port)
    try:
        return _bind(host, port, (socket.SO_REUSEPORT,))
    except ListenError:  # a server that did not share the port was there a minute ago, and connections of it linger
        return _bind(host, port, (socket.SO_REUSEPORT, socket.SO_REUSEADDR))


def _bind(host: str, port: int, options: tuple[int, ...]) -> socket.socket:
    """On the first address of `host` that can be had."""
    reason = ""
    try:
        found = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(f"can't listen on {join(host, port)}: {error.strerror}") from error
    for family, kind, protocol, _, address in found:
        bound = socket.socket(family, kind, protocol)
        try:
            for option in options:
                bound.setsockopt(socket.SOL_SOCKET, option, 1)
            bound.bind(address)
        except OSError as error:
            bound.close()
            reason = error.strerror or str(error)
        else:
            return bound
    raise ListenError(f"can't listen on {join(host, port)}: {reason}")


def listen(server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None = None) -> str:
    """Makes the server listen, with TLS if there are credentials. Returns host:port, with the port that was really taken.

    Raises:
        ListenError: somebody was faster since check_address().
    """
    try:
        if credentials:
            taken = server.add_secure_port(join(host, port), credentials)
        else:
            taken = server.add_insecure_port(join(host, port))
    except RuntimeError as error:
        raise ListenError(f"can't listen on {join(host, port)}: {error}") from error
    return join(host, taken)


def join(host: str, port: int) -> str:
    """host:port, as gRPC reads it: an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
