"""OpenTelemetry traces: a span for each call, and within it one for the wait in the queue and one for the computing.

A caller who sends `traceparent` (W3C Trace Context) finds them in its own trace, and decides whether there are any. Nothing is
measured for them: the answer tells how long it waited and was computed, and the spans are made from that, after it. This module
is imported only if traces are wanted.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import os
import time
from contextlib import aclosing
from typing import Any

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import PROCESS_PID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from server.doors import Rpc, name_end, watch

EXPORT_TIMEOUT_S = 2.0  # of a collector that does not answer; the drain may wait for it
OUR_FAULT = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
PROPAGATOR = TraceContextTextMapPropagator()
for chatty in ("opentelemetry.trace.span", "opentelemetry.trace.propagation.tracecontext"):
    logging.getLogger(chatty).setLevel(logging.ERROR)  # else any caller writes what it likes into the log, as a WARNING


def export_to(endpoint: str) -> SpanProcessor:
    """Sends spans to an OTLP collector, on a thread of its own; http:// is plain gRPC, https:// is TLS."""
    return BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S))


class Traces:
    """Makes spans and hands them to `processor`. OpenTelemetry's own variables hold, such as OTEL_TRACES_SAMPLER."""

    def __init__(self, processor: SpanProcessor) -> None:
        resource = Resource.create(
            {
                SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "digitserve"),
                SERVICE_VERSION: importlib.metadata.version("digitserve"),
                PROCESS_PID: os.getpid(),
            }
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("digitserve")

    async def close(self) -> None:
        """Sends what has not been sent yet; without the event loop, which may be needed to finish other calls."""
        await asyncio.get_running_loop().run_in_executor(None, self._provider.shutdown)

    def watch(self, service: str, servicer: Any) -> Any:
        """The RPCs of a servicer, each with a span around it."""
        return watch(
            servicer,
            lambda name, method: self._watch_unary(service, name, method),
            lambda name, method: self._watch_stream(service, name, method),
        )

    def _watch_unary(self, service: str, name: str, method: Rpc) -> Rpc:
        async def answer(request: Any, context: Any) -> Any:
            span = self._begin(service, name, context)
            try:
                answered = await method(request, context)
            except BaseException as error:
                _end(span, name_end(error, context))
                del request  # see statuses.abort()
                raise
            if span.is_recording():
                self._tell_timing(span, answered)
            _end(span, grpc.StatusCode.OK)
            return answered

        return answer

    def _watch_stream(self, service: str, name: str, method: Rpc) -> Rpc:
        """One span, however long the stream is: it tells how many answers there were."""

        async def answer(requests: Any, context: Any) -> Any:
            span, answers = self._begin(service, name, context), 0
            status = grpc.StatusCode.OK
            try:
                async with aclosing(method(requests, context)) as items:
                    async for item in items:
                        answers += 1
                        yield item
            except BaseException as error:
                status = name_end(error, context)
                raise
            finally:
                span.set_attribute("digitserve.answers", answers)
                _end(span, status)

        return answer

    def _begin(self, service: str, name: str, context: Any) -> Span:
        parent = PROPAGATOR.extract(dict(context.invocation_metadata() or ()))
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        return self._tracer.start_span(f"{service}/{name}", parent, SpanKind.SERVER, attributes)

    def _tell_timing(self, span: Span, answered: Any) -> None:
        """Counted back from now, which is some microseconds after the model was done."""
        timing = getattr(answered, "timing", None)
        if timing is None or not timing.batch_size:
            return
        now = time.time_ns()
        started = now - int(timing.compute_ms * 1e6)
        inside = set_span_in_context(span)
        arrived = started - int(timing.queue_ms * 1e6)
        self._tracer.start_span("queue", inside, start_time=arrived).end(started)
        attributes = {"digitserve.batch_size": timing.batch_size}
        self._tracer.start_span("compute", inside, attributes=attributes, start_time=started).end(now)
        span.set_attributes({"digitserve.model": answered.model.name, "digitserve.version": answered.model.version})


def _end(span: Span, status: grpc.StatusCode) -> None:
    span.set_attribute("rpc.grpc.status_code", status.value[0])
    if status.name in OUR_FAULT:
        span.set_status(StatusCode.ERROR, status.name)
    span.end()
