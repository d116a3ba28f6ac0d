"""A recognizer in this process that reads nothing: it answers by rule, fails by script, and remembers what it was asked."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1 import recognizer_pb2_grpc as pb_grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

CLASS_NAMES = tuple("0123456789")
PATIENCE_S = 20.0


@dataclass(frozen=True)
class Refusal:
    """A status that the server answers instead of a result."""

    code: grpc.StatusCode
    message: str = "scripted"
    field: str = ""
    retry_after_s: float = 0.0

    def abort(self, context: Any) -> None:
        details = []
        if self.field:
            violation = error_details_pb2.BadRequest.FieldViolation(field=self.field, description=self.message)
            details.append(pack(error_details_pb2.BadRequest(field_violations=[violation])))
        if self.retry_after_s:
            delay = duration_pb2.Duration(nanos=round(self.retry_after_s * 1e9))
            details.append(pack(error_details_pb2.RetryInfo(retry_delay=delay)))
        status = status_pb2.Status(code=self.code.value[0], message=self.message, details=details)
        metadata: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", status.SerializeToString())]
        if self.retry_after_s:
            metadata.append(("grpc-retry-pushback-ms", str(round(self.retry_after_s * 1e3))))
        context.set_trailing_metadata(metadata)
        context.abort(self.code, self.message)


def pack(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


@dataclass
class Call:
    """One call as the server saw it; `ended` is set once it was answered, refused, cancelled or is over its deadline."""

    method: str
    request: Any
    time_remaining_s: float | None
    metadata: dict[str, str | bytes]
    ended: threading.Event = field(default_factory=threading.Event)


class FakeRecognizer(pb_grpc.RecognizerServicer):
    """Reads an image as its brightest pixel modulo 10; black is blank. `script` and `refuses` say what to refuse."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.script: deque[Refusal] = deque()
        self.refuses: Callable[[Any], Refusal | None] = lambda request: None
        self.models = [MODEL]
        self.open = threading.Event()
        self.open.set()
        self.arrived = threading.Semaphore(0)

    def Recognize(self, request: pb.RecognizeRequest, context: Any) -> pb.RecognizeResponse:  # noqa: N802
        self._enter("Recognize", request, context)
        return answer(request)

    def RecognizeBatch(self, request: pb.RecognizeBatchRequest, context: Any) -> pb.RecognizeBatchResponse:  # noqa: N802
        self._enter("RecognizeBatch", request, context)
        return answer_batch(request)

    def RecognizeStream(self, requests: Iterator[Any], context: Any) -> Iterator[pb.RecognizeStreamResponse]:  # noqa: N802
        for item in requests:
            self._enter("RecognizeStream", item, context)
            if item.request.model == "nonsense":
                error = pb.Error(code=5, message="no such model", field="model", retry_after_ms=250.0)
                yield pb.RecognizeStreamResponse(id=item.id, error=error)
            elif item.request.model == "disorder":
                yield pb.RecognizeStreamResponse(id=item.id + 1, response=answer(item.request))
            elif item.request.model == "brief":
                return
            else:
                yield pb.RecognizeStreamResponse(id=item.id, response=answer(item.request))

    def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:  # noqa: N802
        self._enter("ListModels", request, context)
        return pb.ListModelsResponse(models=self.models)

    def methods(self) -> list[str]:
        return [call.method for call in self.calls]

    def wait_for_arrivals(self, count: int) -> None:
        for _ in range(count):
            assert self.arrived.acquire(timeout=PATIENCE_S)

    def _enter(self, method: str, request: Any, context: Any) -> None:
        call = Call(method, request, context.time_remaining(), dict(context.invocation_metadata()))
        context.add_callback(call.ended.set)
        self.calls.append(call)
        self.arrived.release()
        if refusal := self.refuses(request):
            refusal.abort(context)
        assert self.open.wait(PATIENCE_S)
        if self.script:
            self.script.popleft().abort(context)


MODEL = pb.Model(
    name="digits",
    version="1",
    labels=["stable"],
    class_names=CLASS_NAMES,
    input_height=28,
    input_width=28,
    accuracy=0.9965,
    accuracy_n=10_000,
    threshold=0.5,
    execution_provider="CPUExecutionProvider",
    max_batch_size=256,
    description="handwritten digits",
)


def read(pixels: bytes) -> int:
    """The class of an image; -1 if it is blank."""
    return max(pixels) % 10 if any(pixels) else -1


def probabilities_of(index: int) -> list[float]:
    """A row that depends on the class, so that rows can't be mixed up unnoticed. All zeros for a blank."""
    row = [0.0] * 10
    if index >= 0:
        row[index], row[(index + 1) % 10] = 0.5 + index / 32, 0.25
    return row


def answer(request: pb.RecognizeRequest) -> pb.RecognizeResponse:
    raw = request.image.raw
    index = read(raw.pixels) if raw.pixels else len(request.image.encoded) % 10
    row = probabilities_of(index)
    order = sorted(range(10), key=lambda other: -row[other])[: request.top_k] if index >= 0 else []
    character = pb.Character(
        label=CLASS_NAMES[index] if index >= 0 else "",
        probability=max(row),
        unsure=index < 5,
        alternatives=[pb.Alternative(label=CLASS_NAMES[other], probability=row[other]) for other in order],
        box=pb.Box(width=raw.width or 28, height=raw.height or 28),
    )
    if request.explain:
        values = [float(value) for value in range(6)]
        character.evidence.CopyFrom(pb.Evidence(width=3, height=2, values=values, frame=bytes(28 * 28)))
    return pb.RecognizeResponse(text=character.label, characters=[character], model=VERSION, timing=TIMING)


def answer_batch(request: pb.RecognizeBatchRequest) -> pb.RecognizeBatchResponse:
    brightest = np.frombuffer(request.images, np.uint8).reshape(-1, 28 * 28).max(axis=1).tolist()
    classes = [value % 10 if value else -1 for value in brightest]
    rows = np.array([probabilities_of(index) for index in classes], np.float32)
    return pb.RecognizeBatchResponse(
        classes=classes,
        unsure=[index < 5 for index in classes],
        probabilities=rows.tobytes() if request.probabilities else b"",
        class_names=CLASS_NAMES,
        model=VERSION,
        timing=TIMING,
        boxes=[1, 2, 3, 4] * len(classes) if request.model == "boxed" else [],
    )


VERSION = pb.ModelVersion(name="digits", version="1")
TIMING = pb.Timing(queue_ms=0.25, compute_ms=0.5, batch_size=2)


@dataclass
class FakeServer:
    """A recognizer with its address."""

    recognizer: FakeRecognizer
    target: str
    health: health.HealthServicer


@contextmanager
def serve(max_message_bytes: int = 64 * 1024 * 1024) -> Iterator[FakeServer]:
    """Serves on a free port of this machine until the end of the block."""
    options = [("grpc.max_receive_message_length", max_message_bytes)]
    with ThreadPoolExecutor(32) as pool:
        server = grpc.server(pool, options=options)
        recognizer, health_servicer = FakeRecognizer(), health.HealthServicer()
        pb_grpc.add_RecognizerServicer_to_server(recognizer, server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
        health_servicer.set("digits", health_pb2.HealthCheckResponse.NOT_SERVING)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield FakeServer(recognizer, f"127.0.0.1:{port}", health_servicer)
        finally:
            recognizer.open.set()
            server.stop(grace=None).wait()
