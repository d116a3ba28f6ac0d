"""Law 10: what can't be answered in time is refused at once. How well that works in a rush is in test_rush.py."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from server.admission import Pace
from server.errors import DeadlinePassed, QueueFull, WaitTooLong
from server.job import Answer
from tests.unit.server.vans import Bench, make_images, played, settle, values_of

SECOND = {1: 1000.0, 2: 2000.0}  # a model that takes a second for each image


def slow(**limits: Any) -> Bench:
    return Bench(**{"max_batch_size": 2, "max_queue_wait_ms": 5000.0, "times_ms": SECOND, **limits})


async def occupy(bench: Bench, *values: int) -> asyncio.Future[Answer]:
    answer = bench.submit(*values)
    await settle()
    return answer


@played
async def test_what_would_come_after_its_deadline_is_refused_at_once() -> None:
    bench = slow()
    await occupy(bench, 1, 2)
    bench.clock.advance(0.5)
    waiting = bench.submit(3, 4)
    with pytest.raises(WaitTooLong, match="the answer would take 6200 ms, and the deadline is in 5000 ms") as caught:
        bench.submit(5, deadline=5.5)  # 1.5 s of the batch that runs and 2 s before it, with a margin; and a full batch
    assert caught.value.retry_after_ms == pytest.approx(3500)
    in_time = bench.submit(6, deadline=7.0)
    for _ in range(3):
        bench.executor.finish()
        await settle()
    assert (values_of(await waiting), values_of(await in_time)) == ([3, 4], [6])
    assert bench.model.batches == [[1, 2], [3, 4], [6]]


@played
async def test_what_takes_longer_than_its_deadline_by_itself_is_not_asked_back() -> None:
    bench = slow()
    with pytest.raises(WaitTooLong, match="the answer takes 6000 ms by itself, and the deadline is in 5500 ms") as caught:
        bench.submit(*range(6), deadline=5.5)
    assert caught.value.retry_after_ms == 0
    await occupy(bench, 1)
    with pytest.raises(WaitTooLong, match="; try again in 1000 ms") as caught:
        bench.submit(*range(6), deadline=6.5)
    assert caught.value.retry_after_ms == pytest.approx(1000)


@played
async def test_a_large_request_counts_all_that_it_takes_itself() -> None:
    bench = slow(instances=2)
    await occupy(bench, 1)
    bench.submit(2)
    with pytest.raises(WaitTooLong):
        bench.submit(*range(10), deadline=6.0, bulk=True)
    assert bench.submit(*range(10), deadline=9.0, bulk=True)


@played
async def test_interactive_is_refused_for_its_wait_and_bulk_is_not() -> None:
    bench = slow(max_queue_wait_ms=1500.0)
    await occupy(bench, 1)
    bench.submit(2)
    with pytest.raises(WaitTooLong, match="the wait would be 2000 ms, and at most 1500 ms are allowed; try again in 2000 ms"):
        bench.submit(3)
    assert not bench.submit(3, bulk=True).done()
    bench.clock.advance(0.6)  # of the second that the first one takes
    assert not bench.submit(4).done()


@played
async def test_a_free_instance_and_an_empty_tray_refuse_nobody() -> None:
    bench = slow()
    assert values_of(await finished(bench, bench.submit(1, deadline=0.1))) == [1]
    bench.clock.advance(100.0)
    await occupy(bench, 1)
    bench.clock.advance(100.0)  # far longer than predicted: nobody knows how long it will go on
    assert bench.submit(2, deadline=bench.clock.now + 2.5)


@played
async def test_a_batch_that_ends_early_is_over() -> None:
    bench = slow()
    first = bench.submit(1)
    await finished(bench, first)
    assert bench.batcher.predict_wait_s() == bench.batcher.predict_wait_s(bulk=True) == 0.0


async def finished(bench: Bench, answer: asyncio.Future[Answer]) -> Answer:
    await settle()
    bench.executor.finish()
    return await answer


@played
async def test_a_deadline_that_has_passed_is_never_laid_into_the_tray() -> None:
    bench = slow()
    await occupy(bench, 1)
    bench.clock.advance(1.0)
    with pytest.raises(DeadlinePassed, match="before the request came to the queue"):
        bench.submit(2, deadline=0.9)
    assert bench.batcher.waiting == 0


@played
async def test_those_who_have_gone_are_not_in_the_way() -> None:
    bench = slow(max_queue_wait_ms=1500.0)
    await occupy(bench, 1)
    gone = bench.submit(2)
    gone.cancel()
    assert bench.batcher.predict_wait_s() == pytest.approx(2.0)
    assert not bench.submit(3).done()
    assert bench.batcher.predict_wait_s() == pytest.approx(2.0)


@played
async def test_each_line_is_as_long_as_is_allowed() -> None:
    bench = Bench(max_queue_size=2)
    await occupy(bench, 1)
    bench.submit(2, 3, bulk=True)
    assert not bench.submit(4, 5).done()
    with pytest.raises(QueueFull, match="2 images wait"):
        bench.submit(6, bulk=True)


@played
async def test_of_ten_thousand_who_are_late_or_gone_none_is_computed() -> None:
    bench = Bench(times_ms={1: 1e-6})  # it promises everybody an answer in time
    first = await occupy(bench, 1)
    doomed = [bench.submit(2, deadline=1.0, bulk=number % 3 == 0) for number in range(10_000)]
    for answer in doomed[::2]:
        answer.cancel()
    kept = bench.submit(3, deadline=9.0)
    bench.clock.advance(2.0)
    assert values_of(await finished(bench, first)) == [1]
    assert values_of(await finished(bench, kept)) == [3]
    assert bench.model.batches == [[1], [3]]
    assert [type(answer.exception()) for answer in doomed[1::2]] == [DeadlinePassed] * 5000
    assert bench.batcher.waiting == 0


def test_a_batch_takes_a_fixed_time_and_one_for_each_image() -> None:
    pace = Pace({1: 1.1, 11: 2.1})
    assert [pace.predict_s(images) * 1e3 for images in (1, 11, 101)] == pytest.approx([1.1, 2.1, 11.1])
    assert pace.predict_s(100, 4) * 1e3 == pytest.approx(14.0)


@pytest.mark.parametrize("times_ms", [{1: 2.0}, {1: 2.0, 4: 1.0}, {1: 1.0, 2: 1.0}, {4: 8.0, 8: 4.0}])
def test_whatever_was_measured_an_image_takes_some_time(times_ms: dict[int, float]) -> None:
    """A disturbed measurement may say that a larger batch takes less."""
    pace = Pace(times_ms)
    assert 0 < pace.predict_s(1) < pace.predict_s(100)


def test_lone_images_do_not_make_a_full_batch_look_slow() -> None:
    pace = Pace({1: 1.1, 11: 2.1})
    for _ in range(50):
        pace.note(1, 0.0011)
    assert pace.predict_s(101) * 1e3 == pytest.approx(11.1)


@pytest.mark.parametrize("wrong", [0.001, 1000.0])
def test_a_wrong_stretch_fades(wrong: float) -> None:
    pace = Pace({1: 1.0, 2: 2.0})
    for _ in range(20):
        pace.note(2, wrong * 0.002)
    assert pace.predict_s(1) == pytest.approx(wrong * 0.001, rel=0.25 if wrong > 1 else 200)
    for _ in range(150):
        pace.note(2, 0.002)
    assert pace.predict_s(1) == pytest.approx(0.001, rel=0.01)


@played
async def test_what_is_answered_at_once_is_never_asked_for_its_wait() -> None:
    bench = slow(inline_batch_size=1)
    answer = bench.batcher.answer_at_once(make_images(7), deadline=0.1)
    assert answer is not None
    assert values_of(answer) == [7]


@played
async def test_a_full_queue_says_how_many_images_the_call_brings() -> None:
    bench = slow(max_queue_size=4)
    await occupy(bench, 1, 2)
    bench.submit(3, 4, 5)
    with pytest.raises(QueueFull, match="3 images wait and this call brings 2, at most 4 may wait; try again in"):
        bench.submit(6, 7)


@played
async def test_a_refusal_leaves_nothing_for_the_garbage_collector() -> None:
    bench = slow()
    await occupy(bench, 1, 2)
    bench.submit(3, 4)
    gc.disable()
    try:
        with pytest.raises(WaitTooLong) as caught:
            bench.submit(5, deadline=5.5)
        refusal = weakref.ref(caught.value)
        del caught
        assert refusal() is None
    finally:
        gc.enable()
