"""How the client talks to a server: the channel's settings, and the calls of the contract on it."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from typing import Any

from digitserve.security import TLS, Signed
from digitserve.statuses import wire_fields
from digitserve.v1 import recognizer_pb2_grpc as pb_grpc

DEFAULT_TARGET = "localhost:50051"
DEFAULT_TIMEOUT_S = 10.0
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

# gRPC itself repeats what the server can't have worked on, within the call's deadline. Nothing else is ever repeated.
RETRY_POLICY: dict[str, Any] = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}

MAX_PORT = 65_535
_URL_SCHEME = re.compile(r"^[\w+.-]+://")
_OTHER_SCHEME = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds|google-c2p|google-c2p-experimental):.")
_HOST = r"\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^\s:/@\[\]]+"  # an IPv6 address stands in brackets
_HOST_AND_PORT = re.compile(rf"(?P<host>{_HOST}):(?P<port>[0-9]+)")
_CONNECT_TIMEOUT_S = 1.0

HEALTH_METHOD = "/grpc.health.v1.Health/Check"
HEALTH_STATES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


def channel_options(max_message_bytes: int) -> list[tuple[str, int | str]]:
    """The options of a channel that a client opens by itself."""
    service_config = {"methodConfig": [{"name": [{}], "retryPolicy": RETRY_POLICY}]}
    return [
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        (
            "grpc.per_rpc_retry_buffer_size",
            max_message_bytes,
        ),  # what doesn't fit is never repeated; the default is 256 KiB
        ("grpc.enable_retries", 1),
        ("grpc.service_config", json.dumps(service_config)),
        # A ping finds a dead peer, and keeps a quiet connection alive through NAT. The server permits one each 10 s.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),  # else gRPC waits a minute all the same
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # A channel that was broken comes back within 2 s of its server, not within gRPC's 2 minutes.
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        # Two clients in one process each have a connection of their own.
        ("grpc.use_local_subchannel_pool", 1),
    ]


def checked_target(target: str) -> str:
    """Host and port, or one of gRPC's own schemes, such as unix:path, which is left to gRPC.

    gRPC would guess: a missing port is 443 to it, and 999999 is 16959.

    Raises:
        TypeError: not a str.
        ValueError: empty, a URL, or without a port that can be meant.
    """
    if not isinstance(target, str):
        raise TypeError(f"target is {target!r}: give a str with host and port, such as {DEFAULT_TARGET!r}")
    parts = _HOST_AND_PORT.fullmatch(target)
    if _OTHER_SCHEME.match(target) or (parts and _is_port(parts["port"])):
        return target
    limits = f", and a port from 1 to {MAX_PORT}" if parts else ""
    raise ValueError(f"target is {target!r}: give host and port, such as {_example_like(target)!r}{limits}")


def describe_silence(target: str, words: str, *, with_tls: bool) -> str:
    """What to say where nothing answers; `words` are gRPC's own on why it could not connect."""
    if "WRONG_VERSION_NUMBER" in words:
        return f"the server at {target} speaks no TLS: try without"
    if found := re.search(r"CERTIFICATE_VERIFY_FAILED(?:: ([^:]+))?|Hostname Verification Check failed", words):
        reason = found[1] or "it is for another name"
        return f"the certificate of the server at {target} is not taken: {reason}"
    if "Socket closed" in words:
        wanted = "a certificate of yours, from an authority that it knows" if with_tls else "TLS"
        return f"the server at {target} closes the connection: perhaps it wants {wanted}"
    if _listens(target):  # of several addresses, as localhost has, gRPC tells only why the last one failed
        perhaps = "it speaks no TLS, or its certificate is not taken" if with_tls else "it wants TLS"
        return f"something listens at {target}, but no gRPC connection comes about: perhaps {perhaps}"
    return f"no server at {target}: start one with `make run`, or name it with --server"


def _listens(target: str) -> bool:
    """Whether anybody takes a connection there, on any of the addresses."""
    parts = _HOST_AND_PORT.fullmatch(target)
    if not parts:
        return False
    try:
        socket.create_connection((parts["host"].strip("[]"), int(parts["port"])), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _is_port(word: str) -> bool:
    return word.isascii() and word.isdecimal() and 1 <= int(word) <= MAX_PORT


def _example_like(target: str) -> str:
    """What may have been meant."""
    default_host, _, default_port = DEFAULT_TARGET.partition(":")
    bare = _URL_SCHEME.sub("", target.strip()).partition("/")[0]
    if bare.count(":") > 1 and not bare.startswith("["):
        return f"[{bare}]:{default_port}"
    host = found[0] if (found := re.match(_HOST, bare)) else default_host
    port = bare.removeprefix(f"{host}:")
    return f"{host}:{port if _is_port(port) else default_port}"


def open_channel(grpc_kind: Any, target: str, max_message_bytes: int, tls: TLS | None) -> Any:
    """A channel of `grpc_kind`, which is grpc or grpc.aio."""
    options = channel_options(max_message_bytes)
    if tls is None:
        return grpc_kind.insecure_channel(target, options=options)
    return grpc_kind.secure_channel(target, tls.credentials(), options=options)


def check_own_channel(channel: Any, tls: TLS | None) -> None:
    """Raises TypeError, ValueError."""
    if tls is not None and not isinstance(tls, TLS):
        raise TypeError(f"tls is {tls!r}: give a digitserve.TLS, or None")
    if channel is not None and tls is not None:
        raise ValueError("tls is for the channel that the client opens: give it to your own channel instead")


class Calls:
    """The calls that a channel offers, sync or asyncio alike. They show the token, if there is one."""

    def __init__(self, channel: Any, token: str = "") -> None:
        stub = pb_grpc.RecognizerStub(channel)  # type: ignore[no-untyped-call]
        sign: Callable[[Any], Any] = (lambda call: Signed(call, token)) if token else (lambda call: call)
        self.recognize: Callable[..., Any] = sign(stub.Recognize)
        self.recognize_batch: Any = sign(stub.RecognizeBatch)
        self.recognize_stream: Callable[..., Any] = sign(stub.RecognizeStream)
        self.list_models: Callable[..., Any] = sign(stub.ListModels)
        self.check_health: Callable[..., Any] = channel.unary_unary(
            HEALTH_METHOD, request_serializer=_write_health_request, response_deserializer=_read_health_response
        )


def _write_health_request(service: str) -> bytes:
    """grpc.health.v1.HealthCheckRequest: one string, field 1."""
    name = service.encode()
    size, length = len(name), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return b"\x0a" + bytes(length) + bytes([size]) + name if name else b""


def _read_health_response(message: bytes) -> str:
    """grpc.health.v1.HealthCheckResponse: one enum, field 1, whose 0 is not sent."""
    states = [value for number, value in wire_fields(message) if number == 1 and isinstance(value, int)]
    state = states[-1] if states else 0
    return HEALTH_STATES[state] if state < len(HEALTH_STATES) else str(state)
