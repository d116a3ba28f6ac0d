"""Who is let in, and who is still to be answered: what the drain closes, and then waits for."""

from __future__ import annotations

import asyncio
import time

from server.errors import Draining


class Accepted:
    """Calls that were accepted and are not yet answered. Each is answered `with` this one.

    Attributes:
        running: how many there are now.
        draining: is done once no more are accepted.
        refused: how many came after that.
    """

    __slots__ = ("draining", "refused", "running")

    def __init__(self) -> None:
        self.running = self.refused = 0
        self.draining: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def refuse(self) -> None:
        """From now on new calls end UNAVAILABLE, and so does every stream once what was read of it is answered."""
        if not self.draining.done():
            self.draining.set_result(None)

    def __enter__(self) -> None:
        """Raises Draining."""
        if self.draining.done():
            self.refused += 1
            raise Draining("the server is draining and accepts no more requests")
        self.running += 1

    def __exit__(self, *_: object) -> None:
        self.running -= 1

    async def wait_until_quiet(self) -> None:
        """Until a tenth of a second brings no more calls to refuse, or for two seconds."""
        for _ in range(20):
            before = self.refused
            await asyncio.sleep(0.1)
            if self.refused == before:
                return

    async def wait_until_answered(self, grace_s: float) -> float:
        """Until none is running, or the grace is over. Returns what is left of it, in seconds."""
        until = time.monotonic() + grace_s
        while self.running and time.monotonic() < until:
            await asyncio.sleep(0.01)
        return max(0.0, until - time.monotonic())
