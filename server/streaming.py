"""Many requests on one stream: answered in order, worked on side by side."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from server.errors import Draining

IDLE_S = 0.5

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


async def answer_in_order(
    requests: AsyncIterator[Asked],
    answer: Callable[[Asked], Coroutine[Any, Any, Answered]],
    *,
    window: int,
    drain: asyncio.Future[None],
) -> AsyncIterator[Answered]:
    """Reads ahead, so that the batcher sees all requests of the window at once.

    Once `drain` is done, a stream that has nothing unanswered and brings no request for IDLE_S seconds ends: what its caller
    keeps open and does not use must not hold up the server.

    Args:
        requests: what comes in.
        answer: answers one of them; never raises.
        window: unanswered requests at most, before the stream is read no further.
        drain: is done when the server wants to stop.

    Raises:
        Draining: the stream was idle and the server wants to stop.
    """
    unanswered: deque[asyncio.Task[Answered]] = deque()
    reading: asyncio.Task[Asked | None] | None = _read_next(requests)
    try:
        while reading or unanswered:
            waited: list[asyncio.Future[Any]] = [unanswered[0]] if unanswered else []
            if reading and len(unanswered) < window:
                waited.append(reading)
            if not await _wait(waited, drain, idle=not unanswered):
                raise Draining("the server is draining and this stream was idle")
            if reading and reading.done():
                request = reading.result()
                reading = None if request is None else _read_next(requests)
                if request is not None:
                    unanswered.append(asyncio.create_task(answer(request)))
            while unanswered and unanswered[0].done():
                yield unanswered.popleft().result()
    finally:
        for task in [*unanswered, *([reading] if reading else [])]:
            task.cancel()


async def _wait(waited: list[asyncio.Future[Any]], drain: asyncio.Future[None], *, idle: bool) -> bool:
    """Waits for one of them; False if that took too long for an idle stream of a server that wants to stop."""
    if not idle:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        return True
    if not drain.done():
        done, _ = await asyncio.wait([*waited, drain], return_when=asyncio.FIRST_COMPLETED)
        if done - {drain}:
            return True
    done, _ = await asyncio.wait(waited, timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


async def _next(source: AsyncIterator[Asked]) -> Asked | None:
    return await anext(source, None)


def _read_next(source: AsyncIterator[Asked]) -> asyncio.Task[Asked | None]:
    return asyncio.create_task(_next(source))
