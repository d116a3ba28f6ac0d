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

from digitserve.bench.callers import Caller
from digitserve.bench.recording import Recording

Clock = Callable[[], float]


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
            if done_s >= stop_s:
                return
            sent_s = done_s

    async with asyncio.TaskGroup() as lanes:
        for _ in range(concurrency):
            lanes.create_task(lane())
    return recording


async def run_open(caller: Caller, indices: Iterable[int], arrivals: Iterable[float], clock: Clock) -> Recording:
    """Starts a call at every arrival, however many are still in flight, and waits for the last answer."""
    recording = Recording()
    start_s = clock()

    async def make_call(index: int, due_s: float) -> None:
        sent_s = clock()
        answer = await caller.call(index)
        recording.add(due_s, sent_s, clock(), answer)

    async with asyncio.TaskGroup() as calls:
        for index, arrival_s in zip(indices, arrivals, strict=False):
            due_s = start_s + arrival_s
            await asyncio.sleep(max(0.0, due_s - clock()))  # 0, when this loop is behind, lets the due calls go out
            calls.create_task(make_call(index, due_s))
    return recording
