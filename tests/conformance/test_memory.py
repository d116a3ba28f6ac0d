"""Promise: memory stays flat, however many calls there are, and of whatever kind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub

from tests.conformance.conftest import Proof
from tests.conftest import StartServer
from tests.mnist import Digits
from tests.pictures import encode_grey, paint
from tests.server_process import ServerProcess, read_statistics

GROWTH_BYTES = 8 * 2**20
CALLERS = 32
EVERY = 1000  # calls between two looks at the server's memory


def make_mix(digits: Digits) -> list[tuple[str, Any]]:
    """What callers send, in turn: mostly framed digits; files, batches, questions why, and mistakes among them."""
    raw = [pb.Image(raw=pb.RawImage(pixels=image.tobytes(), width=28, height=28)) for image in digits.images[:80]]
    drawn = pb.Image(encoded=encode_grey(paint(digits.images[0])))
    return [
        *(("Recognize", pb.RecognizeRequest(image=image)) for image in raw),
        *(("Recognize", pb.RecognizeRequest(image=image, explain=True, top_k=3)) for image in raw[:4]),
        *(("Recognize", pb.RecognizeRequest(image=drawn, model=model)) for model in ("digits", "letters", "nobody")),
        ("Recognize", pb.RecognizeRequest(image=pb.Image(encoded=b"no image"))),
        ("RecognizeBatch", pb.RecognizeBatchRequest(images=digits.images[:100].tobytes(), probabilities=True)),
        ("RecognizeBatch", pb.RecognizeBatchRequest(images=bytes(783))),
    ]


class Load:
    """Calls until `calls` have ended, and writes down how large the server is."""

    def __init__(self, server: ServerProcess, mix: list[tuple[str, Any]], calls: int) -> None:
        self.ends: Counter[str] = Counter()
        self.sizes_bytes: list[float] = []
        self._server, self._mix = server, mix
        self._numbers: Iterator[int] = iter(range(calls))

    async def run(self) -> None:
        async with grpc.aio.insecure_channel(self._server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = RecognizerStub(channel)  # type: ignore[no-untyped-call]
            await asyncio.gather(*(self._call(stub) for _ in range(CALLERS)))

    async def _call(self, stub: Any) -> None:
        for number in self._numbers:
            method, request = self._mix[number % len(self._mix)]
            try:
                await getattr(stub, method)(request, timeout=60)
                self.ends["OK"] += 1
            except grpc.aio.AioRpcError as error:
                self.ends[error.code().name] += 1
            if number % EVERY == 0:
                self.sizes_bytes.append(read_statistics(self._server.pid)[1])


def test_memory(start_server: StartServer, mnist_test: Digits, whole: bool, proof: Proof) -> None:
    calls = 500_000 if whole else 6_000
    load = Load(start_server(), make_mix(mnist_test), calls)
    asyncio.run(load.run())
    settled = load.sizes_bytes[len(load.sizes_bytes) // 3]
    largest = max(load.sizes_bytes)
    assert load.ends.total() == calls
    assert set(load.ends) == {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}
    assert largest - settled < GROWTH_BYTES
    growth = f"{(load.sizes_bytes[-1] - settled) / 2**20:+.1f} MiB from call {len(load.sizes_bytes) // 3 * EVERY:,} on"
    proof(f"Memory over {calls:,} calls of every kind: flat", f"{largest / 2**20:.0f} MiB at most, {growth}")
