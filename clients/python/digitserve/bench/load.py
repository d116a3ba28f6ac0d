"""When calls are made: a closed loop keeps so many in flight, an open loop follows a timetable.

The difference is what a slow server does to the figures. In a closed loop a slow answer delays the next question, so a
pause of one second spoils a handful of latencies. In an open loop the questions of that second are asked all the same,
and each latency counts from the moment that the timetable named: no pause, the server's or the client's, can hide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice

import numpy as np

from digitserve.bench.answers import GONE
from digitserve.bench.callers import Caller
from digitserve.bench.recording import Recording

Clock = Callable[[], float]

MAX_IN_FLIGHT = 10_000  # of one process in an open loop; each costs gRPC and asyncio some 20 KB
GRACE_S = 1.0
PAUSE_S = 0.05  # a server that is not there refuses many thousand calls a second, which would be all that a report shows


def share_indices(share: int, shares: int, size: int) -> Iterator[int]:
    """Which requests this share sends, without end: all shares together go through all of them, again and again."""
    return (index % size for index in count(share, shares))


def poisson_arrivals(rate: float, seconds: float | None, calls: int | None, seed: int | list[int]) -> Iterator[float]:
    """Seconds from the start of each arrival, `rate` per second on average, until `seconds` or `calls` are used up."""
    random = np.random.default_rng(seed)
    now = 0.0
    for _ in count() if calls is None else range(calls):
        now += float(random.exponential(1 / rate))
        if seconds is not None and now >= seconds:
            return
        yield now


async def run_closed(
    caller: Caller, indices: Iterable[int], concurrency: int, seconds: float | None, calls: int | None, clock: Clock
) -> Recording:
    """Keeps `concurrency` calls in flight until `seconds` have passed or `calls` were made."""
    recording = Recording()
    todo = iter(indices) if calls is None else islice(indices, calls)
    stop_s = float("inf") if seconds is None else clock() + seconds

    async def lane() -> None:
        sent_s = clock()
        for index in todo:
            answer = await caller.call(index)
            done_s = clock()
            recording.add(sent_s, sent_s, done_s, answer)
            if answer.code == GONE:
                await asyncio.sleep(PAUSE_S)
                done_s = clock()
            if done_s >= stop_s:
                return
            sent_s = done_s

    async with asyncio.TaskGroup() as lanes:
        for _ in range(concurrency):
            lanes.create_task(lane())
    return recording


async def run_open(
    caller: Caller, indices: Iterable[int], arrivals: Iterable[float], seconds: float | None, clock: Clock
) -> Recording:
    """Starts a call at every arrival, however many are still in flight, and waits for the last answer.

    What this process can't carry is counted as NOT_SENT: a call that is due while `MAX_IN_FLIGHT` are under way, and all that
    are left when it is `GRACE_S` late with a timetable of so many `seconds`.
    """
    recording = Recording()
    timetable = iter(arrivals)
    start_s = clock()
    stop_s = float("inf") if seconds is None else start_s + seconds + GRACE_S
    in_flight = late = 0

    async def make_call(index: int, due_s: float) -> None:
        nonlocal in_flight
        sent_s = clock()
        answer = await caller.call(index)
        in_flight -= 1
        recording.add(due_s, sent_s, clock(), answer)

    async with asyncio.TaskGroup() as calls:
        for index, arrival_s in zip(indices, timetable, strict=False):
            due_s = start_s + arrival_s
            await asyncio.sleep(max(0.0, due_s - clock()))  # 0, when this loop is behind, lets the due calls go out
            if clock() > stop_s:
                late = 1
                break
            if in_flight >= MAX_IN_FLIGHT:
                recording.skip(1, f"{MAX_IN_FLIGHT:,} calls of this process were under way already")
                continue
            in_flight += 1
            calls.create_task(make_call(index, due_s))
    recording.skip(late + sum(1 for _ in timetable), "the duration was over before this process came to it: lower the rate")
    return recording
