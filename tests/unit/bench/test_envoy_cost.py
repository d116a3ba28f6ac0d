"""What Envoy costs: the parts that compute, the bytes that a browser would send, and what is refused."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import pytest
from digitserve.bench.settings import BenchError

from benchmarks import envoy, grpc_web
from benchmarks.envoy import EnvoyProcess, Latency, make_rows, summarize
from benchmarks.grpc_web import build_request, check_answer, parse_head
from deploy.proxy import NoEnvoyError

HEADERS = {":status": "200"}
MESSAGE = struct.pack(">BI", 0, 3) + b"abc"


def trailers(text: bytes) -> bytes:
    return struct.pack(">BI", 0x80, len(text)) + text


def test_percentiles_are_values_that_were_measured() -> None:
    assert summarize([float(number) for number in range(100, 0, -1)]) == Latency(50.0, 95.0)
    assert summarize([3.0]) == Latency(3.0, 3.0)
    with pytest.raises(BenchError, match="no call was answered"):
        summarize([])


def test_what_it_adds_is_paired_round_by_round_and_only_a_lone_calls_median_is_judged() -> None:
    runs = {
        "server": [Latency(1.0, 2.0), Latency(10.0, 20.0), Latency(1.0, 2.0)],
        "grpc": [Latency(1.5, 3.0), Latency(10.25, 22.0), Latency(3.0, 2.0)],
        "web": [Latency(2.5, 3.0), Latency(12.0, 22.0), Latency(1.0, 2.0)],
    }
    rows = {row.what: row for row in make_rows(runs, 1)}
    extra = rows["1 in flight, through Envoy, gRPC: adds, p50"]
    assert extra.spread is not None
    assert (extra.value, extra.spread.low, extra.spread.high, extra.reached) == (0.5, 0.25, 2.0, True)
    assert rows["1 in flight, through Envoy, grpc-web: adds, p50"].reached is False
    assert rows["1 in flight, through Envoy, gRPC: adds, p95"].value == 1.0
    assert rows["1 in flight, straight to the server: p95"].value == 2.0
    judged = [what for what, row in rows.items() if row.reached is not None]
    assert len(judged) == 2
    assert [row for row in make_rows(runs, 16) if row.reached is not None] == []


def test_a_request_is_what_a_browser_sends() -> None:
    head, _, body = build_request("127.0.0.1:8080", b"abc").partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert first == "POST /digitserve.v1.Recognizer/Recognize HTTP/1.1"
    assert body == MESSAGE
    assert headers["content-length"] == "8"
    assert headers["content-type"] == "application/grpc-web+proto"
    assert headers["origin"] == "http://127.0.0.1:8080"
    assert headers["grpc-timeout"] == "30s"


def test_an_answer_is_its_status_line_and_headers() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: 3\r\n\r\n"
    assert parse_head(head) == {":status": "200", "content-type": "application/grpc-web+proto", "content-length": "3"}


def test_an_answer_that_is_right_passes() -> None:
    check_answer(HEADERS, MESSAGE + trailers(b"grpc-status:0\r\ngrpc-message:\r\n"))
    check_answer(HEADERS | {"grpc-status": "0"}, b"")


@pytest.mark.parametrize(
    ("headers", "body", "told"),
    [
        (HEADERS, MESSAGE, "HTTP 200, no status"),
        (HEADERS, MESSAGE + trailers(b"grpc-status:8\r\n"), "HTTP 200, grpc-status:8"),
        (HEADERS | {"grpc-status": "14"}, b"", "HTTP 200, grpc-status:14"),
        ({":status": "403"}, b"RBAC", "HTTP 403, no status"),
    ],
)
def test_a_call_that_failed_is_no_figure(headers: dict[str, str], body: bytes, told: str) -> None:
    with pytest.raises(BenchError, match=told):
        check_answer(headers, body)


def test_calls_are_counted_after_the_warm_up_and_a_connection_is_kept() -> None:
    connections = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        body = MESSAGE + trailers(b"grpc-status:0\r\n")
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        answers = 0
        while await reader.read(2**16):
            writer.write(whole if answers % 2 else chunked)
            answers += 1
        writer.close()

    async def run() -> list[float]:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        address = f"127.0.0.1:{port}"
        async with server:
            return await grpc_web.measure(address, [build_request(address, b"abc")], 2, 0.1, 0.05)

    latencies = asyncio.run(run())
    assert len(connections) == 2
    assert len(latencies) > 2
    assert all(0 < latency < 10_000 for latency in latencies)


def test_a_connection_that_breaks_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert grpc_web.main(["--address", "127.0.0.1:1", "--images", "synthetic"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("the connection to 127.0.0.1:1 broke: ")


def test_without_envoy_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def find() -> Path:
        raise NoEnvoyError("Envoy is not installed")

    monkeypatch.setattr(envoy, "find_envoy", find)
    with pytest.raises(BenchError, match="Envoy is not installed"):
        EnvoyProcess("127.0.0.1:1").__enter__()


def test_without_a_model_there_is_one_line_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert envoy.main(["--models", str(tmp_path), "--json", str(tmp_path / "new/envoy.json")]) == 1
    assert capsys.readouterr().err.startswith(f"benchmarks.envoy: no digits/<version>/model.onnx in {tmp_path}")


@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--seconds", "nan"]])
def test_options_that_make_no_sense_are_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        envoy.parse_options(wrong)
