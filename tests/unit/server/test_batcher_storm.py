"""Small trays, large requests and many who leave: thousands of short seeded storms, and after each step the tray is counted.

Hypothesis looks for the simplest traffic that breaks a law (test_batcher_traffic.py); what takes eight steps in a certain
order, such as a part that stands by, is cleared out and taken back, chance finds sooner.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import pytest

from server.errors import RecognizerError
from server.job import Answer
from tests.unit.server.vans import Bench, settle, values_of

STORMS = 2000


def test_no_storm_upsets_the_count_or_loses_a_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # batches are made to fail
    for seed in range(STORMS):
        asyncio.run(Storm(seed).play())


class Storm:
    """One batcher, and what its callers do by chance."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.accepted: list[tuple[list[int], asyncio.Future[Answer]]] = []

    async def play(self) -> None:
        raised: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
        chance, max_batch_size = self.chance, self.chance.randint(1, 4)
        self.max_queue_size = chance.choice([4, 8, 12, 30])
        self.bench = Bench(
            max_batch_size=max_batch_size,
            instances=chance.randint(1, 2),
            inline_batch_size=min(max_batch_size, chance.choice([0, 0, 1, 2])),
            min_split_size=chance.choice([1, 2]),
            max_queue_size=self.max_queue_size,
            max_queue_wait_ms=chance.choice([50.0, 1e6]),
            times_ms={1: 10.0, 2: 15.0},
        )
        for _ in range(chance.randint(5, 60)):
            chance.choices([self.submit, self.cancel, self.finish, self.wait], [45, 20, 25, 5])[0]()
            if chance.random() < 0.6:
                await settle()
            self.count()
        await self.end()
        assert not raised, self.seed

    def submit(self) -> None:
        size = self.chance.randint(1, self.max_queue_size if self.chance.random() < 0.3 else 3)
        values = [(len(self.accepted) * 7 + place) % 256 for place in range(size)]
        deadline = self.bench.clock.now + self.chance.choice([0.5, 3.0]) if self.chance.random() < 0.3 else None
        try:
            answer = self.bench.submit(*values, deadline=deadline, bulk=self.chance.random() < 0.6)
        except RecognizerError:
            return
        self.accepted.append((values, answer))

    def cancel(self) -> None:
        if self.accepted:
            self.chance.choice(self.accepted)[1].cancel()

    def finish(self) -> None:
        if held := self.bench.executor.held:
            self.bench.model.failure = RuntimeError() if self.chance.random() < 0.1 else None
            self.bench.executor.finish(self.chance.randrange(len(held)))
            self.bench.model.failure = None

    def wait(self) -> None:
        self.bench.clock.advance(2 * self.chance.random())

    def count(self) -> None:
        tray = self.bench.batcher._tray
        for line in (tray._interactive, tray._bulk):
            assert line.images == sum(job.size - job.taken for job in line.jobs), self.seed
        assert tray.waiting == tray._interactive.images + tray._bulk.images, self.seed

    async def end(self) -> None:
        """All instances land, the batcher closes, and everybody has heard."""
        batcher = self.bench.batcher
        closing = asyncio.ensure_future(batcher.close())
        await settle()
        while self.bench.executor.held:
            self.bench.executor.finish()
            await settle()
        await asyncio.wait_for(closing, 5)
        assert (batcher.running, batcher.waiting, batcher._admission._dues) == (0, 0, []), self.seed
        for values, answer in self.accepted:
            assert answer.done(), self.seed
            if not answer.cancelled():
                error = answer.exception()
                assert error is None or isinstance(error, RecognizerError)
                assert error is not None or values_of(answer.result()) == values, self.seed
