"""Many files through one client: several calls in flight, outcomes in the order of the files."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

from digitserve.aio import AsyncClient
from digitserve.errors import DigitserveError
from digitserve.files import ImageFile
from digitserve.requests import Question
from digitserve.results import Recognition

CALLS_IN_FLIGHT = 16  # more gains nothing on one connection, and keeps that many files in memory

Outcome = Recognition | DigitserveError | OSError


async def read_files(
    client: AsyncClient, files: Sequence[ImageFile], question: Question
) -> AsyncIterator[tuple[ImageFile, Outcome]]:
    """Yields each file with its answer, or with the error that it ended in."""
    remaining = iter(files)
    window: deque[tuple[ImageFile, asyncio.Task[Outcome]]] = deque()
    try:
        while True:
            while len(window) < CALLS_IN_FLIGHT and (file := next(remaining, None)):
                window.append((file, asyncio.create_task(_read(client, file, question))))
            if not window:
                return
            file, task = window[0]
            outcome = await task
            window.popleft()
            yield file, outcome
    finally:
        tasks = [task for _, task in window]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read(client: AsyncClient, file: ImageFile, question: Question) -> Outcome:
    try:
        encoded = await asyncio.to_thread(file.read)
        return await client.recognize(
            encoded,
            model=question.model,
            layout=question.layout,
            ink=question.ink,
            top_k=question.top_k,
            priority=question.priority,
        )
    except (DigitserveError, OSError) as error:
        return error
