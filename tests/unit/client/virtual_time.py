"""An event loop whose time passes only when everybody waits: tests of seconds run in milliseconds, the same each time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of sleeping until the next alarm, puts the clock forward to it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing will ever wake them")
        self.now += timeout
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now

    def count_alarms(self) -> int:
        """Alarms that are set and not cancelled."""
        return sum(not alarm.cancelled() for alarm in self._scheduled)  # type: ignore[attr-defined]


def run(scenario: Coroutine[Any, Any, Result]) -> Result:
    """Runs a scenario in virtual time, from 0 on. A deadlock is an error."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(scenario)
