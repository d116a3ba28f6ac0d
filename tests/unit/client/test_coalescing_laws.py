"""The laws of digitserve.coalescing, whatever arrives, gives up, fails or closes, and whenever."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from digitserve.coalescing import AsyncLane
from digitserve.errors import ClientClosed, DeadlineExceeded, DigitserveError, Overloaded
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.client.async_road import Road, ask, now
from tests.unit.client.virtual_time import run

EPSILON = 1e-6


@dataclass(frozen=True)
class Caller:
    arrives_at: float
    patience_s: float
    gives_up_after_s: float | None


@dataclass
class Ending:
    name: str
    outcome: str | BaseException
    at: float


async def call(lane: AsyncLane[str], name: str, caller: Caller) -> Ending:
    await asyncio.sleep(caller.arrives_at)
    asking = ask(lane, name, caller.patience_s)
    if caller.gives_up_after_s is not None:
        asyncio.get_running_loop().call_later(caller.gives_up_after_s, asking.cancel)
    outcomes = await asyncio.gather(asking, return_exceptions=True)
    return Ending(name, outcomes[0], now())


TIMES = st.floats(0, 5).map(lambda value: round(value, 2))
CALLERS = st.builds(Caller, TIMES, TIMES.map(lambda value: value + 0.01), st.none() | TIMES)


@given(
    callers=st.lists(CALLERS, max_size=40),
    service_s=st.lists(st.floats(0.01, 2), min_size=1, max_size=5),
    failing=st.sets(st.integers(0, 10), max_size=3),
    max_batch_size=st.integers(1, 8),
    in_flight=st.integers(1, 3),
    closes_at=st.none() | TIMES,
)
@settings(max_examples=200, deadline=None)
def test_the_laws_hold_whatever_arrives(
    callers: list[Caller],
    service_s: list[float],
    failing: set[int],
    max_batch_size: int,
    in_flight: int,
    closes_at: float | None,
) -> None:
    road = Road(
        service_s=lambda trip: service_s[trip % len(service_s)],
        failures={number: Overloaded(f"van {number}") for number in failing},
    )

    async def scenario() -> list[Ending]:
        lane = AsyncLane(road.send, max_batch_size=max_batch_size, in_flight=in_flight)
        calls = [asyncio.ensure_future(call(lane, str(index), caller)) for index, caller in enumerate(callers)]
        if closes_at is not None:
            await asyncio.sleep(closes_at)
            await lane.close()
        endings = await asyncio.gather(*calls)
        await lane.close()
        return endings

    endings = run(scenario())
    check_endings(endings, callers, road, closes_at)
    check_trips(callers, road, max_batch_size, in_flight)


def check_endings(endings: list[Ending], callers: list[Caller], road: Road, closes_at: float | None) -> None:
    trip_of = {name: number for number, names in enumerate(road.loads) for name in names}
    assert len(endings) == len(callers)
    for ending, caller in zip(endings, callers, strict=True):
        waited_s = ending.at - caller.arrives_at
        assert waited_s <= caller.patience_s + EPSILON
        match ending.outcome:
            case str(row):
                assert row == ending.name
                assert trip_of[row] not in road.failures
            case DeadlineExceeded():
                assert waited_s == pytest.approx(caller.patience_s, abs=EPSILON)
            case asyncio.CancelledError():
                assert waited_s == pytest.approx(caller.gives_up_after_s, abs=EPSILON)
            case ClientClosed():
                assert closes_at is not None
            case DigitserveError() as error:
                assert str(error) == f"van {trip_of[ending.name]}"
            case unexpected:
                pytest.fail(f"{ending.name} ended in {unexpected!r}")


def check_trips(callers: list[Caller], road: Road, max_batch_size: int, in_flight: int) -> None:
    aboard = [name for names in road.loads for name in names]
    assert len(aboard) == len(set(aboard))
    assert all(1 <= len(names) <= max_batch_size for names in road.loads)
    assert road.most_at_once <= in_flight
    landings = {trip.landed_at for trip in road.trips}
    for trip in road.trips:
        for caller in (callers[int(name)] for name in trip.names):
            assert trip.left_at < caller.arrives_at + caller.patience_s
            waited = trip.left_at > caller.arrives_at + EPSILON
            assert not waited or trip.left_at in landings
