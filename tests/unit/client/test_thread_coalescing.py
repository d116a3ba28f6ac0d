"""The laws of digitserve.coalescing, for the callers of many threads."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from digitserve.coalescing import Landing, ThreadLane
from digitserve.errors import ClientClosed, DeadlineExceeded, Internal, Overloaded
from digitserve.tray import Letter

LONG_S = 60.0
PATIENCE_S = 20.0  # of the tests themselves: reached only where something hangs


@dataclass
class Ride:
    """A van on the road, until the test lands it."""

    names: list[str]
    timeout_s: float
    landing: Landing[str]

    def land(self) -> None:
        self.landing(self.names)


@dataclass
class Road:
    """A fake transport whose vans stay away until the test says otherwise."""

    rides: list[Ride] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def send(self, van: list[Letter[str]], timeout_s: float, landing: Landing[str]) -> None:
        with self.changed:
            self.rides.append(Ride([letter.pixels.decode() for letter in van], timeout_s, landing))
            self.changed.notify_all()

    def send_alone(self, letter: Letter[str], timeout_s: float) -> str:
        outcome: Future[Sequence[str] | Exception] = Future()
        self.send([letter], timeout_s, outcome.set_result)
        result = outcome.result(PATIENCE_S)
        if isinstance(result, Exception):
            raise result
        return result[0]

    def wait_for(self, count: int) -> list[Ride]:
        """Blocks until so many vans have left."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.rides) >= count, PATIENCE_S)
            return list(self.rides)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as executor:
        yield executor


@pytest.fixture
def road() -> Road:
    return Road()


def make_lane(road: Road, *, max_batch_size: int = 256, in_flight: int = 1) -> ThreadLane[str]:
    return ThreadLane(road.send, road.send_alone, max_batch_size=max_batch_size, in_flight=in_flight)


def ask(pool: ThreadPoolExecutor, lane: ThreadLane[str], name: str, timeout_s: float = LONG_S) -> Future[str]:
    return pool.submit(lane.ask, name.encode(), 0, timeout_s)


def wait_until_waiting(lane: ThreadLane[str], count: int) -> None:
    """Until so many letters lie in the tray: there is no event for it, as nobody but a test needs one."""
    never = threading.Event()
    for _ in range(10_000):
        if len(lane._tray._waiting) >= count:
            return
        never.wait(0.001)
    pytest.fail(f"never did {count} letters wait")


def test_a_lone_letter_leaves_at_once_on_its_own_thread() -> None:
    threads: list[threading.Thread] = []

    def send_alone(letter: Letter[str], timeout_s: float) -> str:
        threads.append(threading.current_thread())
        assert 0 < timeout_s <= LONG_S
        return letter.pixels.decode()

    lane = ThreadLane(Road().send, send_alone)
    assert lane.ask(b"a", 0, LONG_S) == "a"
    assert lane.ask(b"b", 0, LONG_S) == "b"
    assert threads == [threading.current_thread()] * 2


def test_letters_gather_while_the_van_is_on_the_road(pool: ThreadPoolExecutor, road: Road) -> None:
    lane = make_lane(road)
    first = ask(pool, lane, "first")
    road.wait_for(1)[0]
    others = [ask(pool, lane, str(index)) for index in range(10)]
    wait_until_waiting(lane, 10)
    road.rides[0].land()
    second = road.wait_for(2)[1]
    assert sorted(second.names) == sorted(map(str, range(10)))
    second.land()
    assert first.result(PATIENCE_S) == "first"
    assert [other.result(PATIENCE_S) for other in others] == [str(index) for index in range(10)]


def test_no_van_carries_more_than_it_may_and_no_more_vans_leave(pool: ThreadPoolExecutor, road: Road) -> None:
    lane = make_lane(road, max_batch_size=4, in_flight=2)
    calls = [ask(pool, lane, "a")]
    road.wait_for(1)
    calls.append(ask(pool, lane, "b"))
    road.wait_for(2)
    calls += [ask(pool, lane, str(index)) for index in range(6)]
    wait_until_waiting(lane, 6)
    assert len(road.rides) == 2
    road.rides[0].land()
    road.rides[1].land()
    rides = road.wait_for(4)
    assert [len(ride.names) for ride in rides] == [1, 1, 4, 2]
    rides[2].land()
    rides[3].land()
    assert len({call.result(PATIENCE_S) for call in calls}) == 8


def test_each_letter_keeps_its_own_deadline(pool: ThreadPoolExecutor, road: Road) -> None:
    lane = make_lane(road)
    first = ask(pool, lane, "first")
    road.wait_for(1)
    hasty, patient = ask(pool, lane, "hasty", 0.05), ask(pool, lane, "patient", LONG_S)
    with pytest.raises(DeadlineExceeded):
        hasty.result(PATIENCE_S)
    wait_until_waiting(lane, 1)
    road.rides[0].land()
    second = road.wait_for(2)[1]
    assert second.names == ["patient"]
    second.land()
    assert (first.result(PATIENCE_S), patient.result(PATIENCE_S)) == ("first", "patient")


def test_a_late_passenger_costs_its_neighbours_nothing(pool: ThreadPoolExecutor, road: Road) -> None:
    lane = make_lane(road)
    first = ask(pool, lane, "first")
    road.wait_for(1)
    hasty, patient = ask(pool, lane, "hasty", 0.5), ask(pool, lane, "patient", LONG_S)
    wait_until_waiting(lane, 2)
    road.rides[0].land()
    second = road.wait_for(2)[1]
    assert second.timeout_s > 1
    with pytest.raises(DeadlineExceeded):
        hasty.result(PATIENCE_S)
    second.land()
    assert (first.result(PATIENCE_S), patient.result(PATIENCE_S)) == ("first", "patient")


def test_the_clock_decides_who_is_late(pool: ThreadPoolExecutor, road: Road) -> None:
    time_s = [0.0]
    lane: ThreadLane[str] = ThreadLane(road.send, road.send_alone, in_flight=1, clock=lambda: time_s[0])
    first = ask(pool, lane, "first", 100.0)
    road.wait_for(1)
    late, patient = ask(pool, lane, "late", 40.0), ask(pool, lane, "patient", 90.0)
    wait_until_waiting(lane, 2)
    time_s[0] = 40.0
    road.rides[0].land()
    second = road.wait_for(2)[1]
    assert (second.names, second.timeout_s) == (["patient"], 50.0)
    with pytest.raises(DeadlineExceeded):
        late.result(PATIENCE_S)
    second.land()
    assert (first.result(PATIENCE_S), patient.result(PATIENCE_S)) == ("first", "patient")


def test_a_failing_van_fails_exactly_its_own_letters(pool: ThreadPoolExecutor, road: Road) -> None:
    lane = make_lane(road)
    first = ask(pool, lane, "first")
    road.wait_for(1)
    members = [ask(pool, lane, name) for name in ("a", "b")]
    wait_until_waiting(lane, 2)
    road.rides[0].land()
    second = road.wait_for(2)[1]
    outsider = ask(pool, lane, "outsider")
    wait_until_waiting(lane, 1)
    second.landing(Overloaded("full", retry_after_s=0.5))
    errors = [member.exception(PATIENCE_S) for member in members]
    assert [type(error) for error in errors] == [Overloaded, Overloaded]
    assert errors[0] is not errors[1]
    road.wait_for(3)[2].land()
    assert (first.result(PATIENCE_S), outsider.result(PATIENCE_S)) == ("first", "outsider")


def test_a_lone_failure_is_its_own(road: Road) -> None:
    def send_alone(letter: Letter[str], timeout_s: float) -> str:
        if letter.pixels == b"bad":
            raise ZeroDivisionError("oops")
        return letter.pixels.decode()

    lane = ThreadLane(road.send, send_alone, in_flight=1)
    with pytest.raises(Internal, match="oops"):
        lane.ask(b"bad", 0, LONG_S)
    assert lane.ask(b"good", 0, LONG_S) == "good"


def test_a_van_that_cannot_leave_fails_its_letters(pool: ThreadPoolExecutor) -> None:
    road = Road()

    def send(van: list[Letter[str]], timeout_s: float, landing: Landing[str]) -> None:
        raise ClientClosed("no road")

    lane = ThreadLane(send, road.send_alone, in_flight=1)
    first = ask(pool, lane, "first")
    road.wait_for(1)
    others = [ask(pool, lane, name) for name in ("a", "b")]
    wait_until_waiting(lane, 2)
    road.rides[0].land()
    assert [str(other.exception(PATIENCE_S)) for other in others] == ["no road", "no road"]
    assert first.result(PATIENCE_S) == "first"


def test_an_interrupted_caller_gives_its_van_back(road: Road) -> None:
    def send_alone(letter: Letter[str], timeout_s: float) -> str:
        if letter.pixels == b"interrupted":
            raise KeyboardInterrupt
        return letter.pixels.decode()

    lane = ThreadLane(road.send, send_alone, in_flight=1)
    with pytest.raises(KeyboardInterrupt):
        lane.ask(b"interrupted", 0, LONG_S)
    assert lane.ask(b"next", 0, LONG_S) == "next"


def test_close_ends_everything_once(pool: ThreadPoolExecutor, road: Road) -> None:
    lane = make_lane(road)
    first = ask(pool, lane, "on the road alone")
    road.wait_for(1)
    riding = [ask(pool, lane, name) for name in ("riding 1", "riding 2")]
    wait_until_waiting(lane, 2)
    road.rides[0].land()
    assert first.result(PATIENCE_S) == "on the road alone"
    second = road.wait_for(2)[1]
    waiting = ask(pool, lane, "waiting")
    wait_until_waiting(lane, 1)
    lane.close()
    lane.close()
    assert [type(each.exception(PATIENCE_S)) for each in (*riding, waiting)] == [ClientClosed] * 3
    second.land()  # the answer to the closed ones, too late: it reaches nobody
    assert len(road.rides) == 2
    with pytest.raises(ClientClosed):
        lane.ask(b"too late", 0, LONG_S)


@pytest.mark.parametrize("seed", range(5))
def test_every_caller_gets_its_own_row_in_a_crowd(pool: ThreadPoolExecutor, seed: int) -> None:
    """16 threads, 3 drivers, random failures: each caller gets its own row, or the failure of its own van."""
    choice = random.Random(seed)
    lock = threading.Lock()
    riding, most, failed = 0, 0, set[str]()

    def drive(names: list[str]) -> list[str] | Exception:
        nonlocal riding, most
        with lock:
            riding += 1
            most = max(most, riding)
            fails = choice.random() < 0.2
            failed.update(names if fails else ())
        with lock:
            riding -= 1
        return Overloaded("full") if fails else names

    def send(van: list[Letter[str]], timeout_s: float, landing: Landing[str]) -> None:
        assert len(van) <= 8
        names = [letter.pixels.decode() for letter in van]
        drivers.submit(lambda: landing(drive(names)))

    def send_alone(letter: Letter[str], timeout_s: float) -> str:
        outcome = drive([letter.pixels.decode()])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome[0]

    def call_often(thread: int) -> dict[str, str]:
        return {name: ask_once(name) for name in (f"{thread}/{index}" for index in range(100))}

    def ask_once(name: str) -> str:
        try:
            return lane.ask(name.encode(), 0, LONG_S)
        except Overloaded:
            return "failed"

    with ThreadPoolExecutor(3) as drivers:
        lane = ThreadLane(send, send_alone, max_batch_size=8, in_flight=2)
        outcomes: dict[str, str] = {}
        for results in pool.map(call_often, range(16)):
            outcomes |= results
    assert len(outcomes) == 1600
    assert outcomes == {name: "failed" if name in failed else name for name in outcomes}
    assert most <= 2
    assert 0 < len(failed) < 1600
