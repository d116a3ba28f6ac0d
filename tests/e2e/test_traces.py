"""Promise: with --traces the spans of every call reach an OTLP collector, the last of them before the drain ends."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from digitserve.v1 import recognizer_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from server import main as program
from tests.conftest import StartServer
from tests.contract.test_traces import CALLER, TRACE
from tests.e2e.test_metrics import make_request
from tests.server_process import STOP_TIMEOUT_S


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        for resource in request.resource_spans:
            told = {each.key: each.value for each in resource.resource.attributes}
            self.services.add(told["service.name"].string_value)
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    """It, and its address."""
    server, servicer = grpc.server(ThreadPoolExecutor(2)), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"http://127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.parametrize("more", [(), ("--workers", "2", "--metrics-port", "0")], ids=["one process", "workers"])
def test_the_callers_trace_is_at_the_collector_when_the_server_has_drained(
    start_server: StartServer, collector: tuple[Collector, str], more: tuple[str, ...]
) -> None:
    kept, address = collector
    server = start_server("--traces", address, *more)
    pixels = bytes(300) + b"\xff" * 100 + bytes(384)
    for number in range(10):
        metadata = (("traceparent", f"00-{TRACE}-{CALLER}-0{number % 2}"),)
        server.stub().Recognize(make_request(pixels), metadata=metadata)
    server.stub().ListModels(pb.ListModelsRequest())
    server.terminate()
    assert server.wait() == 0
    names = [span.name for span in kept.spans]
    assert {name: names.count(name) for name in names} == {
        "digitserve.v1.Recognizer/Recognize": 5,
        "queue": 5,
        "compute": 5,
        "digitserve.v1.Recognizer/ListModels": 1,
    }
    theirs = [span for span in kept.spans if span.trace_id.hex() == TRACE]
    assert len(theirs) == 15
    assert [span.parent_span_id.hex() for span in theirs].count(CALLER) == 5
    assert kept.services == {"digitserve"}


def test_without_a_collector_it_serves_and_drains_all_the_same(start_server: StartServer) -> None:
    server = start_server("--traces", "http://127.0.0.1:1")
    for _ in range(5):
        server.stub().ListModels(pb.ListModelsRequest())
    server.terminate()
    assert server.wait(STOP_TIMEOUT_S / 4) == 0
    assert "Failed to export traces" in server.stderr


@pytest.mark.parametrize("missing", ["all of it", "the exporter"])
def test_without_the_extra_one_line_says_so(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def find_spec(name: str) -> None:
        if missing == "all of it":
            raise ModuleNotFoundError("No module named 'opentelemetry'")

    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    line = "digitserve: traces is set, but OpenTelemetry is not installed: pip install -c constraints.txt -e '.[serve,otel]'\n"
    for flag in ("--port=0", "--check"):
        monkeypatch.setattr("sys.argv", ["server", "--traces", "http://127.0.0.1:4317", flag])
        assert program.main() == 2
        assert capsys.readouterr().err == line
