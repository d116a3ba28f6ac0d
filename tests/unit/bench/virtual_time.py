"""An event loop whose clock jumps to the next timer: minutes of sleeping take no time, and every figure is exact."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from digitserve.bench.answers import Answer

Result = TypeVar("Result")


class VirtualSelector(selectors.SelectSelector):
    """Never waits: a wait becomes a step of the clock."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout:
            self.now_s += timeout
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s


def run_virtually(main: Coroutine[Any, Any, Result]) -> Result:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


class OneAtATime:
    """A server that serves one call at a time, each in `service_s`, and goes quiet once, at `pause_at_s` for `pause_s`."""

    size = 10

    def __init__(self, service_s: float, *, pause_at_s: float = float("inf"), pause_s: float = 0.0, code: str = "OK") -> None:
        self.service_s = service_s
        self.code = code
        self.pause_at_s = pause_at_s
        self.pause_s = pause_s
        self.seen: list[int] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._counter = asyncio.Lock()

    async def call(self, index: int) -> Answer:
        self.seen.append(index)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        async with self._counter:
            if asyncio.get_running_loop().time() >= self.pause_at_s:
                self.pause_at_s = float("inf")
                await asyncio.sleep(self.pause_s)
            await asyncio.sleep(self.service_s)
        self.in_flight -= 1
        return Answer(self.code, 1, None, 0.1, 0.2, 1)

    async def close(self) -> None:
        return None
