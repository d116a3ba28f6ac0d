"""Small batches run on the event loop itself, and a lone small request is answered at once."""

from __future__ import annotations

import pytest

from server.errors import DeadlinePassed, InferenceFailed, NotReady
from tests.unit.server.vans import Bench, make_images, played, settle, values_of


@played
async def test_a_small_batch_runs_without_a_thread() -> None:
    bench = Bench(inline_batch_size=2)
    assert values_of(await bench.submit(1, 2)) == [1, 2]
    assert not bench.executor.held
    large = bench.submit(3, 4, 5)
    await settle()
    bench.executor.finish()
    assert values_of(await large) == [3, 4, 5]


@played
async def test_a_lone_small_request_may_be_answered_at_once() -> None:
    bench = Bench(inline_batch_size=2)
    answer = bench.batcher.answer_at_once(make_images(7), deadline=1.0)
    assert answer is not None
    assert (values_of(answer), answer.batch_size, answer.queue_ms) == ([7], 1, 0.0)
    with pytest.raises(DeadlinePassed):
        bench.batcher.answer_at_once(make_images(7), deadline=-1.0)
    assert bench.model.batches == [[7]]


@played
async def test_nobody_is_answered_at_once_who_would_overtake_or_hold_up_others() -> None:
    bench = Bench(inline_batch_size=2)
    assert bench.batcher.answer_at_once(make_images(1, 2, 3)) is None  # too large for the event loop
    waiting = bench.submit(1)
    assert bench.batcher.answer_at_once(make_images(2)) is None
    await waiting
    large = bench.submit(1, 2, 3)
    await settle()
    assert bench.batcher.answer_at_once(make_images(2)) is None  # the instance works
    bench.executor.finish()
    await large
    await bench.batcher.close()
    assert bench.batcher.answer_at_once(make_images(2)) is None
    assert Bench(inline_batch_size=2, max_queue_delay_ms=1.0).batcher.answer_at_once(make_images(2)) is None


@played
async def test_a_failure_at_once_counts_like_any_other() -> None:
    bench = Bench(inline_batch_size=1, max_failures=2)
    bench.model.failure = RuntimeError("secret")
    for error in (InferenceFailed, NotReady):
        with pytest.raises(error, match=r"batch [0-9a-f]{16}"):
            bench.batcher.answer_at_once(make_images(1))
    assert bench.health == [False]
    bench.model.failure = None
    assert bench.batcher.answer_at_once(make_images(1)) is not None
    assert bench.health == [False, True]
