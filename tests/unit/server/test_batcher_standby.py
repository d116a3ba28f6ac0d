"""A full batch stands by while all instances work: it begins at once, and takes nothing from those who go before it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import numpy as np
import pytest

from server.batcher import Batcher
from server.errors import DeadlinePassed, InferenceFailed, WaitTooLong
from server.job import Answer, Images, Rows
from server.limits import Limits
from tests.unit.server.vans import Bench, make_images, played, settle, values_of

FULL = (1, 2)  # with max_batch_size=2


async def busy(**limits: int) -> Bench:
    """One instance, which works on a 0."""
    bench = Bench(max_batch_size=2, **limits)
    bench.submit(0)
    await settle()
    return bench


async def expect_an_answer(bench: Bench) -> None:
    """It lives on, and has lost no instance."""
    after = bench.submit(3)
    await settle()
    bench.executor.finish()
    assert values_of(await after) == [3]


@played
async def test_a_full_batch_stands_by_and_no_second_one() -> None:
    bench = await busy()
    answers = [bench.submit(*FULL), bench.submit(3, 4)]
    await settle()
    assert len(bench.executor.held) == 2
    assert bench.batcher.waiting == 4, "who stands by waits, too"
    assert bench.batcher.running == 1
    for _ in range(3):
        bench.executor.finish()
        await settle()
    assert [values_of(await one) for one in answers] == [[1, 2], [3, 4]]
    assert bench.model.batches == [[0], [1, 2], [3, 4]]


@played
async def test_what_company_could_still_join_waits_in_the_tray() -> None:
    """Law 6: the next batch gathers while the instances work."""
    bench = await busy()
    first = bench.submit(1)
    await settle()
    assert len(bench.executor.held) == 1
    second = bench.submit(2)
    await settle()
    assert len(bench.executor.held) == 2
    bench.executor.finish()
    bench.executor.finish()
    assert [values_of(await one) for one in (first, second)] == [[1], [2]]
    assert bench.model.batches == [[0], [1, 2]]


@played
async def test_an_instance_goes_on_before_the_event_loop_has_heard() -> None:
    """What it is for: with real threads, while the loop is held up."""
    begun, going_on = threading.Semaphore(0), threading.Semaphore(0)

    def run(images: Images, explain: bool) -> Rows:
        begun.release()
        assert going_on.acquire(timeout=5)
        return (np.zeros((len(images), 1), np.float32),)

    with ThreadPoolExecutor(1) as threads:
        batcher = Batcher(run, Limits(max_batch_size=2), threads)
        answers = [batcher.submit(make_images(*FULL)) for _ in range(2)]
        await settle()
        assert begun.acquire(timeout=5)
        going_on.release()
        assert begun.acquire(timeout=5), "the second one has not begun, and the loop has had no turn since"
        going_on.release()
        assert [len((await one).rows[0]) for one in answers] == [2, 2]


@played
async def test_who_goes_while_it_stands_by_is_not_computed() -> None:
    """Law 3."""
    bench = await busy()
    gone, stays = bench.submit(1), bench.submit(2)
    await settle()
    gone.cancel()
    bench.executor.finish()
    bench.executor.finish()
    assert values_of(await stays) == [2]
    assert bench.model.batches == [[0], [2]]


@played
async def test_who_becomes_late_while_it_stands_by_is_told_and_not_computed() -> None:
    """Law 3."""
    bench = await busy()
    late, on_time = bench.submit(1, deadline=1.0), bench.submit(2, deadline=9.0)
    await settle()
    bench.clock.advance(2.0)
    bench.executor.finish()
    bench.executor.finish()
    with pytest.raises(DeadlinePassed, match="waited in the queue"):
        await late
    assert values_of(await on_time) == [2]
    assert bench.model.batches == [[0], [2]]


@played
async def test_when_all_have_gone_that_stood_by_nothing_is_computed() -> None:
    bench = await busy()
    gone = bench.submit(*FULL)
    await settle()
    gone.cancel()
    bench.executor.finish()
    bench.executor.finish()
    await settle()
    assert bench.model.batches == [[0]]
    await expect_an_answer(bench)


@played
async def test_who_is_late_at_the_end_only_has_the_answer() -> None:
    """It was computed for him, and somebody else in his batch had gone."""
    bench = await busy()
    gone, slow = bench.submit(1), bench.submit(2, deadline=1.0)
    await settle()
    gone.cancel()
    run = bench.model.run

    def run_slowly(images: Images, explain: bool) -> Rows:
        bench.clock.advance(2.0)
        return run(images, explain)

    bench.executor.finish()
    bench.batcher._run = run_slowly
    bench.executor.finish()
    assert values_of(await slow) == [2]


@played
async def test_interactive_goes_before_bulk_that_stands_by() -> None:
    """Law 11."""
    bench = await busy()
    bulk = bench.submit(*FULL, bulk=True)
    await settle()
    assert len(bench.executor.held) == 2
    hurried = bench.submit(7)
    await settle()
    assert len(bench.executor.held) == 1
    for _ in range(3):
        bench.executor.finish()
        await settle()
    assert values_of(await hurried) == [7]
    assert values_of(await bulk) == [1, 2]
    assert bench.model.batches == [[0], [7], [1, 2]]


@played
async def test_bulk_that_has_begun_is_not_taken_back() -> None:
    bench = await busy()
    bulk = bench.submit(*FULL, bulk=True)
    await settle()
    work, _ = bench.executor.held[1]
    assert work.set_running_or_notify_cancel()
    hurried = bench.submit(7)
    bench.executor.finish()
    await settle()
    for _ in range(2):
        bench.executor.finish()
        await settle()
    assert bench.model.batches == [[0], [1, 2], [7]]
    assert [values_of(await one) for one in (bulk, hurried)] == [[1, 2], [7]]


@played
async def test_a_part_that_is_taken_back_loses_nothing_and_keeps_its_place() -> None:
    """Law 1, for a request that leaves in pieces, the first of which runs."""
    bench = Bench(max_batch_size=2)
    large, other = bench.submit(1, 2, 3, 4, 5, bulk=True), bench.submit(6, bulk=True)
    await settle()
    assert len(bench.executor.held) == 2
    hurried = bench.submit(7)
    await settle()
    while bench.executor.held:
        bench.executor.finish()
        await settle()
    assert [values_of(await one) for one in (large, other, hurried)] == [[1, 2, 3, 4, 5], [6], [7]]
    assert bench.model.batches == [[1, 2], [7], [3, 4], [5, 6]]


@played
async def test_bulk_that_is_taken_back_again_and_again_has_its_turn() -> None:
    """Law 11: one batch in four."""
    bench = await busy()
    bulk = bench.submit(*FULL, bulk=True)
    hurried: list[asyncio.Future[Answer]] = []
    for value in range(10, 20):
        await settle()
        hurried.append(bench.submit(value))
        await settle()
        bench.executor.finish()
    await settle()
    while bench.executor.held:
        bench.executor.finish()
        await settle()
    assert values_of(await bulk) == [1, 2]
    assert bench.model.batches.index([1, 2]) <= 4
    assert all(one.done() for one in hurried)


@played
async def test_a_batch_that_fails_while_another_one_stands_by_fails_alone() -> None:
    """Law 4."""
    bench = await busy()
    failing = bench.submit(*FULL)
    await settle()
    after = bench.submit(3, 4)
    bench.executor.finish()
    await settle()
    bench.model.failure = RuntimeError()
    bench.executor.finish()
    bench.model.failure = None
    await settle()
    bench.executor.finish()
    with pytest.raises(InferenceFailed):
        await failing
    assert values_of(await after) == [3, 4]


@played
async def test_a_batch_that_cannot_even_begin_fails_and_the_batcher_lives() -> None:
    """Law 4: an instance that never landed would be lost for good."""
    bench = await busy()
    gone, stays = bench.submit(1), bench.submit(2)
    await settle()
    gone.cancel()
    bench.executor.finish()
    with patch("server.job.stack", side_effect=MemoryError):
        bench.executor.finish()
    with pytest.raises(InferenceFailed):
        await stays
    assert bench.batcher.running == 0
    await expect_an_answer(bench)


@played
async def test_closing_waits_for_what_stands_by() -> None:
    """Law 8."""
    bench = await busy()
    answer = bench.submit(*FULL)
    await settle()
    closing = asyncio.ensure_future(bench.batcher.close())
    bench.executor.finish()
    await settle()
    assert not closing.done()
    bench.executor.finish()
    await closing
    assert values_of(await answer) == [1, 2]


@played
async def test_what_stands_by_counts_as_waiting_when_a_wait_is_predicted() -> None:
    """Law 10."""
    bench = Bench(max_batch_size=2, times_ms={1: 10.0, 2: 20.0})
    bench.submit(0)
    await settle()
    before_s = bench.batcher.predict_wait_s()
    bench.submit(*FULL)
    await settle()
    assert bench.batcher.predict_wait_s() == pytest.approx(before_s + 0.020)
    bench.executor.finish()
    await settle()
    assert bench.batcher.predict_wait_s() == pytest.approx(0.020)
    bench.executor.finish()
    await settle()
    assert bench.batcher.predict_wait_s() == pytest.approx(0.0)


@played
async def test_a_batch_that_nobody_wanted_any_more_teaches_nothing_of_the_pace() -> None:
    """It took no time, which would make a full batch look quick."""
    bench = Bench(max_batch_size=2, times_ms={1: 10.0, 2: 12.0})
    run = bench.model.run

    def run_in_time(images: Images, explain: bool) -> Rows:
        bench.clock.advance(0.008 + 0.002 * len(images))
        return run(images, explain)

    bench.batcher._run = run_in_time
    bench.submit(0)
    for _ in range(10):
        await settle()
        gone = bench.submit(*FULL)
        await settle()
        gone.cancel()
        bench.executor.finish()
        bench.executor.finish()
        await settle()
        bench.submit(0)
    await settle()
    assert bench.batcher.predict_wait_s() == pytest.approx(0.010)


@played
async def test_images_that_are_answered_are_let_go_at_once() -> None:
    """And not only when the garbage collector comes by: full batches are large."""
    bench = await busy()
    images = make_images(*FULL)
    kept = weakref.ref(images)
    answer = bench.batcher.submit(images)
    del images
    await settle()
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            bench.executor.finish()
            await settle()
        assert values_of(await answer) == [1, 2]
        del answer
        assert kept() is None
    finally:
        gc.enable()


@played
async def test_what_was_cleared_out_while_a_part_of_it_stood_by_is_taken_back_whole() -> None:
    """Law 1: counted wrongly, the tray would never be empty again, or look so while somebody waits."""
    bench = Bench(max_batch_size=2, max_queue_size=8)
    gone = bench.submit(1, 2, 3, 4, 5, 6, bulk=True)
    await settle()
    gone.cancel()
    large = bench.submit(11, 12, 13, 14, 15, 16, 17, bulk=True)  # there is no room for it until those who have gone are out
    hurried = bench.submit(7)
    await settle()
    assert bench.batcher.waiting == 6 - 2 + 7 + 1
    while bench.executor.held:
        bench.executor.finish()
        await settle()
    assert values_of(await large) == [11, 12, 13, 14, 15, 16, 17]
    assert values_of(await hurried) == [7]
    assert bench.batcher.waiting == 0


@played
async def test_what_was_taken_back_for_a_request_that_is_refused_stands_by_again() -> None:
    bench = Bench(max_batch_size=2, times_ms={1: 10.0, 2: 20.0})
    bench.submit(0)
    await settle()
    bulk = bench.submit(*FULL, bulk=True)
    await settle()
    with pytest.raises(WaitTooLong):
        bench.submit(7, deadline=0.001)
    await settle()
    assert len(bench.executor.held) == 2
    for _ in range(2):
        bench.executor.finish()
    assert values_of(await bulk) == [1, 2]


@played
async def test_what_only_looks_full_waits_in_the_tray() -> None:
    """Law 6: those who have gone count until they are looked for, and company may still come."""
    bench = Bench(max_batch_size=4)
    bench.submit(0)
    await settle()
    gone, stays = [bench.submit(value) for value in (1, 2, 3)], bench.submit(4)
    for one in gone:
        one.cancel()
    await settle()
    assert len(bench.executor.held) == 1
    company = bench.submit(5)
    bench.executor.finish()
    await settle()
    bench.executor.finish()
    assert [values_of(await one) for one in (stays, company)] == [[4], [5]]
    assert bench.model.batches == [[0], [4, 5]]
