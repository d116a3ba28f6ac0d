"""One process full of calls: load the images, connect, warm up, wait for the others, run."""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError

from digitserve.bench.callers import Caller, open_caller
from digitserve.bench.connection import ask_class_names
from digitserve.bench.images import load_images
from digitserve.bench.load import poisson_arrivals, run_closed, run_open, share_indices
from digitserve.bench.messages import check_size
from digitserve.bench.recording import Recording
from digitserve.bench.settings import BenchError, Settings
from digitserve.bench.workload import prepare_workload
from digitserve.errors import MessageTooLarge, error_from_status

HOPELESS = {"INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "UNAUTHENTICATED", "PERMISSION_DENIED"}
GATHER_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Share:
    """Share `number` of `of`: the same settings as all, with its part of the calls."""

    settings: Settings
    number: int
    of: int

    def part(self, total: int) -> int:
        return total // self.of + (self.number < total % self.of)


def run_share(share: Share, wait_for_others: Callable[[], object]) -> Recording:
    """Makes this share's calls and returns what they came to. Raises BenchError if it can't start."""
    with asyncio.Runner(loop_factory=choose_loop(share.settings)) as runner:
        return runner.run(_run(share, wait_for_others))


def choose_loop(settings: Settings) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The event loop for the job: uvloop where it is installed; for a timetable, one that can sleep for microseconds.

    asyncio's default selector and uvloop round every wait up to whole milliseconds. `select` does not.
    """
    if settings.rate is not None:
        return lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _run(share: Share, wait_for_others: Callable[[], object]) -> Recording:
    settings = share.settings
    images = load_images(settings.images, seed=settings.seed)
    check_size(settings, images)
    workload = prepare_workload(settings, images, await ask_class_names(settings))
    caller = await open_caller(settings, workload)
    try:
        await _try_one(caller)
        if settings.warmup_s:
            warmup = replace(settings, duration_s=settings.warmup_s, count=None)
            await _make_calls(caller, replace(share, settings=warmup))
        wait_for_others()
        return await _make_calls(caller, share)
    finally:
        await caller.close()


async def _try_one(caller: Caller) -> None:
    """A request that can never succeed is one clear line now, not a hundred thousand errors later."""
    answer = await caller.call(0)
    if answer.code in HOPELESS or isinstance(error_from_status(answer.code, answer.message), MessageTooLarge):
        raise BenchError(f"the first call failed with {answer.code}: {answer.message}")


async def _make_calls(caller: Caller, share: Share) -> Recording:
    settings = share.settings
    indices = share_indices(share.number, share.of, caller.size)
    seconds = settings.duration_s if settings.count is None else None
    calls = None if settings.count is None else share.part(settings.count)
    if settings.rate is None:
        return await run_closed(caller, indices, share.part(settings.concurrency), seconds, calls, time.perf_counter)
    # Poisson arrivals split over processes are Poisson arrivals again, of a lower rate.
    arrivals = poisson_arrivals(settings.rate / share.of, seconds, calls, [settings.seed, share.number])
    return await run_open(caller, indices, arrivals, seconds, time.perf_counter)


def run_process(share: Share, barrier: Barrier, pipe: Connection) -> None:
    """The body of a spawned process: sends a Recording home, or the line that says why there is none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it ends its children
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        pipe.send(run_share(share, lambda: barrier.wait(GATHER_TIMEOUT_S)))
    except BrokenBarrierError:
        sys.exit(1)  # another share failed, and has said so
    except BenchError as error:
        barrier.abort()
        pipe.send(str(error))


def _end_with_parent() -> None:
    """A parent that was killed can't end its children, and load that nobody asked for any more must not go on."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
