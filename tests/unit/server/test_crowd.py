"""Single requests gather in a crowd, and a lone one never waits."""

from __future__ import annotations

import asyncio

import pytest

from server.batcher import Crowd
from server.job import Answer
from tests.unit.server.vans import Bench, ManualClock, make_images, played, settle, values_of


class Processor:
    """How much processor time was used, by hand."""

    def __init__(self) -> None:
        self.used_s = 0.0

    def time(self) -> float:
        return self.used_s


def make_crowd(gather_s: float = 0.002) -> tuple[Crowd, ManualClock, Processor]:
    clock, processor = ManualClock(), Processor()
    return Crowd(gather_s, clock.time, processor.time), clock, processor


def pass_by(crowd: Crowd, requests: int) -> list[bool]:
    return [crowd.counts_in() for _ in range(requests)]


@pytest.mark.parametrize(("busy_s", "is_crowd"), [(0.7, False), (1.0, False), (1.2, True)])
def test_a_crowd_is_what_keeps_more_than_a_core_busy(busy_s: float, is_crowd: bool) -> None:
    crowd, clock, processor = make_crowd()
    assert not any(pass_by(crowd, Crowd.LOOK_EVERY - 1))
    clock.advance(1.0)
    processor.used_s += busy_s
    assert pass_by(crowd, 1) == [is_crowd]
    assert crowd.is_here == is_crowd


def test_each_look_counts_from_the_last_one() -> None:
    crowd, clock, processor = make_crowd()
    processor.used_s += 50.0
    clock.advance(100.0)
    pass_by(crowd, Crowd.LOOK_EVERY)
    clock.advance(1.0)
    processor.used_s += 1.2
    assert not crowd.is_here
    assert pass_by(crowd, Crowd.LOOK_EVERY)[-1]


def test_it_is_over_with_the_first_gathering_that_brings_too_few() -> None:
    crowd, clock, processor = make_crowd()
    clock.advance(1.0)
    processor.used_s += 2.0
    pass_by(crowd, Crowd.LOOK_EVERY)
    crowd.has_gathered(Crowd.ENOUGH)
    assert crowd.is_here
    crowd.has_gathered(Crowd.ENOUGH - 1)
    assert not crowd.is_here
    assert not any(pass_by(crowd, Crowd.LOOK_EVERY - 1))


def test_switched_off_it_never_is() -> None:
    crowd, clock, processor = make_crowd(0.0)
    processor.used_s += 9.0
    clock.advance(1.0)
    assert not any(pass_by(crowd, 3 * Crowd.LOOK_EVERY))


def crowded(**limits: float) -> Bench:
    bench = Bench(crowd_gather_ms=2.0, inline_batch_size=8, **limits)
    bench.batcher._crowd.is_here = True
    return bench


def ask(bench: Bench, value: int) -> asyncio.Future[Answer]:
    assert bench.batcher.answer_at_once(make_images(value)) is None
    return bench.batcher.submit(make_images(value), may_gather=True)


@played
async def test_a_crowd_gathers_until_its_time_is_over() -> None:
    bench = crowded()
    answers = [ask(bench, value) for value in range(5)]
    await settle()
    assert bench.model.batches == []
    bench.clock.advance(0.002)
    assert [values_of(await answer) for answer in answers] == [[value] for value in range(5)]
    assert bench.model.batches == [[0, 1, 2, 3, 4]]


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
async def test_whoever_is_left_alone_is_answered_at_once_from_then_on() -> None:
    bench = crowded()
    last = ask(bench, 1)
    await settle()
    bench.clock.advance(0.002)
    await last
    assert bench.batcher.answer_at_once(make_images(2)) is not None


@played
async def test_close_does_not_wait_for_a_crowd() -> None:
    bench = crowded()
    answer = ask(bench, 1)
    await bench.batcher.close()
    assert values_of(await answer) == [1]
