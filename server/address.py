"""Where the server listens."""

from __future__ import annotations

import os
import socket

import grpc


class ListenError(Exception):
    """The address can't be listened on; the message names it."""


def check_address(host: str, port: int) -> None:
    """Finds out early whether the address can be had: before a model is loaded, and in the system's own words.

    Raises:
        ListenError: the port is taken, or the address is not this machine's.
    """
    reason = ""
    try:
        found = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(f"can't listen on {join(host, port)}: {error.strerror}") from error
    for family, kind, protocol, _, address in found:
        try:
            _bind(family, kind, protocol, address)
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            return
    raise ListenError(f"can't listen on {join(host, port)}: {reason}")


def _bind(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> None:
    with socket.socket(family, kind, protocol) as probe:
        if os.name == "posix":  # elsewhere the option means to share the port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


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
