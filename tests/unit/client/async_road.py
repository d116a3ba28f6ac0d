"""A road for the vans of one event loop, in virtual time, that remembers each trip."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from digitserve.coalescing import AsyncLane
from digitserve.tray import Letter

SERVICE_S = 1.0


@dataclass
class Trip:
    """One van's way, as the road saw it."""

    names: list[str]
    timeout_s: float
    left_at: float
    landed_at: float = float("inf")
    was_cancelled: bool = False


@dataclass
class Road:
    """A fake transport: each van takes `service_s`, and the row of a letter is its own name."""

    service_s: Callable[[int], float] = lambda trip: SERVICE_S
    failures: dict[int, Exception] = field(default_factory=dict)
    trips: list[Trip] = field(default_factory=list)
    most_at_once: int = 0

    async def send(self, van: list[Letter[str]], timeout_s: float) -> list[str]:
        loop = asyncio.get_running_loop()
        number = len(self.trips)
        trip = Trip([letter.pixels.decode() for letter in van], timeout_s, loop.time())
        self.trips.append(trip)
        self.most_at_once = max(self.most_at_once, sum(each.landed_at == float("inf") for each in self.trips))
        try:
            await asyncio.sleep(self.service_s(number))
        except asyncio.CancelledError:
            trip.was_cancelled = True
            raise
        finally:
            trip.landed_at = loop.time()
        if number in self.failures:
            raise self.failures[number]
        return trip.names

    @property
    def loads(self) -> list[list[str]]:
        return [trip.names for trip in self.trips]


def ask(lane: AsyncLane[str], name: str, timeout_s: float = 60.0) -> asyncio.Task[str]:
    return asyncio.ensure_future(lane.ask(name.encode(), 0, timeout_s))


def now() -> float:
    return asyncio.get_running_loop().time()
