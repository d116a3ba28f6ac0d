"""What the batcher's tests drive it with: a clock and an executor that move only when told to."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np

from server.batcher import Batcher
from server.job import Answer, Images, Rows
from server.limits import Limits


class ManualClock:
    """Time stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0
        self._alarms: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> object:
        self._alarms.append((when, callback))
        return None

    def advance(self, seconds: float) -> None:
        """Moves on and rings what is due."""
        self.now += seconds
        due = [alarm for alarm in self._alarms if alarm[0] <= self.now]
        self._alarms = [alarm for alarm in self._alarms if alarm[0] > self.now]
        for _, callback in due:
            callback()


class ManualExecutor(Executor):
    """Holds back what is submitted until it is finished by hand."""

    def __init__(self) -> None:
        self.held: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.held.append((future, lambda: fn(*args, **kwargs)))
        future.add_done_callback(self._forget)
        return future

    def _forget(self, gone: Future[Any]) -> None:
        """One that was cancelled before it began is never begun."""
        self.held = [(future, work) for future, work in self.held if future is not gone]

    def finish(self, index: int = 0) -> None:
        """Runs one of those that wait."""
        future, work = self.held.pop(index)
        future.set_result(work())


class Model:
    """Answers each image with its own first pixel, and remembers the batches. Fails when told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.failure: Exception | None = None

    def run(self, images: Images, explain: bool = False) -> Rows:
        values = images[:, 0, 0]
        self.batches.append(values.tolist())
        if self.failure is not None:
            raise self.failure
        rows = (values[:, None].astype(np.float32), np.repeat(values, 4).reshape(-1, 2, 2).astype(np.float32))
        return rows if explain else rows[:1]


def make_images(*values: int) -> Images:
    """One 2 x 2 image for each value, filled with it."""
    return np.array(values, np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)


async def settle() -> None:
    """Lets the event loop run until nothing is ready any more."""
    for _ in range(10):
        await asyncio.sleep(0)


class Bench:
    """A batcher with everything around it in hand."""

    def __init__(self, **limits: Any) -> None:
        self.model = Model()
        self.clock = ManualClock()
        self.executor = ManualExecutor()
        self.health: list[bool] = []
        self.batcher = Batcher(
            self.model.run,
            Limits(**limits),
            self.executor,
            clock=self.clock,
            on_health=self.health.append,
        )

    def submit(self, *values: int, deadline: float | None = None, bulk: bool = False) -> asyncio.Future[Answer]:
        return self.batcher.submit(make_images(*values), deadline=deadline, bulk=bulk)


def values_of(answer: Answer) -> list[int]:
    return [int(value) for value in answer.rows[0][:, 0]]


def played(scenario: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Makes an async function a test: on a loop of its own, and failed if it does not end or a callback raises."""

    @functools.wraps(scenario)
    def test() -> None:
        raised: list[dict[str, Any]] = []

        async def bounded() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
            async with asyncio.timeout(10):
                await scenario()

        asyncio.run(bounded())
        assert not raised

    return test
