"""Promise: clients that don't read their answers, or don't finish their questions, cost their neighbours nothing."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub

from tests.conformance.conftest import Proof
from tests.conftest import StartServer
from tests.e2e.conftest import Reference
from tests.e2e.metrics import read_metrics, total
from tests.mnist import Digits
from tests.server_process import ServerProcess, read_statistics

TRICKLING = 100
QUIET_S = 0.5
EXPLAINED = 2000
GROWTH_BYTES = 8 * 2**20  # of each deaf one: HTTP/2 windows, which grow with what it carries, and answers up to stream_window
SHARED_BYTES = 16 * 2**20  # what onnxruntime keeps for batches as large as all of them together make
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
HALF_A_FRAME = bytes([0, 64, 0, 1])  # the beginning of the headers of a call, whose rest never comes


class Deaf:
    """Sends on one stream for ever, and never reads an answer."""

    def __init__(self, server: ServerProcess, image: pb.Image) -> None:
        self.sent = 0
        self._gone = threading.Event()
        self._request = pb.RecognizeStreamRequest(request=pb.RecognizeRequest(image=image, explain=True))
        stub: Any = RecognizerStub(server.connect())  # type: ignore[no-untyped-call]
        self._call = stub.RecognizeStream(self._send())

    def leave(self) -> None:
        self._gone.set()
        self._call.cancel()

    def _send(self) -> Iterator[pb.RecognizeStreamRequest]:
        while not self._gone.is_set():
            self.sent += 1
            yield self._request


def test_slow_clients(start_server: StartServer, mnist_test: Digits, reference: Reference, whole: bool, proof: Proof) -> None:
    server, (calls, count) = start_server("--metrics-port", "0"), (10_000, 20) if whole else (500, 4)
    image = pb.Image(raw=pb.RawImage(pixels=mnist_test.images[0].tobytes(), width=28, height=28))
    with ThreadPoolExecutor(count) as callers:
        list(callers.map(lambda _: explain_many(server, image), range(count)))
    before_bytes = read_statistics(server.pid)[1]
    alone_ms = time_calls(server, mnist_test, reference, calls)
    deaf = [Deaf(server, image) for _ in range(count)]
    with ExitStack() as stack:
        for _ in range(TRICKLING):
            trickle(stack, server)
        wait_until_still(deaf)
        beside_ms = time_calls(server, mnist_test, reference, calls)
        grown_bytes = read_statistics(server.pid)[1] - before_bytes
        for each in deaf:
            each.leave()
    while total(read_metrics(server), "digitserve_running_calls", method="RecognizeStream"):
        pass  # until the server has heard that they left
    assert grown_bytes < count * GROWTH_BYTES + SHARED_BYTES
    assert np.median(beside_ms) < 2 * np.median(alone_ms)
    promise = f"{count} streams that nobody reads, {TRICKLING} connections that stop amid a call: others are served as before"
    p99 = [f"{np.percentile(times_ms, 50):.1f} / {np.percentile(times_ms, 99):.1f} ms" for times_ms in (alone_ms, beside_ms)]
    proof(promise, f"p50 / p99 of {calls:,} calls {p99[0]} before, {p99[1]} beside them; {grown_bytes / 2**20:+.0f} MiB")


def explain_many(server: ServerProcess, image: pb.Image) -> None:
    """So that what the first large batches to explain cost, once for all, is not taken for what deaf clients cost."""
    request = pb.RecognizeStreamRequest(request=pb.RecognizeRequest(image=image, explain=True))
    answers = server.stub().RecognizeStream(iter([request] * EXPLAINED), timeout=60)
    assert sum(1 for _ in answers) == EXPLAINED


def trickle(stack: ExitStack, server: ServerProcess) -> None:
    host, _, port = server.address.rpartition(":")
    connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
    connection.sendall(PREFACE + HALF_A_FRAME)
    assert connection.recv(9), "the server has greeted it"


def wait_until_still(deaf: list[Deaf]) -> None:
    """Until flow control has stopped them all: nothing more is sent for a while."""
    waiting, sent = threading.Event(), -1
    while sent != (sent := sum(each.sent for each in deaf)):
        waiting.wait(QUIET_S)


def time_calls(server: ServerProcess, digits: Digits, reference: Reference, number: int) -> list[float]:
    """Milliseconds of each of so many calls, one after another; every answer must be right."""
    stub, times_ms = server.stub(), []
    for index in itertools.islice(itertools.cycle(range(1000)), number):
        raw = pb.RawImage(pixels=digits.images[index].tobytes(), width=28, height=28)
        started_s = time.perf_counter()
        answer = stub.Recognize(pb.RecognizeRequest(image=pb.Image(raw=raw)), timeout=60)
        times_ms.append((time.perf_counter() - started_s) * 1e3)
        assert answer.text == reference.labels[index]
    return times_ms
