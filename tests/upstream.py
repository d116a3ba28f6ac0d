"""A gRPC server in the test's own process that ends its calls as it is told, and counts them: what stands behind Envoy."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerServicer, add_RecognizerServicer_to_server
from grpc_health.v1 import health, health_pb2
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

THREADS = 64
TIMEOUT_S = 30.0


class Upstream(RecognizerServicer):
    """Serves inside a `with` statement. Recognize answers `name`, unless it was told otherwise.

    Attributes:
        address: host:port.
        codes: what the next calls end in, one each.
        calls: how many there were; Envoy's own tries count, too.
        metadata: what the last one came with.
        gate: calls wait here while it is closed.
        arrived: is notified of every call; several servers may share it.
    """

    def __init__(self, name: str = "7", arrived: threading.Condition | None = None) -> None:
        self.name = name
        self.codes: deque[grpc.StatusCode] = deque()
        self.calls = 0
        self.metadata: dict[str, str | bytes] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = arrived or threading.Condition()
        self._health = health.HealthServicer()
        self._server = grpc.server(ThreadPoolExecutor(THREADS))
        add_RecognizerServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        add_HealthServicer_to_server(self._health, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.gate.set()
        self._server.stop(None).wait()

    def expect(self, *codes: grpc.StatusCode) -> None:
        """Forgets what was; the next calls end in these codes."""
        self.codes, self.calls = deque(codes), 0

    def say_not_serving(self) -> None:
        """To whoever asks for its health; calls are still answered."""
        self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)

    def say_serving(self) -> None:
        """Takes it back."""
        self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    def Recognize(self, request: pb.RecognizeRequest, context: Any) -> pb.RecognizeResponse:  # noqa: N802
        with self.arrived:
            self.calls += 1
            self.metadata = dict(context.invocation_metadata())
            code = self.codes.popleft() if self.codes else None
            self.arrived.notify_all()
        assert self.gate.wait(TIMEOUT_S), "the gate was never opened"
        if code:
            context.abort(code, "as told")
        return pb.RecognizeResponse(text=self.name)
