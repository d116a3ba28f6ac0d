"""Time for the batcher: the system's, or a test's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Tells the time and sets alarms; tests bring their own."""

    def time(self) -> float:
        """Seconds, from any start."""
        ...

    def call_at(self, when: float, callback: Callable[[], object]) -> object:
        """Calls back on the event loop once `time()` has reached `when`."""
        ...


class SystemClock:
    """time.monotonic(), since uvloop's own time stands still during a round of the loop."""

    time = staticmethod(time.monotonic)

    def call_at(self, when: float, callback: Callable[[], object]) -> object:
        """Sets an alarm on the running loop."""
        return asyncio.get_running_loop().call_later(when - time.monotonic(), callback)
