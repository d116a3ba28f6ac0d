"""Where the server listens."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path
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


def check_socket(path: str) -> None:
    """Finds out early whether a Unix socket can be had: gRPC would take the path away from a server that listens there.

    What a server that was killed has left there is removed.

    Raises:
        ListenError: somebody listens there, it is no socket, or nothing can be made there.
    """
    try:
        with socket.socket(socket.AF_UNIX) as caller, socket.socket(socket.AF_UNIX) as bound:
            caller.setblocking(False)  # a server that hangs is a server
            with suppress(FileNotFoundError, ConnectionRefusedError):
                caller.connect(path)
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            if Path(path).is_socket():
                os.unlink(path)
            elif Path(path).exists():
                raise OSError(errno.EEXIST, "there is something that is no socket")
            bound.bind(path)
            os.unlink(path)
    except OSError as error:
        raise ListenError(f"can't listen on {path}: {error.strerror or error}") from error


def number_socket(path: str, worker: int) -> str:
    """The socket of one of several workers; none where there is none."""
    return f"{path}.{worker}" if path else ""


def _bind(host: str, port: int, options: tuple[int, ...]) -> socket.socket:
    """On the first address of `host` that can be had."""
    reason = ""
    try:
        found = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:  # the latter of a name that is none: a..b
        raise ListenError(f"can't listen on {join(host, port)}: {getattr(error, 'strerror', error)}") from error
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
    return join(host, _listen(server, join(host, port), "", credentials))


def listen_on_socket(server: grpc.aio.Server, path: str, credentials: grpc.ServerCredentials | None = None) -> None:
    """The same on a Unix socket."""
    _listen(server, path, "unix:", credentials)


def _listen(server: grpc.aio.Server, place: str, scheme: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials:
            return int(server.add_secure_port(scheme + place, credentials))
        return int(server.add_insecure_port(scheme + place))
    except RuntimeError as error:
        raise ListenError(f"can't listen on {place}: {error}") from error


def join(host: str, port: int) -> str:
    """host:port, as gRPC reads it: an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
