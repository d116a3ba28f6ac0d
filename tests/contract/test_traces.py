"""A traced call is a span with its wait and its computing in it, in the caller's own trace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import pytest
from digitserve.v1 import recognizer_pb2 as pb
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from tritonclient.grpc import service_pb2, service_pb2_grpc

from server.batcher import Run
from server.job import Images, Rows
from server.limits import Limits
from server.traces import Traces
from tests.contract.test_causes import batch, fill, framed
from tests.contract.test_metrics import end_of
from tests.in_process import GatedModel, InProcess, read_stamps, serving, stamp

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RECOGNIZE = "digitserve.v1.Recognizer/Recognize"


def trace(test: Callable[[InProcess], Coroutine[Any, Any, None]], run: Run = read_stamps) -> dict[str, ReadableSpan]:
    """The spans of the calls that the test makes, by name."""
    exporter = InMemorySpanExporter()
    traces = Traces(SimpleSpanProcessor(exporter))

    async def play() -> None:
        async with serving(run, Limits(inline_batch_size=16), traces=traces) as here:
            await test(here)
        await traces.close()

    asyncio.run(play())
    spans = exporter.get_finished_spans()
    assert len({span.name for span in spans}) == len(spans)
    return {span.name: span for span in spans}


def parent_of(span: ReadableSpan) -> int:
    assert span.parent
    return span.parent.span_id


def test_a_call_holds_its_wait_and_its_computing() -> None:
    async def test(here: InProcess) -> None:
        await here.stub.Recognize(framed(3))

    spans = trace(test)
    call, queue, compute = (spans[name] for name in (RECOGNIZE, "queue", "compute"))
    assert (len(spans), call.parent, call.kind) == (3, None, SpanKind.SERVER)
    assert parent_of(queue) == parent_of(compute) == call.context.span_id
    assert call.context.trace_id == queue.context.trace_id == compute.context.trace_id
    times = [call.start_time, queue.start_time, queue.end_time, compute.start_time, compute.end_time, call.end_time]
    assert times == sorted(times, key=lambda ns: ns or 0)
    assert dict(call.attributes or {}) == {
        "rpc.system": "grpc",
        "rpc.service": "digitserve.v1.Recognizer",
        "rpc.method": "Recognize",
        "rpc.grpc.status_code": 0,
        "digitserve.model": "digits",
        "digitserve.version": "1",
    }
    assert dict(compute.attributes or {}) == {"digitserve.batch_size": 1}
    resource = call.resource.attributes
    assert resource["service.name"] == "digitserve"
    assert resource["service.version"]


def test_times_are_those_that_the_answer_tells() -> None:
    told: list[pb.Timing] = []

    async def test(here: InProcess) -> None:
        told.append((await here.stub.RecognizeBatch(batch(1, 2, 3))).timing)

    spans = trace(test)
    for name, expected_ms in (("queue", told[0].queue_ms), ("compute", told[0].compute_ms)):
        span = spans[name]
        assert span.start_time
        assert span.end_time
        assert (span.end_time - span.start_time) / 1e6 == pytest.approx(expected_ms, abs=1e-3)
    assert (spans["compute"].attributes or {})["digitserve.batch_size"] == 3


@pytest.mark.parametrize(("flags", "spans"), [("01", 3), ("00", 0)])
def test_the_caller_decides_and_it_is_the_callers_trace(flags: str, spans: int) -> None:
    async def test(here: InProcess) -> None:
        metadata = (("traceparent", f"00-{TRACE}-{CALLER}-{flags}"), ("tracestate", "shop=1"))
        assert (await here.stub.Recognize(framed(3), metadata=metadata)).text == "3"

    found = trace(test)
    assert len(found) == spans
    for span in found.values():
        assert span.context.trace_id == int(TRACE, 16)
        assert span.context.trace_state["shop"] == "1"
    if found:
        assert parent_of(found[RECOGNIZE]) == int(CALLER, 16)


@pytest.mark.parametrize("sent", ["", "00-0-0-01", f"ff-{TRACE}-{CALLER}-01", "x" * 5000])
def test_nonsense_for_a_parent_is_no_parent_and_no_line_of_the_log(sent: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test(here: InProcess) -> None:
        await here.stub.Recognize(framed(3), metadata=(("traceparent", sent), ("tracestate", "FAKE ERROR on fire")))

    assert trace(test)[RECOGNIZE].parent is None
    assert caplog.messages == []


def test_a_state_that_is_none_is_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def test(here: InProcess) -> None:
        metadata = (("traceparent", f"00-{TRACE}-{CALLER}-01"), ("tracestate", "FAKE ERROR on fire"))
        await here.stub.Recognize(framed(3), metadata=metadata)

    assert trace(test)[RECOGNIZE].context.trace_id == int(TRACE, 16)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("request_", "code", "status"),
    [
        (framed(model="letters"), grpc.StatusCode.NOT_FOUND, StatusCode.UNSET),
        (framed(13), grpc.StatusCode.INTERNAL, StatusCode.ERROR),
    ],
)
def test_an_error_has_its_status_and_only_the_servers_own_fault_is_an_error(
    request_: pb.RecognizeRequest, code: grpc.StatusCode, status: StatusCode
) -> None:
    def run_or_fail(images: Images, explain: bool) -> Rows:
        if images[0, 0, 0] == 13:
            raise MemoryError("no memory at 0xdeadbeef")
        return read_stamps(images, explain)

    async def test(here: InProcess) -> None:
        assert await end_of(here.stub.Recognize(request_)) == code.name

    ((_, span),) = trace(test, run_or_fail).items()
    assert (span.attributes or {})["rpc.grpc.status_code"] == code.value[0]
    assert span.status.status_code is status
    assert "0xdeadbeef" not in span.to_json()


def test_a_cancelled_call_has_a_span_too() -> None:
    model = GatedModel()

    async def test(here: InProcess) -> None:
        (first, gone) = await fill(here, model, batch(2))
        gone.cancel()
        await here.stub.ListModels(pb.ListModelsRequest())  # behind the cancellation, on the same connection
        model.gate.set()
        await first

    exporter = InMemorySpanExporter()

    async def play() -> None:
        traces = Traces(SimpleSpanProcessor(exporter))
        async with serving(model.run, traces=traces) as here:
            await test(here)
        await traces.close()

    asyncio.run(play())
    ended = [(span.attributes or {}).get("rpc.grpc.status_code") for span in exporter.get_finished_spans()]
    assert sorted(code for code in ended if isinstance(code, int)) == [0, 0, 1]


def test_a_stream_is_one_span_that_counts_its_answers() -> None:
    async def test(here: InProcess) -> None:
        streamed = iter([pb.RecognizeStreamRequest(request=framed(number)) for number in range(5)])
        assert len([answer async for answer in here.stub.RecognizeStream(streamed)]) == 5

    ((name, span),) = trace(test).items()
    assert name.endswith("/RecognizeStream")
    assert (span.attributes or {})["digitserve.answers"] == 5
    assert (span.attributes or {})["rpc.grpc.status_code"] == 0


def test_what_the_model_never_saw_has_no_spans_for_it() -> None:
    async def test(here: InProcess) -> None:
        await here.stub.Recognize(pb.RecognizeRequest(image=pb.Image(raw=pb.RawImage(pixels=bytes(784), width=28, height=28))))
        await here.stub.ListModels(pb.ListModelsRequest())
        stub = service_pb2_grpc.GRPCInferenceServiceStub(here.channel)
        await stub.ServerLive(service_pb2.ServerLiveRequest())

    services = ("digitserve.v1.Recognizer", "digitserve.v1.Recognizer", "inference.GRPCInferenceService")
    rpcs = zip(services, ("Recognize", "ListModels", "ServerLive"), strict=True)
    assert list(trace(test)) == [f"{service}/{rpc}" for service, rpc in rpcs]


def test_closing_sends_what_still_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    monkeypatch.setenv("OTEL_SERVICE_NAME", "digits-eu")

    async def play() -> None:
        traces = Traces(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000))
        async with serving(traces=traces) as here:
            await here.stub.RecognizeBatch(pb.RecognizeBatchRequest(images=stamp(1)))
        assert exporter.get_finished_spans() == ()
        await traces.close()

    asyncio.run(play())
    assert len(spans := exporter.get_finished_spans()) == 3
    assert spans[0].resource.attributes["service.name"] == "digits-eu"
