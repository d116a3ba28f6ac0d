"""The real servicer in a real grpc.aio server, in the test's own process, before a model that the test brings."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub

from server.app import OPEN_INFERENCE, SERVICE, make_server
from server.batcher import Batcher, Run
from server.catalog import Catalog
from server.config import Settings
from server.health import HealthServicer
from server.intake import Intake
from server.job import Images, Rows
from server.limits import Limits
from server.recorder import Recorder
from server.repository import ModelCard
from server.servicer import RecognizerServicer, Served

CLASSES = 10
NAMES = ("digits", "digits:1", "digits@stable")
CARD = ModelCard(
    name="digits",
    version="1",
    path=Path("model.onnx"),
    labels=("stable",),
    class_names=tuple("0123456789"),
    size=28,
    max_batch_size=64,
    threshold=0.5,
    accuracy=0.99,
    accuracy_n=10_000,
    description="answers with the first pixel",
)


def stamp(number: int) -> bytes:
    """A framed image whose right answer is `number`: see read_stamps()."""
    return bytes([number]) + bytes([255]) * (28 * 28 - 1)


def read_stamps(images: Images, explain: bool = False) -> Rows:
    """A model that answers each image with its first pixel, quite sure."""
    probabilities = np.full((len(images), CLASSES), 0.01, np.float32)
    probabilities[np.arange(len(images)), images[:, 0, 0] % CLASSES] = 0.91
    return (probabilities, np.zeros((len(images), CLASSES, 7, 7), np.float32)) if explain else (probabilities,)


class GatedModel:
    """read_stamps() behind a gate: batches wait in the executor's thread until it opens."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.batches: list[list[int]] = []
        self._started = threading.Semaphore(0)

    def run(self, images: Images, explain: bool = False) -> Rows:
        self.batches.append(images[:, 0, 0].tolist())
        self._started.release()
        assert self.gate.wait(30), "the gate was never opened"
        return read_stamps(images, explain)

    async def started(self) -> None:
        """Returns once a batch (another one, with each call) waits at the gate or has passed it."""
        assert await asyncio.to_thread(self._started.acquire, timeout=30), "no batch has started"


@dataclass
class InProcess:
    """A server that listens; `stub` calls it."""

    address: str
    stub: Any
    channel: grpc.aio.Channel
    batcher: Batcher
    servicer: RecognizerServicer
    health: HealthServicer
    recorder: Recorder | None = None


@asynccontextmanager
async def serving(
    run: Run = read_stamps, limits: Limits | None = None, *, batcher: Any = None, metrics: bool = False, traces: Any = None
) -> AsyncIterator[InProcess]:
    """Serves the model `run`; `batcher` may stand in for the real one."""
    settings = Settings(port=0)
    with ThreadPoolExecutor(4) as executor:
        limits = limits or Limits()
        health = HealthServicer(SERVICE, OPEN_INFERENCE)
        catalog = Catalog(Path("models"), health)
        recorder = Recorder(catalog.models, health, catalog.refused) if metrics else None
        record = recorder.open_record(CARD, limits.max_batch_size, lambda size: size) if recorder else None
        real = Batcher(run, limits, executor, recorder=record)
        catalog.models |= dict.fromkeys(("", *NAMES), Served(CARD, batcher or real, "CPUExecutionProvider", (7, 7)))
        intake = Intake(
            executor,
            max_pixels=settings.max_pixels,
            max_waiting=settings.max_decoding,
            max_waiting_bytes=settings.max_decoding_bytes,
            note_framing=recorder.note_framing if recorder else None,
        )
        servicer = RecognizerServicer(catalog.models, intake, stream_window=settings.stream_window)
        health.report(dict.fromkeys(NAMES, True))
        server = make_server(servicer, health, settings, catalog, recorder, traces=traces)
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        async with grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = RecognizerStub(channel)  # type: ignore[no-untyped-call]
            yield InProcess(address, stub, channel, real, servicer, health, recorder)
        await server.stop(None)
        await real.close()


async def fill_tray(here: InProcess, model: GatedModel, rpc: Callable[[Any], Any], first: Any, *waiting: Any) -> list[Any]:
    """Calls of one RPC: `first` under way in the model, the others in the tray, all of them accepted."""
    calls = [rpc(first)]
    await model.started()
    for request in waiting:
        before = here.batcher.waiting
        calls.append(rpc(request))
        while here.batcher.waiting == before:
            await asyncio.sleep(0)  # no time passes: this only lets the server's side of the loop go on
    return calls
