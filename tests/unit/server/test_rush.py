"""Overload in virtual time: what is promised of goodput, latency and priorities. Arrivals are Poisson's, seeded."""

from __future__ import annotations

import asyncio

import pytest

from server.limits import Limits
from tests.unit.server.rush import Crowd, Stage, rush

IMAGE_S = 0.010
INSTANCES = 2
CAPACITY = INSTANCES / IMAGE_S  # images each second
DURATION_S = 5.0


def heavy(**other: float) -> Limits:
    """What the server chooses for a model of 10 ms an image."""
    chosen = {"max_batch_size": 2, "instances": INSTANCES, "min_split_size": 1, **other}
    return Limits(times_ms={1: 10.0, 2: 20.0}, **chosen)  # type: ignore[arg-type]


def play(*crowds: Crowd, limits: Limits | None = None, factor: float = 1.0, seed: int = 1) -> tuple[Stage, float]:
    """`factor`: how much slower the model is than it was when it was measured."""
    stage = Stage(lambda images: images * IMAGE_S * factor, seed)
    end_s = asyncio.run(rush(stage, limits or heavy(), DURATION_S * factor, *crowds))
    return stage, end_s


@pytest.mark.parametrize("seed", [1, 2])
def test_at_five_times_the_capacity_goodput_stays_and_who_is_accepted_waits_little(seed: int) -> None:
    busy, flooded = Crowd(0.8 * CAPACITY), Crowd(5 * CAPACITY)
    play(busy, seed=seed)
    _, end_s = play(flooded, seed=seed)
    assert busy.refused == 0
    assert len(flooded.latencies_s) / end_s >= 0.9 * CAPACITY
    assert flooded.p99_s <= 2 * busy.p99_s
    assert flooded.refused > 3 * len(flooded.latencies_s)


@pytest.mark.parametrize("bulk", [False, True])
@pytest.mark.parametrize("patience_s", [0.08, 0.5])
def test_whatever_the_deadline_next_to_nothing_is_accepted_that_comes_too_late(bulk: bool, patience_s: float) -> None:
    flooded = Crowd(5 * CAPACITY, bulk=bulk, patience_s=patience_s)
    _, end_s = play(flooded)
    assert flooded.expired <= 0.01 * len(flooded.latencies_s)
    assert len(flooded.latencies_s) / end_s >= 0.9 * CAPACITY


def test_interactive_hardly_feels_a_flood_of_bulk() -> None:
    """Law 11: it waits for what runs, two batches of 20 ms at most, and not for the thousands that wait."""
    alone, beside = Crowd(0.3 * CAPACITY), Crowd(0.3 * CAPACITY)
    play(alone)
    play(beside, Crowd(5 * CAPACITY / 64, images=64, bulk=True, patience_s=2.0))
    assert beside.refused == 0
    assert beside.p50_s <= alone.p50_s + 0.02
    assert beside.p99_s <= alone.p99_s + 0.04


def test_bulk_has_its_quarter_in_a_flood_of_interactive() -> None:
    """Law 11, the other way round; and it is told in advance what it will wait."""
    bulk = Crowd(2 * CAPACITY, bulk=True, patience_s=0.5)
    interactive = Crowd(5 * CAPACITY)
    _, end_s = play(interactive, bulk)
    assert len(bulk.latencies_s) / end_s >= 0.9 * CAPACITY / 4
    assert len(interactive.latencies_s) / end_s >= 0.9 * CAPACITY * 3 / 4
    assert bulk.expired <= 0.02 * len(bulk.latencies_s)


def test_a_full_line_of_bulk_keeps_nobody_else_out() -> None:
    interactive, bulk = Crowd(0.3 * CAPACITY), Crowd(5 * CAPACITY, bulk=True)
    play(interactive, bulk, limits=heavy(max_queue_size=64))
    assert bulk.refused > 0
    assert interactive.refused == 0


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_a_wrong_estimate_heals(factor: float) -> None:
    """The model is five times as fast, or as slow, as it was when it was measured."""
    flooded = Crowd(5 * CAPACITY / factor, patience_s=0.4)
    stage, end_s = play(flooded, factor=factor)
    assert stage.computed / end_s >= 0.9 * CAPACITY / factor
    assert len(flooded.latencies_s) / end_s >= 0.85 * CAPACITY / factor
