"""Many requests on one stream: answered in order, worked on side by side."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
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
) -> AsyncGenerator[Answered, None]:
    """Reads ahead, so that the batcher sees all requests of the window at once.

    Once `drain` is done, nothing more is read, what was read is answered, and the stream ends: a caller who goes on sending,
    or who keeps open what it does not use, must not hold up the server.

    Args:
        requests: what comes in. What it raises is raised once all that came before is answered.
        answer: answers one of them; never raises.
        window: unanswered requests at most, before the stream is read no further.
        drain: is done when the server wants to stop.

    Raises:
        Draining: the server wants to stop, and the end of the stream was not read.
    """
    unanswered: deque[asyncio.Task[Answered]] = deque()
    news, room = asyncio.Event(), asyncio.Event()
    tasks = (asyncio.create_task(answer(request)) async for request in requests)
    reading = asyncio.create_task(_read_ahead(tasks, unanswered, window, news, room))
    reading.add_done_callback(lambda _: news.set())

    def stop_reading(_: object) -> None:
        reading.cancel()

    drain.add_done_callback(stop_reading)
    try:
        while unanswered or not reading.done():
            if not unanswered:
                news.clear()
                await news.wait()
                continue
            answered = await unanswered[0]
            unanswered.popleft()
            room.set()
            yield answered
        if drain.done() and reading.cancelled():
            raise Draining("the server is draining and reads no more of this stream; what it has read is answered")
        reading.result()
    finally:
        drain.remove_done_callback(stop_reading)
        for task in (reading, *unanswered):
            task.cancel()  # of one that has failed already, this keeps asyncio from logging what nobody asks for any more


async def _read_ahead(
    tasks: AsyncIterator[asyncio.Task[Answered]],
    unanswered: deque[asyncio.Task[Answered]],
    window: int,
    news: asyncio.Event,
    room: asyncio.Event,
) -> None:
    """Gives news of each request, and waits for room while so many are unanswered."""
    async for task in tasks:
        unanswered.append(task)
        news.set()
        if len(unanswered) >= window:
            room.clear()
            await room.wait()
