"""A rush hour in virtual time: the real batcher before a model that takes as long as it is told to."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from server.batcher import Batcher
from server.errors import DeadlinePassed, QueueFull
from server.job import Answer, Images, Outcome, Rows
from server.limits import Limits


class Stage(Executor):
    """Clock, executor and model in one. Time jumps to the next event; a batch takes `cost_s(images)`, give or take a tenth.

    As a pool of threads does, it begins with the next batch at the very moment that a thread has ended with another one.
    """

    def __init__(self, cost_s: Callable[[int], float], seed: int) -> None:
        self.now = 0.0
        self.cost_s = cost_s
        self.computed = 0  # images
        self.random = random.Random(seed)
        self.threads = 1
        self._queue: deque[tuple[Future[Outcome], Callable[[], Outcome]]] = deque()
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._number = count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> object:
        heapq.heappush(self._events, (when, next(self._number), callback))
        return None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Outcome] = Future()
        self._queue.append((future, lambda: fn(*args)))
        self._begin()
        return future

    def _begin(self) -> None:
        while self.threads and self._queue:
            future, work = self._queue.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            self.threads -= 1
            outcome = work()
            images = len(outcome.batch.images)
            self.computed += images
            ends_at = self.now + self.cost_s(images) * self.random.uniform(0.9, 1.1)
            self.call_at(ends_at, partial(self._end, future, outcome))

    def _end(self, future: Future[Outcome], outcome: Outcome) -> None:
        self.threads += 1
        self._begin()
        future.set_result(outcome)

    async def play(self) -> None:
        """Until nothing is left to happen."""
        while self._events:
            when, _, callback = heapq.heappop(self._events)
            self.now = max(self.now, when)
            callback()
            for _ in range(4):
                await asyncio.sleep(0)


def answer_nothing(images: Images, explain: bool) -> Rows:
    return (np.zeros((len(images), 1), np.float32),)


@dataclass
class Crowd:
    """Callers who come at random, `per_s` of them, each with so many images; and what has become of them."""

    per_s: float
    images: int = 1
    bulk: bool = False
    patience_s: float | None = None
    refused: int = 0
    expired: int = 0
    latencies_s: list[float] = field(default_factory=list)

    @property
    def p99_s(self) -> float:
        return float(np.percentile(self.latencies_s, 99))

    @property
    def p50_s(self) -> float:
        return float(np.percentile(self.latencies_s, 50))


async def rush(stage: Stage, limits: Limits, duration_s: float, *crowds: Crowd) -> float:
    """Lets the crowds come for so long. Returns when the last of them had its answer."""
    batcher = Batcher(answer_nothing, limits, stage, clock=stage)
    stage.threads = limits.instances

    def arrive(crowd: Crowd) -> None:
        ask(batcher, stage, crowd)
        if stage.now < duration_s:
            come_again(crowd)

    def come_again(crowd: Crowd) -> None:
        stage.call_at(stage.now + stage.random.expovariate(crowd.per_s), lambda: arrive(crowd))

    for crowd in crowds:
        come_again(crowd)
    await stage.play()
    return stage.now


def ask(batcher: Batcher, stage: Stage, crowd: Crowd) -> None:
    came_at = stage.now
    deadline = None if crowd.patience_s is None else came_at + crowd.patience_s
    images = np.zeros((crowd.images, 2, 2), np.uint8)

    def settle(answer: asyncio.Future[Answer]) -> None:
        if isinstance(answer.exception(), DeadlinePassed) or (deadline is not None and stage.now > deadline):
            crowd.expired += 1
        else:
            crowd.latencies_s.append(stage.now - came_at)

    try:
        batcher.submit(images, deadline=deadline, bulk=crowd.bulk).add_done_callback(settle)
    except QueueFull:
        crowd.refused += 1
