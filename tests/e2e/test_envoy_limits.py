"""Through a real Envoy: what is too large, too many, too slow or too late ends with a clear status, and soon."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from digitserve.v1 import recognizer_pb2 as pb

from tests.conftest import StartServer
from tests.proxy_process import (
    GRPC_WEB,
    Answer,
    ProxyProcess,
    WebAnswer,
    ask,
    find_manager,
    find_route,
    frame,
    post_json,
    read_web_answer,
)
from tests.upstream import Upstream

RECOGNIZE = "/digitserve.v1.Recognizer/Recognize"
SHORT_S = 0.3
# Far from SHORT_S, and far from what the file says: machines are slow at times.
SOON_S = 8.0
CONNECTIONS = 8
LARGEST_BYTES = 100_000
RESOURCE_EXHAUSTED = str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
DEADLINE_EXCEEDED = str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])


def replace(node: Any, key: str, old: Any, new: Any) -> None:
    """In a test, what the file says would take minutes, or thousands of connections."""
    assert node[key] == old
    node[key] = new


def hurry(root: Any) -> None:
    manager, short = find_manager(root), f"{SHORT_S}s"
    replace(manager, "request_headers_timeout", "10s", short)
    replace(manager, "stream_idle_timeout", "300s", "2s")
    replace(find_route(root, "json-recognize"), "timeout", "30s", short)
    replace(find_route(root, "grpc")["max_stream_duration"], "grpc_timeout_header_max", "300s", "1s")
    replace(find_limit(root), "max_active_downstream_connections", 4096, CONNECTIONS)


def find_limit(root: Any) -> Any:
    return root["overload_manager"]["resource_monitors"][0]["typed_config"]


@pytest.fixture(scope="module")
def hasty(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    folder = tmp_path_factory.mktemp("hasty")
    with ProxyProcess(upstream.address, folder, folder, hurry) as running:
        yield running


@pytest.fixture
def stuck(upstream: Upstream) -> Iterator[Upstream]:
    """It takes calls and does not answer them."""
    upstream.expect()
    upstream.gate.clear()
    yield upstream
    upstream.gate.set()


def call_web(proxy: ProxyProcess, message: bytes = b"", timeout: str = "") -> WebAnswer:
    """`timeout` is a grpc-timeout, such as 300m for 0.3 s or 1H for an hour."""
    headers = GRPC_WEB | ({"grpc-timeout": timeout} if timeout else {})
    return read_web_answer(ask(proxy.port, "POST", RECOGNIZE, frame(message), headers))


def test_the_callers_deadline_counts(proxy: ProxyProcess, stuck: Upstream) -> None:
    since_s = time.monotonic()
    trailers = call_web(proxy, timeout="300m").trailers
    assert trailers["grpc-status"] == DEADLINE_EXCEEDED
    assert SHORT_S * 0.9 < time.monotonic() - since_s < SOON_S
    assert stuck.calls == 1


def test_the_callers_deadline_counts_up_to_a_limit(hasty: ProxyProcess, stuck: Upstream) -> None:
    since_s = time.monotonic()
    trailers = call_web(hasty, timeout="1H").trailers
    assert trailers["grpc-status"] == DEADLINE_EXCEEDED
    assert time.monotonic() - since_s < SOON_S
    assert stuck.calls == 1


def test_json_waits_for_so_long_and_no_longer(hasty: ProxyProcess, stuck: Upstream) -> None:
    since_s = time.monotonic()
    answer = post_json(hasty.port, "/v1/recognize", {})
    assert (answer.status, answer.json()["code"]) == (504, 504)
    assert time.monotonic() - since_s < SOON_S
    assert stuck.calls == 1


def test_a_call_without_a_deadline_that_nobody_answers_is_ended(hasty: ProxyProcess, stuck: Upstream) -> None:
    since_s = time.monotonic()
    assert call_web(hasty).trailers["grpc-status"] == DEADLINE_EXCEEDED
    assert time.monotonic() - since_s < SOON_S


def test_who_does_not_end_his_headers_is_let_go(hasty: ProxyProcess) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=SOON_S) as caller:
        caller.sendall(b"POST /v1/recognize HTTP/1.1\r\nhost: a\r\nx-slow: ")
        answer = http.client.HTTPResponse(caller)
        answer.begin()
        assert answer.status == 408
        assert caller.recv(1) == b""


def test_too_many_headers_are_refused(proxy: ProxyProcess) -> None:
    assert ask(proxy.port, "GET", "/v1/models", None, {f"x-{number}": "1" for number in range(101)}).status == 431


def test_more_connections_than_allowed_are_closed_and_admin_stays_open(hasty: ProxyProcess) -> None:
    with ExitStack() as stack:
        taken = [keep(hasty, stack) for _ in range(CONNECTIONS)]
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask(hasty.port, "GET", "/")
        assert ask(hasty.admin_port, "GET", "/ready").status == 200
        assert all(answers(connection) for connection in taken)
        taken[0].close()
        wait_until_answered(hasty)


def keep(proxy: ProxyProcess, stack: ExitStack) -> http.client.HTTPConnection:
    """A connection that is known to be accepted."""
    end_s = time.monotonic() + SOON_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=SOON_S)
        stack.callback(connection.close)
        if answers(connection):
            return connection
        assert time.monotonic() < end_s, "the connections of earlier tests are still counted"


def answers(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("GET", "/nothing")
        return connection.getresponse().read() != b""
    except (ConnectionError, http.client.HTTPException):
        return False


def wait_until_answered(proxy: ProxyProcess) -> None:
    with ExitStack() as stack:
        keep(proxy, stack)


def test_json_of_unknown_length_is_counted(proxy: ProxyProcess, upstream: Upstream) -> None:
    upstream.expect()
    answer = ask_in_pieces(proxy.port, [b'{"model": "', *[b"a" * 2**20] * 9, b'"}'])
    assert (answer.status, answer.json()["code"]) == (413, 413)
    assert upstream.calls == 0


def ask_in_pieces(port: int, pieces: list[bytes]) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/v1/recognize", iter(pieces), {"content-type": "application/json"}, encode_chunked=True)
    response = connection.getresponse()
    try:
        return Answer(response.status, {}, response.read())
    finally:
        connection.close()


def test_a_message_that_the_server_does_not_take_is_named_and_not_repeated(start_server: StartServer, tmp_path: Path) -> None:
    small = start_server("--max-message-bytes", str(LARGEST_BYTES))
    raw = pb.RawImage(pixels=bytes(4 * LARGEST_BYTES), width=2 * LARGEST_BYTES, height=2)
    message = pb.RecognizeRequest(image=pb.Image(raw=raw)).SerializeToString()
    with ProxyProcess(small.address, tmp_path, tmp_path) as proxy:
        trailers = call_web(proxy, message).trailers
        assert trailers["grpc-status"] == RESOURCE_EXHAUSTED
        assert "larger than max" in trailers["grpc-message"].replace("%20", " ")
        retried = ask(proxy.admin_port, "GET", "/stats?format=json&filter=upstream_rq_retry$").json()["stats"]
        assert [each["value"] for each in retried] == [0]
