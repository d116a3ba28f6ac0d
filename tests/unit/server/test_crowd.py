"""Single requests gather in a crowd, and a lone one does not wait for it."""

from __future__ import annotations

import asyncio
import sys

import pytest

from server.crowd import Company, Crowd
from server.job import Answer
from tests.unit.server.vans import Bench, make_images, played, settle, values_of

GATHER_S = 0.002


def pass_by(crowd: Crowd, requests: int) -> list[bool]:
    return [crowd.counts_in() for _ in range(requests)]


def test_one_in_so_many_single_requests_looks_about() -> None:
    crowd = Crowd(GATHER_S)
    assert pass_by(crowd, Crowd.LOOK_EVERY) == [False] * (Crowd.LOOK_EVERY - 1) + [True]
    crowd.has_gathered(Crowd.ENOUGH - 1)
    assert pass_by(crowd, Crowd.LOOK_EVERY) == [False] * (Crowd.LOOK_EVERY - 1) + [True]


def test_a_look_that_finds_enough_is_a_crowd() -> None:
    crowd = Crowd(GATHER_S)
    pass_by(crowd, Crowd.LOOK_EVERY)
    crowd.has_gathered(Crowd.ENOUGH)
    assert crowd.company is Company.CROWD
    assert all(pass_by(crowd, 3 * Crowd.LOOK_EVERY))


def test_a_crowd_is_over_when_several_gatherings_in_a_row_bring_too_few() -> None:
    crowd = Crowd(GATHER_S)
    crowd.has_gathered(Crowd.ENOUGH)
    for _ in range(3):  # one good gathering makes up for those before it
        for _ in range(Crowd.PATIENCE - 1):
            crowd.has_gathered(Crowd.ENOUGH - 1)
        crowd.has_gathered(Crowd.ENOUGH)
        assert crowd.company is Company.CROWD
    for _ in range(Crowd.PATIENCE):
        crowd.has_gathered(Crowd.ENOUGH - 1)
    assert crowd.company is Company.NONE
    assert not any(pass_by(crowd, Crowd.LOOK_EVERY - 1))


def test_switched_off_it_never_is() -> None:
    assert not any(pass_by(Crowd(0.0), 3 * Crowd.LOOK_EVERY))


def crowded() -> Bench:
    bench = Bench(crowd_gather_ms=GATHER_S * 1e3, inline_batch_size=8)
    bench.batcher._crowds[0].has_gathered(Crowd.ENOUGH)
    return bench


def about_to_look() -> Bench:
    """A bench whose next single request looks about."""
    bench = Bench(crowd_gather_ms=GATHER_S * 1e3, inline_batch_size=8)
    for value in range(Crowd.LOOK_EVERY - 1):
        assert bench.batcher.answer_at_once(make_images(value % 200)) is not None
    bench.model.batches.clear()
    return bench


def ask(bench: Bench, value: int, *, bulk: bool = False, deadline: float | None = None) -> asyncio.Future[Answer]:
    assert bench.batcher.answer_at_once(make_images(value), bulk=bulk) is None
    return bench.batcher.submit(make_images(value), may_gather=True, bulk=bulk, deadline=deadline)


@pytest.mark.parametrize("bulk", [False, True])
def test_a_crowd_gathers_until_its_time_is_over(bulk: bool) -> None:
    @played
    async def scenario() -> None:
        bench = with_crowd_of_bulk() if bulk else crowded()
        for _ in range(Crowd.PATIENCE):
            answers = [ask(bench, value, bulk=bulk) for value in range(5)]
            await settle()
            assert bench.model.batches == []
            bench.clock.advance(GATHER_S)
            assert [values_of(await answer) for answer in answers] == [[value] for value in range(5)]
            assert bench.model.batches == [[0, 1, 2, 3, 4]]
            bench.model.batches.clear()
        assert bench.batcher._crowds[bulk].company is Company.CROWD

    scenario()


@played
async def test_a_full_inline_batch_does_not_wait_for_the_time() -> None:
    bench = crowded()
    answers = [ask(bench, value) for value in range(8)]
    assert [values_of(await answer) for answer in answers] == [[value] for value in range(8)]
    assert bench.clock.now == 0.0


@played
async def test_a_packed_call_takes_the_crowd_with_it_at_once() -> None:
    bench = crowded()
    single = ask(bench, 1)
    packed = bench.submit(2, 3)
    assert values_of(await packed) == [2, 3]
    assert values_of(await single) == [1]
    assert bench.clock.now == 0.0


@played
async def test_an_alarm_of_a_gathering_that_has_left_does_not_cut_the_next_one_short() -> None:
    bench = crowded()
    early = [ask(bench, 1), bench.submit(2, 3)]
    await asyncio.gather(*early)
    bench.clock.advance(GATHER_S / 2)
    late = [ask(bench, value) for value in (4, 5)]
    bench.clock.advance(GATHER_S / 2)  # the first alarm
    await settle()
    assert bench.model.batches == [[1, 2, 3]]
    bench.clock.advance(GATHER_S / 2)  # the second
    assert [values_of(await answer) for answer in late] == [[4], [5]]


@played
async def test_whoever_is_left_alone_is_answered_at_once_soon() -> None:
    bench = crowded()
    for value in range(Crowd.PATIENCE):
        last = ask(bench, value)
        await settle()
        bench.clock.advance(GATHER_S)
        await last
    assert bench.batcher.answer_at_once(make_images(9)) is not None


async def gather(bench: Bench, requests: int, advance_s: float = 0.0) -> list[list[int]]:
    """What so many singles, asked for together, are answered after that time; fails if the answers are not there by then."""
    answers = [ask(bench, value) for value in range(requests)]
    await settle()
    bench.clock.advance(advance_s)
    await settle()
    return [values_of(answer.result()) for answer in answers]


@played
async def test_a_gathering_is_over_once_as_many_have_come_as_of_late() -> None:
    bench = crowded()
    for requests in (5, 4, 5, 6, 4, 5, 5):
        await gather(bench, requests, GATHER_S)
    begun = bench.clock.now
    bench.model.batches.clear()
    assert await gather(bench, 6) == [[value] for value in range(6)]
    assert bench.clock.now == begun
    assert bench.model.batches == [[0, 1, 2, 3, 4, 5]]


@played
async def test_whoever_has_left_is_not_waited_for_long() -> None:
    bench = crowded()
    for _ in range(Crowd.REMEMBERED):
        await gather(bench, 7, GATHER_S)
    for _ in range(Crowd.REMEMBERED):
        await gather(bench, 4, GATHER_S)
    assert await gather(bench, 4) == [[value] for value in range(4)]


@played
async def test_one_gathering_in_so_many_goes_on_to_its_end_and_notices_that_there_are_more() -> None:
    bench = crowded()
    for _ in range(Crowd.REMEMBERED - 1):
        await gather(bench, 4, GATHER_S)
    for _ in range(Crowd.WHOLE_EVERY - Crowd.REMEMBERED):
        await gather(bench, 4)
    answers = [ask(bench, value) for value in range(7)]
    await settle()
    assert not any(answer.done() for answer in answers)
    bench.clock.advance(GATHER_S)
    await asyncio.gather(*answers)
    assert bench.batcher._crowds[0].expected == 7


@played
async def test_a_gathering_that_a_packed_call_cut_short_teaches_nothing() -> None:
    bench = crowded()
    for _ in range(Crowd.REMEMBERED - 1):
        await gather(bench, 5, GATHER_S)
    assert bench.batcher._crowds[0].expected == 5
    for _ in range(Crowd.REMEMBERED):
        await asyncio.gather(ask(bench, 1), bench.submit(2, 3))
    assert bench.batcher._crowds[0].expected == 5
    assert bench.batcher._crowds[0].company is Company.CROWD


@played
async def test_a_batch_that_lands_neither_ends_a_gathering_nor_teaches() -> None:
    bench = Bench(crowd_gather_ms=GATHER_S * 1e3, inline_batch_size=8, instances=2)
    bench.batcher._crowds[0].has_gathered(Crowd.ENOUGH)
    for _ in range(Crowd.PATIENCE):
        large = bench.submit(*range(100, 120))
        await settle()
        single = ask(bench, 1)
        bench.executor.finish()
        await asyncio.wait_for(large, 5)
        await settle()
        assert not single.done()
        bench.clock.advance(GATHER_S / 2)
        await settle()
        assert not single.done()
        bench.submit(2, 3)
        await single
    assert bench.batcher._crowds[0].company is Company.CROWD


@played
async def test_who_has_gone_has_not_come() -> None:
    bench = crowded()
    for _ in range(Crowd.REMEMBERED):
        answers = [ask(bench, value) for value in range(7)]
        for answer in answers[:3]:
            answer.cancel()
        bench.clock.advance(GATHER_S)
        await asyncio.gather(*answers[3:])
    assert bench.batcher._crowds[0].expected == 4


@played
async def test_who_has_no_time_to_gather_leaves_at_once_and_takes_the_others_with_it() -> None:
    bench = crowded()
    patient, pressed = ask(bench, 1), ask(bench, 2, deadline=1.9 * GATHER_S)
    assert values_of(await pressed) == [2]
    assert values_of(await patient) == [1]
    assert bench.clock.now == 0.0


@played
async def test_where_not_even_a_small_crowd_runs_inline_nobody_gathers() -> None:
    bench = Bench(crowd_gather_ms=GATHER_S * 1e3, inline_batch_size=Crowd.ENOUGH - 1)
    for _ in range(3 * Crowd.LOOK_EVERY):
        assert bench.batcher.answer_at_once(make_images(1)) is not None


def with_crowd_of_bulk() -> Bench:
    bench = Bench(crowd_gather_ms=GATHER_S * 1e3, inline_batch_size=8, bulk_gathers=True)
    bench.batcher._crowds[True].has_gathered(Crowd.ENOUGH)
    return bench


@pytest.mark.parametrize("may", [False, True])
def test_bulk_looks_about_only_where_it_may_gather(may: bool) -> None:
    @played
    async def scenario() -> None:
        bench = Bench(crowd_gather_ms=GATHER_S * 1e3, inline_batch_size=8, bulk_gathers=may)
        for _ in range(Crowd.LOOK_EVERY - 1):
            assert bench.batcher.answer_at_once(make_images(1), bulk=True) is not None
        assert (bench.batcher.answer_at_once(make_images(1), bulk=True) is None) == may

    scenario()


@played
async def test_a_lone_interactive_caller_does_not_wait_because_bulk_gathers() -> None:
    bench = with_crowd_of_bulk()
    assert bench.batcher.answer_at_once(make_images(1)) is not None
    bulk, lone = ask(bench, 2, bulk=True), ask(bench, 3)
    assert values_of(await lone) == [3]
    assert values_of(await bulk) == [2]
    assert bench.clock.now == 0.0


@played
async def test_where_both_gather_interactive_leads_and_bulk_comes_along() -> None:
    bench = with_crowd_of_bulk()
    bench.batcher._crowds[0].has_gathered(Crowd.ENOUGH)
    for _ in range(Crowd.PATIENCE):
        bulk = [ask(bench, value, bulk=True) for value in range(5)]
        await settle()
        bench.clock.advance(GATHER_S / 2)
        lone = ask(bench, 9)
        bench.clock.advance(GATHER_S / 2)  # bulk's own alarm
        await settle()
        assert not lone.done()
        bench.clock.advance(GATHER_S / 2)
        assert values_of(await lone) == [9]
        assert [values_of(await answer) for answer in bulk] == [[value] for value in range(5)]
    assert bench.batcher._crowds[0].company is Company.NONE  # of interactive ones, only one came each time


def test_without_a_crowd_nobody_is_expected() -> None:
    crowd = Crowd(GATHER_S)
    for _ in range(2 * Crowd.REMEMBERED):
        pass_by(crowd, Crowd.LOOK_EVERY)
        crowd.has_gathered(1)
    assert crowd.expected == sys.maxsize


@played
async def test_a_look_takes_only_a_moment_if_nobody_else_is_about() -> None:
    bench = about_to_look()
    answer = ask(bench, 7)
    await settle()
    assert bench.model.batches == []
    bench.clock.advance(Crowd.LOOK_S)
    assert values_of(await answer) == [7]
    assert bench.batcher.answer_at_once(make_images(8)) is not None


@played
async def test_a_look_goes_on_as_long_as_others_follow() -> None:
    bench = about_to_look()
    answers = []
    for value in range(Crowd.ENOUGH - 1):
        answers.append(ask(bench, value))
        await settle()
        bench.clock.advance(Crowd.LOOK_S * 0.9)
        await settle()
    assert bench.model.batches == []
    bench.clock.advance(Crowd.LOOK_S)
    assert [values_of(await answer) for answer in answers] == [[value] for value in range(Crowd.ENOUGH - 1)]
    assert bench.batcher._crowds[0].company is Company.NONE


@played
async def test_a_look_is_over_once_enough_have_come() -> None:
    bench = about_to_look()
    answers = [ask(bench, value) for value in range(Crowd.ENOUGH)]
    assert [values_of(await answer) for answer in answers] == [[value] for value in range(Crowd.ENOUGH)]
    assert bench.clock.now == 0.0
    assert bench.batcher._crowds[0].company is Company.CROWD


@played
async def test_close_does_not_wait_for_a_crowd() -> None:
    bench = crowded()
    answer = ask(bench, 1)
    await bench.batcher.close()
    assert values_of(await answer) == [1]
