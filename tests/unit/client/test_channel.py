from __future__ import annotations

import socket
from typing import Any

import pytest
from digitserve import AsyncClient, Client
from digitserve.channel import checked_target, describe_silence

HANDSHAKE = "Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"{HANDSHAKE}:WRONG_VERSION_NUMBER: Invalid certificate", "the server at h:1 speaks no TLS: try without"),
        (
            f"{HANDSHAKE}:CERTIFICATE_VERIFY_FAILED: certificate has expired: OK",
            "the certificate of the server at h:1 is not taken: certificate has expired",
        ),
        (
            "Custom verification check failed with error: UNAUTHENTICATED: Hostname Verification Check failed.",
            "the certificate of the server at h:1 is not taken: it is for another name",
        ),
        (
            "UNKNOWN: ipv4:127.0.0.1:1: Connection refused",
            "no server at h:1: start one with `make run`, or name it with --server",
        ),
        ("", "no server at h:1: start one with `make run`, or name it with --server"),
    ],
)
def test_why_nobody_answers_is_told_by_grpcs_own_words(words: str, said: str) -> None:
    for with_tls in (True, False):
        assert describe_silence("h:1", words, with_tls=with_tls) == said


@pytest.mark.parametrize(("with_tls", "perhaps"), [(True, "it speaks no TLS, or its certificate is"), (False, "it wants TLS")])
def test_where_somebody_listens_it_is_not_said_that_there_is_no_server(with_tls: bool, perhaps: str) -> None:
    """Of localhost's two addresses gRPC may tell only of the one where nobody is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"localhost:{listener.getsockname()[1]}"
        said = describe_silence(target, "ipv6:[::1]:1: Connection refused", with_tls=with_tls)
    assert said.startswith(f"something listens at {target}, but no gRPC connection comes about: perhaps {perhaps}")
    assert describe_silence(target, "Connection refused", with_tls=with_tls).startswith("no server at localhost:")
    assert describe_silence("unix:/nowhere", "No such file", with_tls=with_tls).startswith("no server at unix:/nowhere")


@pytest.mark.parametrize(
    "target",
    [
        "localhost:50051",
        "127.0.0.1:1",
        "digits.example:65535",
        "[::1]:50051",
        "[fe80::1%eth0]:50051",
        "unix:/run/digits.sock",
        "unix:///run/digits.sock",
        "unix-abstract:digits",
        "dns:///digits.example:50051",
        "ipv4:10.0.0.1:50051,10.0.0.2:50051",
    ],
)
def test_host_and_port_or_what_grpc_names_so_passes(target: str) -> None:
    assert checked_target(target) == target


@pytest.mark.parametrize(
    ("target", "example"),
    [
        ("", "'localhost:50051'"),
        (" ", "'localhost:50051'"),
        ("localhost", "'localhost:50051'"),
        ("localhost:", "'localhost:50051'"),
        (":50051", "'localhost:50051'"),
        ("localhost:50051/", "'localhost:50051'"),
        ("localhost:https", "'localhost:50051'"),
        ("localhost:0", "'localhost:50051', and a port from 1 to 65535"),
        ("digits:999999", "'digits:50051', and a port from 1 to 65535"),
        ("http://digits:1", "'digits:1'"),
        ("grpc://digits:1/", "'digits:1'"),
        ("::1", "'[::1]:50051'"),
        ("[::1]", "'[::1]:50051'"),
    ],
)
def test_what_grpc_would_guess_at_is_refused_with_an_example(target: str, example: str) -> None:
    with pytest.raises(ValueError, match="target is") as caught:
        checked_target(target)
    assert str(caught.value) == f"target is {target!r}: give host and port, such as {example}"


@pytest.mark.parametrize(
    ("argument", "value", "kind"),
    [
        ("target", 5, TypeError),
        ("target", "", ValueError),
        ("timeout_s", "5", TypeError),
        ("coalesce", "no", TypeError),
        ("tls", "authority.pem", TypeError),
        ("token", 5, TypeError),
        ("max_message_bytes", 0, ValueError),
        ("max_message_bytes", float("nan"), ValueError),
        ("max_message_bytes", "1", TypeError),
        ("in_flight", 0, ValueError),
        ("in_flight", -1, ValueError),
        ("in_flight", None, TypeError),
    ],
)
@pytest.mark.parametrize("make", [Client, AsyncClient])
def test_a_client_refuses_what_cannot_be_meant(make: Any, argument: str, value: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"^{argument} is "):
        make(**{argument: value})
