"""Several server processes on one port: started together, restarted one by one, drained together.

This process answers no calls and imports neither gRPC nor onnxruntime; the workers are never forks of it. It holds the port by
a socket that does not listen, so that the port stays ours while no worker does. SIGTERM asks a worker to drain, and so does the
end of the line between the two: if this process is killed, no worker stays behind.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from server.address import check_socket, number_socket, reserve_address
from server.config import Settings, write_flags
from server.cores import count_cores
from server.signals import ignore_stop, listen_for_stop
from server.totals import Snapshot, Totals

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

logger = logging.getLogger("digitserve.workers")

OWN = 0  # this process's number beside those of the workers
SCRAPE_PATIENCE_S = 1.0
STEADY_S = 30.0  # who has lived so long does not keep dying
LONGEST_WAIT_S = 30.0
MARGIN_S = 10.0  # what a drain may take beside its delay and grace
LONGEST_LINE_BYTES = 64 * 1024 * 1024


class WorkerError(Exception):
    """A worker can't start; the message says why."""


async def supervise(settings: Settings) -> None:
    """Has `settings.workers` processes serve until SIGTERM or SIGINT, and drains them.

    Raises:
        ListenError, WorkerError: it can't start.
    """
    started_at = time.perf_counter()
    asked_to_stop = listen_for_stop()
    async with AsyncExitStack() as stack:
        port = stack.enter_context(reserve_address(settings.host, settings.port)).getsockname()[1]
        for number in range(1, int(settings.workers) + 1) if settings.socket else ():
            check_socket(number_socket(settings.socket, number))
        fleet = Fleet(share_out(settings, port))
        if settings.metrics_port >= 0:
            from server.scrape import Scrape

            scrape = Scrape(fleet.collect)
            await scrape.open(settings.metrics_host, settings.metrics_port)
            stack.callback(scrape.close)
        fleet.start()
        stack.push_async_callback(fleet.drain)
        stopping = asyncio.create_task(asked_to_stop.wait())
        either: set[asyncio.Future[Any]] = {fleet.serving, stopping}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if fleet.serving.done():
            told = fleet.serving.result(), settings.workers, time.perf_counter() - started_at
            logger.info("serving on %s (%s workers, started in %.1f s)", *told)
            await stopping
    logger.info("all workers have drained")
    ignore_stop()


def share_out(settings: Settings, port: int) -> Settings:
    """What each worker is told: the port that was really taken, and its share of the cores."""
    return replace(settings, port=port, instances=settings.instances or max(1, count_cores() // int(settings.workers)))


def choose_wait_s(deaths: int) -> float:
    """How long a worker that has died so often in a row waits for its restart: not at all, then 0.5 s, 1 s, 2 s and so on."""
    return 0.0 if deaths == 1 else min(LONGEST_WAIT_S, 0.25 * 2.0 ** min(deaths - 1, 10))


class Fleet:
    """The workers. `serving` is their address, once all of them have served; or the WorkerError of the first that could not."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._workers = [Worker(number, self._note_serving) for number in range(1, int(settings.workers) + 1)]
        self._keepers: list[asyncio.Task[None]] = []
        self._draining = asyncio.Event()
        self._totals = Totals()
        self._restarts = 0
        self.serving: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        """Starts all, side by side."""
        self._keepers = [asyncio.create_task(self._keep(worker)) for worker in self._workers]

    async def drain(self) -> None:
        """Has all drain, side by side; whoever takes too long is killed."""
        self._draining.set()
        for worker in self._workers:
            worker.ask_to_stop()
        await asyncio.wait(self._keepers, timeout=self._settings.drain_delay_s + self._settings.drain_grace_s + MARGIN_S)
        for worker in self._workers:
            worker.signal(signal.SIGKILL)
        await asyncio.gather(*self._keepers)

    async def collect(self) -> AsyncIterator[Family]:
        """What all of them tell together. Who does not answer in time is left out, but for what it has counted before."""
        from server.scrape import collect_all

        serving = [worker for worker in self._workers if worker.address]
        answers = await asyncio.gather(*(worker.ask() for worker in serving))
        present = {OWN: os.getpid()}
        for worker, answered in zip(serving, answers, strict=True):
            if answered and worker.address:
                present[worker.number] = worker.pid
                self._totals.take(worker.number, worker.snapshot)
        counted = {"digitserve_worker_restarts_total": self._restarts}
        nobody = {"digitserve_serving": 0, "digitserve_workers": 0}  # what holds if no worker is left
        self._totals.take(OWN, {name: {(): value} for name, value in (counted | nobody).items()})
        async for family in collect_all(self._totals, present):
            yield family

    async def _keep(self, worker: Worker) -> None:
        """Runs it, again and again until the drain."""
        deaths = 0
        while not self._draining.is_set():
            began_at = self._clock()
            end = await worker.run(self._settings)
            self._totals.bury(worker.number)
            if not self._has_started():
                if not self.serving.done() and not self._draining.is_set():
                    self.serving.set_exception(WorkerError(worker.reason or f"worker {worker.number} {end} before all served"))
                return
            if self._draining.is_set():
                if worker.status not in (0, -signal.SIGTERM) and not worker.reason:  # what had not started has lost nothing
                    logger.error("worker %d %s while it drained", worker.number, end)
                return
            self._restarts += 1
            deaths = deaths + 1 if self._clock() - began_at < STEADY_S else 1
            wait_s = choose_wait_s(deaths)
            logger.error("worker %d %s (%d in a row); it starts again in %.1f s", worker.number, end, deaths, wait_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._draining.wait(), wait_s)

    def _has_started(self) -> bool:
        return self.serving.done() and not self.serving.exception()

    def _note_serving(self) -> None:
        if all(worker.address for worker in self._workers) and not self.serving.done():
            self.serving.set_result(self._workers[0].address)


class Worker:
    """A number of the fleet, and the process that bears it now. `address` is where that serves, empty while it does not.

    Attributes:
        snapshot: what the process has told of its numbers.
        reason: why it can't start, in its own words.
        status: of the last one that has ended, as subprocess has it.
    """

    def __init__(self, number: int, on_serving: Callable[[], object]) -> None:
        self.number = number
        self.address = self.reason = ""
        self.status: int | None = None
        self._on_serving = on_serving
        self._process: asyncio.subprocess.Process | None = None
        self._asked_to_stop = False
        self.snapshot: Snapshot = {}
        self._answered = asyncio.Event()

    async def run(self, settings: Settings) -> str:
        """Starts a process. Returns how it ended, once it has."""
        self.reason, self.status, self.snapshot = "", None, {}
        ours, theirs = socket.socketpair()
        own = replace(settings, socket=number_socket(settings.socket, self.number))
        command = [sys.executable, "-m", "server.worker", str(self.number), *write_flags(own)]
        with theirs:
            try:  # in a session of its own: Ctrl-C is for us alone
                self._process = await asyncio.create_subprocess_exec(*command, stdin=theirs.fileno(), start_new_session=True)
            except OSError as error:
                ours.close()
                return f"can't be started: {error.strerror}"
        if self._asked_to_stop:
            self.ask_to_stop()
        await self._listen(ours)
        self.status = await self._process.wait()
        if self.reason:
            return f"can't start: {self.reason}"
        if self.status < 0:
            return f"was ended by {signal.Signals(-self.status).name}"
        return f"ended with exit status {self.status}"

    async def ask(self) -> bool:
        """Has the process tell its numbers. Whether it did so in time."""
        answered = self._answered
        self._writer.write(b"\n")
        with suppress(TimeoutError):
            await asyncio.wait_for(answered.wait(), SCRAPE_PATIENCE_S)
        return answered.is_set()

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else -1

    def ask_to_stop(self) -> None:
        self._asked_to_stop = True
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """To the process, if it runs."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(number)

    async def _listen(self, line: socket.socket) -> None:
        """Hears the process out."""
        reader, self._writer = await asyncio.open_unix_connection(sock=line, limit=LONGEST_LINE_BYTES)
        with closing(self._writer), suppress(OSError, ValueError):  # it was killed, in the middle of a word
            async for told in reader:
                self._hear(**json.loads(told))
        self.address = ""

    def _hear(self, *, serving: str = "", failed: str = "", metrics: dict[str, list[Any]] | None = None) -> None:
        self.reason = failed
        if serving:
            self.address = serving
            self._on_serving()
        if metrics is not None:
            self.snapshot = {name: {tuple(labels): value for labels, value in told} for name, told in metrics.items()}
            self._answered.set()
            self._answered = asyncio.Event()
