"""Promise: a client that has vanished without a goodbye is noticed, and what it held is free again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.conformance.conftest import Proof
from tests.conftest import StartServer
from tests.e2e.metrics import read_metrics, total
from tests.relay import Relay
from tests.server_process import ServerProcess

STREAMS = 20
KEEPALIVE_S = 3
WITHIN_S = 60.0


def test_half_open_connections(start_server: StartServer, proof: Proof) -> None:
    server = start_server("--keepalive-s", str(KEEPALIVE_S), "--metrics-port", "0")
    vanish = threading.Event()

    def send() -> Iterator[pb.RecognizeStreamRequest]:
        yield pb.RecognizeStreamRequest()
        vanish.wait()

    with Relay(server.address) as relay, grpc.insecure_channel(relay.address) as channel:
        stub: Any = RecognizerStub(channel)  # type: ignore[no-untyped-call]
        streams = [stub.RecognizeStream(send()) for _ in range(STREAMS)]
        watch = HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        for each in [*streams, watch]:
            next(each)  # it is open, and both sides know
        assert count_streams(server) == STREAMS
        relay.cut()
        cut_s, others = time.monotonic(), server.stub()
        while count_streams(server) and time.monotonic() < cut_s + WITHIN_S:
            others.ListModels(pb.ListModelsRequest(), timeout=60)  # everybody else is served as ever
        noticed_s = time.monotonic() - cut_s
        assert count_streams(server) == 0
        vanish.set()
    promise = f"{STREAMS} streams of a client that vanishes without a goodbye are noticed and freed"
    proof(promise, f"{noticed_s:.1f} s with keepalive_s = {KEEPALIVE_S} (60 by default)")


def count_streams(server: ServerProcess) -> int:
    return int(total(read_metrics(server), "digitserve_running_calls", method="RecognizeStream"))
