"""Many calls at once that are given up before the server gets round to them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub

from tests.e2e.metrics import read_metrics, total
from tests.mnist import Digits
from tests.server_process import ServerProcess

WAVE = 100
HELD_MS = 1000  # how long the server holds a request back for company: the caller is gone by then
FLAGS = ("--max-queue-delay-ms", str(HELD_MS), "--max-batch-size", "4096", "--metrics-port", "0")

GiveUp = Callable[[ServerProcess, list[Any]], Awaitable[object]]


def give_up(server: ServerProcess, digits: Digits, number: int, timeout_s: float, how: GiveUp) -> Counter[str]:
    """Sends `number` images in waves, each by a call of its own. How they ended, as the callers see it."""
    return asyncio.run(_send_waves(server, digits, number, timeout_s, how))


async def _send_waves(server: ServerProcess, digits: Digits, number: int, timeout_s: float, how: GiveUp) -> Counter[str]:
    ends: Counter[str] = Counter()
    async with grpc.aio.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub: Any = RecognizerStub(channel)  # type: ignore[no-untyped-call]
        for start in range(0, number, WAVE):
            images = [digits.images[index % len(digits.images)] for index in range(start, min(start + WAVE, number))]
            calls = [
                stub.RecognizeBatch(pb.RecognizeBatchRequest(images=image.tobytes()), timeout=timeout_s) for image in images
            ]
            await how(server, calls)
            ends.update([(await call.code()).name for call in calls])
            await wait_for_queue(server, 0)  # it is looked through when HELD_MS is over
    return ends


async def wait_for_queue(server: ServerProcess, images: int) -> None:
    """Returns once so many images wait."""
    while total(await asyncio.to_thread(read_metrics, server), "digitserve_queue_images") != images:
        pass


def count_computed(server: ServerProcess) -> tuple[float, float]:
    """Batches and images that went through a model."""
    series = read_metrics(server)
    return total(series, "digitserve_batch_images_count"), total(series, "digitserve_batch_images_sum")


def count_arrived(server: ServerProcess) -> int:
    """Calls that came as far as Python."""
    return int(total(read_metrics(server), "digitserve_calls_total", method="RecognizeBatch"))
