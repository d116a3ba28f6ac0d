"""Many requests on one stream: answered in order, worked on side by side."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from server.errors import Draining

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

    Once `drain` is done, nothing more is read, what was read is answered, and the stream ends: a caller who goes on sending,
    or who keeps open what it does not use, must not hold up the server.

    Args:
        requests: what comes in.
        answer: answers one of them; never raises.
        window: unanswered requests at most, before the stream is read no further.
        drain: is done when the server wants to stop.

    Raises:
        Draining: the server wants to stop, and the end of the stream was not read.
    """
    unanswered: deque[asyncio.Task[Answered]] = deque()
    reading: asyncio.Task[Asked | None] | None = _read_next(requests)
    cut_short = False

    def stop_reading(_: object) -> None:
        if reading:
            reading.cancel()

    drain.add_done_callback(stop_reading)  # once for each stream: to wait for it, too, would cost every request
    try:
        while reading or unanswered:
            ahead = reading if len(unanswered) < window else None
            await _wait_for_either(unanswered[0] if unanswered else None, ahead)
            if reading and reading.done():
                stopped = drain.done() and reading.cancelled()
                request = None if stopped else reading.result()
                if request is not None:
                    unanswered.append(asyncio.create_task(answer(request)))
                cut_short = stopped or (drain.done() and request is not None)
                reading = None if request is None or cut_short else _read_next(requests)
            while unanswered and unanswered[0].done():
                yield unanswered.popleft().result()
        if cut_short:
            raise Draining("the server is draining and reads no more of this stream; what it has read is answered")
    finally:
        drain.remove_done_callback(stop_reading)
        for task in [*unanswered, *([reading] if reading else [])]:
            task.cancel()


async def _wait_for_either(*tasks: asyncio.Task[Any] | None) -> None:
    """Until one of those that there are has ended."""
    await asyncio.wait([task for task in tasks if task], return_when=asyncio.FIRST_COMPLETED)


async def _next(source: AsyncIterator[Asked]) -> Asked | None:
    return await anext(source, None)


def _read_next(source: AsyncIterator[Asked]) -> asyncio.Task[Asked | None]:
    return asyncio.create_task(_next(source))
