"""Calls that are given up while they wait behind one long batch: none of them may be computed.

Their images cost the model next to nothing, and so the server accepts thousands to wait; what makes the batch before them long
is in its pixels, where the server can't foresee it. Until that is over nothing else can be computed, however busy the machine
is, and then the server must see that nobody waits any more.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub

from tests.conftest import StartServer
from tests.e2e.metrics import read_metrics, total
from tests.heavy import make_pixels, publish_heavy
from tests.server_process import ServerProcess

WAVE = 500  # with more than 1,000 that it has not handed over yet, gRPC ends calls by itself
MOST_TURNS = 255
PATIENCE_S = 60
GAUGE = "gauge"  # the same model, to find out how long a turn takes: the server learns nothing of it about digits
GAUGE_TURNS = 20
FLAGS = (
    *("--execution-provider", "cpu", "--instances", "1", "--inline-ms", "0", "--max-batch-size", "256"),
    *("--max-queue-wait-ms", "60000", "--metrics-port", "0"),
)

GiveUp = Callable[[ServerProcess, list[Any]], Awaitable[object]]


class Found(NamedTuple):
    """What became of the calls.

    Attributes:
        ends: how they ended, as the callers see it.
        computed: those that went through the model after all.
    """

    ends: Counter[str]
    computed: int


def start_heavy(start_server: StartServer, folder: Path) -> ServerProcess:
    for name in ("digits", GAUGE):
        publish_heavy(folder, name, least_turns=0)
    return start_server(*FLAGS, models=folder)


def doom(server: ServerProcess, number: int, timeout_s: float, how: GiveUp, *, busy_s: float) -> Found:
    """Sends so many images, each by a call of its own, and gives them up. `busy_s` is about how long the model is kept busy."""
    return asyncio.run(_doom(server, number, timeout_s, how, busy_s))


async def _doom(server: ServerProcess, number: int, timeout_s: float, how: GiveUp, busy_s: float) -> Found:
    async with grpc.aio.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub: Any = RecognizerStub(channel)  # type: ignore[no-untyped-call]
        images = make_long(busy_s / await time_turn(stub))
        batch = stub.RecognizeBatch(pb.RecognizeBatchRequest(images=b"".join(images)))
        await wait_for(server, "digitserve_running_batches", 1)
        ends: Counter[str] = Counter()
        for start in range(0, number, WAVE):
            calls = [send(stub, index, timeout_s) for index in range(start, min(start + WAVE, number))]
            await how(server, calls)
            ends.update([(await call.code()).name for call in calls])
        assert not batch.done(), "the test must keep the model busy until all have been given up"
        await batch
        await wait_for(server, "digitserve_queue_images", 0)
        await wait_for(server, "digitserve_running_batches", 0)
        return Found(ends, await count(server, "digitserve_batch_images_sum") - len(images))


def send(stub: Any, index: int, timeout_s: float) -> Any:
    """Every other call is interactive, and the others are bulk."""
    if index % 2:
        return stub.RecognizeBatch(pb.RecognizeBatchRequest(images=make_pixels()), timeout=timeout_s)
    image = pb.Image(raw=pb.RawImage(pixels=make_pixels(), width=28, height=28))
    return stub.Recognize(pb.RecognizeRequest(image=image, layout=pb.LAYOUT_FRAMED), timeout=timeout_s)


def make_long(turns: float) -> list[bytes]:
    """The images of a batch that takes so many turns."""
    full, rest = divmod(int(turns), MOST_TURNS)
    return [make_pixels(MOST_TURNS)] * full + [make_pixels(rest)]


async def time_turn(stub: Any) -> float:
    """Seconds."""
    request = pb.RecognizeBatchRequest(images=make_pixels(GAUGE_TURNS), model=GAUGE)
    answer = await stub.RecognizeBatch(request)
    return float(answer.timing.compute_ms) / 1e3 / GAUGE_TURNS


async def wait_for(server: ServerProcess, name: str, value: int) -> None:
    """Returns once a number of the model's is this."""
    async with asyncio.timeout(PATIENCE_S):
        while await count(server, name) != value:
            pass


async def count(server: ServerProcess, name: str) -> int:
    return int(total(await asyncio.to_thread(read_metrics, server), name, model="digits"))


def count_drops(server: ServerProcess) -> Counter[str]:
    """Calls that got no answer, by the reason that the server names."""
    series = read_metrics(server).get("digitserve_drops_total", {})
    return Counter({dict(labels)["reason"]: int(value) for labels, value in series.items() if value})
