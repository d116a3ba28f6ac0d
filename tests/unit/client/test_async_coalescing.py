"""The laws of digitserve.coalescing, for the callers of one event loop, one by one."""

from __future__ import annotations

import asyncio

import pytest
from digitserve.coalescing import AsyncLane
from digitserve.errors import ClientClosed, DeadlineExceeded, Internal, Overloaded
from digitserve.tray import Letter

from tests.unit.client.async_road import SERVICE_S, Road, ask, now
from tests.unit.client.virtual_time import VirtualTimeLoop, run


def test_a_lone_letter_leaves_at_once() -> None:
    async def scenario() -> None:
        road = Road()
        assert await AsyncLane(road.send).ask(b"a", 0, 60.0) == "a"
        assert road.trips[0].left_at == 0.0
        assert now() == SERVICE_S

    run(scenario())


def test_letters_of_one_moment_travel_together() -> None:
    async def scenario() -> None:
        road = Road()
        lane = AsyncLane(road.send)
        names = [f"{index}" for index in range(64)]
        assert await asyncio.gather(*(ask(lane, name) for name in names)) == names
        assert road.loads == [names]

    run(scenario())


def test_a_letter_that_could_spoil_its_van_never_gets_into_it() -> None:
    async def scenario() -> None:
        road = Road()
        lane = AsyncLane(road.send)
        good, bad = ask(lane, "good"), asyncio.ensure_future(lane.ask(b"bad", 1.5, 60.0))  # type: ignore[arg-type]
        outcomes = await asyncio.gather(good, bad, return_exceptions=True)
        assert (outcomes[0], type(outcomes[1])) == ("good", TypeError)
        assert road.loads == [["good"]]

    run(scenario())


def test_letters_gather_while_the_vans_are_on_the_road() -> None:
    async def scenario() -> None:
        road = Road()
        lane = AsyncLane(road.send, in_flight=1)
        first = ask(lane, "first")
        await asyncio.sleep(0.25)
        others = [ask(lane, "second"), ask(lane, "third")]
        await asyncio.gather(first, *others)
        assert road.loads == [["first"], ["second", "third"]]
        assert road.trips[1].left_at == SERVICE_S

    run(scenario())


def test_a_free_van_takes_a_newcomer_at_once() -> None:
    async def scenario() -> None:
        road = Road()
        lane = AsyncLane(road.send, in_flight=2)
        first = ask(lane, "first")
        await asyncio.sleep(0.25)
        second = ask(lane, "second")
        await asyncio.sleep(0.25)
        third = ask(lane, "third")
        await asyncio.gather(first, second, third)
        assert [trip.left_at for trip in road.trips] == [0.0, 0.25, SERVICE_S]
        assert road.most_at_once == 2

    run(scenario())


def test_no_van_carries_more_than_it_may() -> None:
    async def scenario() -> None:
        road = Road()
        lane = AsyncLane(road.send, max_batch_size=4, in_flight=2)
        await asyncio.gather(*(ask(lane, str(index)) for index in range(10)))
        assert [len(load) for load in road.loads] == [4, 4, 2]
        assert road.most_at_once == 2

    run(scenario())


def test_a_waiting_letter_that_is_cancelled_costs_nothing() -> None:
    async def scenario() -> None:
        road = Road()
        lane = AsyncLane(road.send, in_flight=1)
        tasks = [ask(lane, "first")]
        await asyncio.sleep(0.25)
        tasks += [ask(lane, "gone"), ask(lane, "stays")]
        await asyncio.sleep(0.25)
        tasks[1].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes[1], asyncio.CancelledError)
        assert road.loads == [["first"], ["stays"]]

    run(scenario())


def test_a_cancelled_passenger_costs_its_neighbours_nothing() -> None:
    async def scenario() -> None:
        road = Road()
        lane = AsyncLane(road.send)
        tasks = [ask(lane, "gone"), ask(lane, "stays")]
        await asyncio.sleep(0.5)
        tasks[0].cancel()
        assert await tasks[1] == "stays"
        assert tasks[0].cancelled()
        assert not road.trips[0].was_cancelled

    run(scenario())


def test_a_van_without_passengers_is_called_back() -> None:
    async def scenario() -> None:
        road = Road()
        lane = AsyncLane(road.send, in_flight=1)
        tasks = [ask(lane, "one"), ask(lane, "two")]
        await asyncio.sleep(0.5)
        waiting = ask(lane, "waiting")
        for task in tasks:
            task.cancel()
        assert await waiting == "waiting"
        assert road.trips[0].was_cancelled
        assert road.trips[1].left_at == 0.5

    run(scenario())


def test_each_letter_keeps_its_own_deadline() -> None:
    async def scenario() -> None:
        road = Road()
        lane = AsyncLane(road.send)
        hasty, patient = ask(lane, "hasty", 0.5), ask(lane, "patient", 5.0)
        with pytest.raises(DeadlineExceeded):
            await hasty
        assert now() == pytest.approx(0.5)
        assert await patient == "patient"
        assert road.trips[0].timeout_s == 5.0

    run(scenario())


def test_a_late_letter_is_not_sent() -> None:
    async def scenario() -> None:
        road = Road()
        lane = AsyncLane(road.send, in_flight=1)
        first = ask(lane, "first")
        await asyncio.sleep(0)
        late, patient = ask(lane, "late", 0.5), ask(lane, "patient")
        with pytest.raises(DeadlineExceeded):
            await late
        assert now() == pytest.approx(0.5)
        await asyncio.gather(first, patient)
        assert road.loads == [["first"], ["patient"]]

    run(scenario())


def test_an_answered_letter_leaves_no_alarm_behind() -> None:
    async def scenario() -> None:
        lane = AsyncLane(Road().send)
        await asyncio.gather(*(ask(lane, str(index)) for index in range(5)))
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        assert loop.count_alarms() == 0

    run(scenario())


def test_a_failing_van_fails_exactly_its_own_letters() -> None:
    async def scenario() -> None:
        road = Road(failures={0: Overloaded("full", retry_after_s=0.5)})
        lane = AsyncLane(road.send, max_batch_size=2, in_flight=1)
        outcomes = await asyncio.gather(*(ask(lane, str(index)) for index in range(4)), return_exceptions=True)
        errors = outcomes[:2]
        assert outcomes[2:] == ["2", "3"]
        assert all(isinstance(error, Overloaded) and error.retry_after_s == 0.5 for error in errors)
        assert errors[0] is not errors[1]

    run(scenario())


def test_what_no_one_foresaw_reaches_the_letters_as_internal() -> None:
    async def scenario() -> None:
        cause = ZeroDivisionError("oops")
        lane = AsyncLane(Road(failures={0: cause}).send)
        with pytest.raises(Internal, match="oops") as caught:
            await lane.ask(b"a", 0, 60.0)
        assert caught.value.__cause__ is cause

    run(scenario())


def test_a_wrong_number_of_rows_is_no_answer_for_anybody() -> None:
    async def send(van: list[Letter[str]], timeout_s: float) -> list[str]:
        return ["only one"]

    async def scenario() -> None:
        lane = AsyncLane(send)
        outcomes = await asyncio.gather(ask(lane, "a"), ask(lane, "b"), return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["asked about 2 images, but 1 were answered"] * 2

    run(scenario())


def test_close_ends_everything_once() -> None:
    async def scenario() -> None:
        road = Road()
        lane = AsyncLane(road.send, in_flight=1)
        tasks = [ask(lane, "on the road")]
        await asyncio.sleep(0.5)
        tasks.append(ask(lane, "waiting"))
        await asyncio.sleep(0)
        await lane.close()
        await lane.close()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ClientClosed, ClientClosed]
        assert road.trips[0].was_cancelled
        assert now() == 0.5
        with pytest.raises(ClientClosed):
            await lane.ask(b"too late", 0, 60.0)

    run(scenario())


def test_close_before_a_van_was_loaded() -> None:
    async def scenario() -> None:
        lane = AsyncLane(Road().send)
        task = ask(lane, "a")
        await asyncio.sleep(0)
        await lane.close()
        with pytest.raises(ClientClosed):
            await task

    run(scenario())
