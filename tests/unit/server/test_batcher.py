"""The batcher's first nine laws, one test each or more; the last two are in test_admission.py and test_tray.py.

All of them at once, under random traffic: test_batcher_traffic.py.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from server.batcher import Batcher
from server.errors import DeadlinePassed, Draining, InferenceFailed, InvalidRequest, NotReady, QueueFull
from server.limits import Limits
from tests.unit.server.vans import Bench, ManualExecutor, Model, make_images, played, settle, values_of


@played
async def test_a_lone_request_leaves_at_once() -> None:
    """Law 6."""

    bench = Bench()
    answer = bench.submit(7)
    await settle()
    assert len(bench.executor.held) == 1
    bench.executor.finish()
    assert values_of(await answer) == [7]
    assert bench.clock.now == 0.0


@played
async def test_the_next_batch_gathers_while_the_last_one_runs() -> None:
    """Law 6."""

    bench = Bench()
    first = bench.submit(1)
    await settle()
    later = [bench.submit(value) for value in (2, 3, 4)]
    await settle()
    assert len(bench.executor.held) == 1
    bench.executor.finish()
    await first
    await settle()
    bench.executor.finish()
    assert [values_of(await one) for one in later] == [[2], [3], [4]]
    assert bench.model.batches == [[1], [2, 3, 4]]


@played
async def test_requests_of_the_same_moment_travel_together() -> None:
    bench = Bench()
    answers = [bench.submit(value) for value in range(5)]
    await settle()
    bench.executor.finish()
    assert [values_of(await one) for one in answers] == [[value] for value in range(5)]
    assert bench.model.batches == [[0, 1, 2, 3, 4]]
    assert {(await one).batch_size for one in answers} == {5}


@played
async def test_every_row_goes_to_its_caller() -> None:
    """Law 2, for requests of all sizes and all outputs: what explains goes to those who asked for it."""

    bench = Bench()
    answers = [bench.submit(1), bench.batcher.submit(make_images(2, 3, 4), explain=True), bench.submit(5, 6)]
    await settle()
    bench.executor.finish()
    assert [values_of(await one) for one in answers] == [[1], [2, 3, 4], [5, 6]]
    assert [len((await one).rows) for one in answers] == [1, 2, 1]
    assert (await answers[1]).rows[1].shape == (3, 2, 2)
    assert (await answers[1]).rows[1][2].tolist() == [[4, 4], [4, 4]]


@played
async def test_a_batch_that_nobody_wants_explained_is_not() -> None:
    bench = Bench(inline_batch_size=4)
    answer = await bench.submit(1)
    assert len(answer.rows) == 1
    at_once = bench.batcher.answer_at_once(make_images(1), explain=True)
    assert at_once is not None
    assert len(at_once.rows) == 2


@played
async def test_a_cancelled_caller_is_skipped() -> None:
    """Law 3: before its batch has left, and after that, if no instance has begun with it."""

    bench = Bench()
    running, gone_running = bench.submit(1), bench.submit(2)
    await settle()
    waiting, gone_waiting, last = bench.submit(3), bench.submit(4), bench.submit(5)
    gone_running.cancel()
    gone_waiting.cancel()
    bench.executor.finish()
    await settle()
    bench.executor.finish()
    assert [values_of(await one) for one in (running, waiting, last)] == [[1], [3], [5]]
    assert bench.model.batches == [[1], [3, 5]]


@played
async def test_a_late_caller_is_told_and_not_computed() -> None:
    """Law 3."""

    bench = Bench()
    first = bench.submit(1)
    await settle()
    late, on_time = bench.submit(2, deadline=1.0), bench.submit(3, deadline=9.0)
    bench.clock.advance(2.0)
    bench.executor.finish()
    await first
    await settle()
    bench.executor.finish()
    with pytest.raises(DeadlinePassed, match="deadline"):
        await late
    assert values_of(await on_time) == [3]
    assert bench.model.batches == [[1], [3]]


@played
async def test_when_all_have_gone_nothing_is_computed() -> None:
    bench = Bench()
    first = bench.submit(1)
    await settle()
    gone = bench.submit(2)
    gone.cancel()
    bench.executor.finish()
    await first
    await settle()
    assert not bench.executor.held
    assert bench.batcher.waiting == 0


@played
async def test_a_failing_batch_fails_its_members_alone() -> None:
    """Law 4."""

    bench = Bench()
    bench.model.failure = RuntimeError("secret")
    doomed = [bench.submit(1), bench.submit(2)]
    await settle()
    bench.executor.finish()
    for one in doomed:
        with pytest.raises(InferenceFailed) as caught:
            await one
        assert "secret" not in str(caught.value)
    bench.model.failure = None
    good = bench.submit(3)
    await settle()
    bench.executor.finish()
    assert values_of(await good) == [3]
    assert bench.health == []


@played
async def test_failures_in_a_row_are_reported_and_so_is_the_recovery() -> None:
    """Law 4."""

    bench = Bench(max_failures=2, inline_batch_size=1)
    bench.model.failure = RuntimeError()
    for expected, error in (([], InferenceFailed), ([False], NotReady), ([False], NotReady)):
        with pytest.raises(error, match=r"batch [0-9a-f]{16}"):
            await bench.submit(1)
        assert bench.health == expected
    bench.model.failure = None
    await bench.submit(1)
    assert bench.health == [False, True]


@played
async def test_a_run_that_returns_too_few_rows_is_a_failure() -> None:
    executor = ManualExecutor()
    batcher = Batcher(lambda images, explain: (np.zeros((1, 1), np.float32),), Limits(), executor)
    answer = batcher.submit(make_images(1, 2))
    await settle()
    executor.finish()
    with pytest.raises(InferenceFailed):
        await answer


@played
async def test_a_full_tray_refuses_at_once_and_counts_images() -> None:
    """Law 5."""

    bench = Bench(max_queue_size=4)
    first = bench.submit(1)
    await settle()
    waiting = bench.submit(2, 3, 4)
    with pytest.raises(QueueFull, match="3 images wait") as caught:
        bench.submit(5, 6)
    assert caught.value.retry_after_ms > 0
    fits = bench.submit(7)
    bench.executor.finish()
    await settle()
    bench.executor.finish()
    assert [values_of(await one) for one in (first, waiting, fits)] == [[1], [2, 3, 4], [7]]
    assert bench.batcher.waiting == 0


@played
async def test_more_images_than_the_tray_holds_can_never_be_accepted() -> None:
    bench = Bench(max_queue_size=4)
    with pytest.raises(InvalidRequest, match="5 images in one call; at most 4") as caught:
        bench.submit(1, 2, 3, 4, 5)
    assert caught.value.field == "images"


@played
async def test_those_who_have_gone_make_room() -> None:
    """Law 5: a tray full of abandoned requests is not full."""

    bench = Bench(max_queue_size=2)
    first = bench.submit(1)
    await settle()
    gone, late = bench.submit(2), bench.submit(3, deadline=1.0)
    gone.cancel()
    bench.clock.advance(2.0)
    fits = bench.submit(4, 5)
    with pytest.raises(DeadlinePassed):
        await late
    bench.executor.finish()
    await first
    await settle()
    bench.executor.finish()
    assert values_of(await fits) == [4, 5]


@played
async def test_no_batch_is_too_large() -> None:
    """Law 7: a large request leaves in pieces, and comes back whole."""

    bench = Bench(max_batch_size=4)
    large, small = bench.submit(*range(10)), bench.submit(77)
    for _ in range(3):
        await settle()
        bench.executor.finish()
    answer = await large
    assert values_of(answer) == list(range(10))
    assert answer.batch_size == 4
    assert values_of(await small) == [77]
    assert bench.model.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 77]]


@played
async def test_a_crowd_is_shared_by_the_free_instances() -> None:
    bench = Bench(instances=2, min_split_size=2)
    answer = bench.submit(*range(8))
    await settle()
    assert len(bench.executor.held) == 2
    bench.executor.finish(1)  # the second piece is done first
    bench.executor.finish(0)
    assert values_of(await answer) == list(range(8))
    assert sorted(map(len, bench.model.batches)) == [4, 4]


@played
async def test_a_small_crowd_is_not_split() -> None:
    bench = Bench(instances=2, min_split_size=8)
    answer = bench.submit(*range(8))
    await settle()
    assert len(bench.executor.held) == 1
    bench.executor.finish()
    assert values_of(await answer) == list(range(8))


@played
async def test_a_piece_that_fails_fails_its_whole_request_once() -> None:
    bench = Bench(max_batch_size=2)
    large, other = bench.submit(1, 2, 3, 4), bench.submit(5)
    await settle()
    bench.model.failure = RuntimeError()
    bench.executor.finish()
    bench.model.failure = None
    await settle()
    bench.executor.finish()  # the rest of the failed request stood by, and is not computed
    with pytest.raises(InferenceFailed):
        await large
    await settle()
    bench.executor.finish()
    assert values_of(await other) == [5]
    assert bench.model.batches == [[1, 2], [5]]


@played
async def test_close_finishes_what_was_accepted_and_accepts_no_more() -> None:
    """Law 8."""

    bench = Bench()
    running = bench.submit(1)
    await settle()
    waiting = bench.submit(2)
    closing = [asyncio.ensure_future(bench.batcher.close()) for _ in range(2)]
    await settle()
    with pytest.raises(Draining):
        bench.submit(3)
    assert not any(one.done() for one in closing)
    bench.executor.finish()
    await settle()
    bench.executor.finish()
    await asyncio.gather(*closing)
    assert [values_of(running.result()), values_of(waiting.result())] == [[1], [2]]
    await bench.batcher.close()


@played
async def test_close_does_not_hang_on_callers_who_have_gone() -> None:
    """Law 8."""

    bench = Bench()
    bench.submit(1).cancel()
    await bench.batcher.close()
    assert bench.model.batches == []


@played
async def test_idle_schedules_nothing() -> None:
    """Law 9: after its work the batcher leaves no timer and no callback behind."""

    bench = Bench(inline_batch_size=1)
    await bench.submit(1)
    await settle()
    loop = asyncio.get_running_loop()
    assert len(asyncio.all_tasks()) == 1
    assert not loop._ready  # type: ignore[attr-defined]
    assert [handle for handle in loop._scheduled if not handle.cancelled()] != []  # type: ignore[attr-defined]  # our timeout
    assert len(loop._scheduled) == 1  # type: ignore[attr-defined]


@played
async def test_the_delay_counts_from_the_requests_own_arrival() -> None:
    """Law 6, opted out of."""

    bench = Bench(max_queue_delay_ms=5.0)
    first = bench.submit(1)
    await settle()
    bench.clock.advance(0.003)
    second = bench.submit(2)
    await settle()
    assert not bench.executor.held
    bench.clock.advance(0.002)
    bench.executor.finish()
    assert values_of(await first) == [1]
    answer = await second
    assert answer.batch_size == 2
    assert answer.queue_ms == pytest.approx(2.0)


@played
async def test_a_full_batch_does_not_wait_for_the_delay() -> None:
    bench = Bench(max_queue_delay_ms=5.0, max_batch_size=2)
    answer = bench.submit(1, 2)
    await settle()
    bench.executor.finish()
    assert values_of(await answer) == [1, 2]
    assert bench.clock.now == 0.0


@played
async def test_close_does_not_wait_for_the_delay() -> None:
    bench = Bench(max_queue_delay_ms=5.0, inline_batch_size=1)
    answer = bench.submit(1)
    await settle()
    await bench.batcher.close()
    assert values_of(await answer) == [1]


@played
async def test_times_are_the_requests_own() -> None:
    """Each waits until an instance begins with it, and not only until it leaves."""
    bench = Bench()
    first = bench.submit(1)
    await settle()
    bench.clock.advance(0.1)
    second = bench.submit(2)
    bench.executor.finish()
    await first
    await settle()
    bench.clock.advance(0.25)
    bench.executor.finish()
    assert (await first).queue_ms == pytest.approx(100.0)
    assert (await second).queue_ms == pytest.approx(250.0)


@played
async def test_with_real_threads_nothing_is_lost_or_mixed_up() -> None:
    model = Model()
    with ThreadPoolExecutor(3) as threads:
        batcher = Batcher(model.run, Limits(max_batch_size=16, instances=3, min_split_size=4, inline_batch_size=2), threads)

        async def ask(index: int) -> None:
            values = [(index + place) % 256 for place in range(index % 7 + 1)]
            assert values_of(await batcher.submit(make_images(*values), bulk=True)) == values

        await asyncio.gather(*(ask(index) for index in range(2000)))
        await batcher.close()
