from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest
from digitserve.bench import load
from digitserve.bench.load import poisson_arrivals, run_closed, run_open, share_indices
from digitserve.bench.recording import Recording

from tests.unit.bench.virtual_time import OneAtATime, run_virtually


async def closed(server: OneAtATime, concurrency: int, seconds: float | None, calls: int | None) -> Recording:
    clock = asyncio.get_running_loop().time
    return await run_closed(server, share_indices(0, 1, server.size), concurrency, seconds, calls, clock)


async def opened(server: OneAtATime, arrivals: list[float], seconds: float | None = None) -> Recording:
    return await run_open(server, share_indices(0, 1, server.size), arrivals, seconds, asyncio.get_running_loop().time)


def test_poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    gaps_s = np.diff(list(poisson_arrivals(200, 100, None, 1)))
    assert len(gaps_s) == pytest.approx(20_000, rel=0.03)
    assert gaps_s.mean() == pytest.approx(1 / 200, rel=0.03)
    assert gaps_s.std() == pytest.approx(1 / 200, rel=0.03)  # of an exponential, as large as the mean


def test_poisson_arrivals_end_at_the_time_or_the_count() -> None:
    assert max(poisson_arrivals(1000, 0.5, None, 1)) < 0.5
    assert len(list(poisson_arrivals(1000, None, 7, 1))) == 7


def test_poisson_arrivals_repeat_with_the_seed_and_differ_without() -> None:
    first, same, other = (list(poisson_arrivals(10, None, 5, seed)) for seed in ([1, 0], [1, 0], [1, 1]))
    assert first == same
    assert first != other


def test_shares_cover_every_request_once_before_any_comes_again() -> None:
    sent = [index for share in range(3) for index in itertools.islice(share_indices(share, 3, 12), 4)]
    assert sorted(sent) == list(range(12))


def test_a_closed_loop_keeps_exactly_its_concurrency_in_flight() -> None:
    server = OneAtATime(0.1)
    recording = run_virtually(closed(server, 4, None, 20))
    assert server.most_in_flight == 4
    assert len(recording.latency_s) == 20
    assert max(recording.latency_s) == pytest.approx(0.4)
    assert recording.last_s - recording.first_s == pytest.approx(2.0)


def test_a_closed_loop_takes_its_time_with_a_server_that_has_gone() -> None:
    server = OneAtATime(0.001, code="UNAVAILABLE")
    assert run_virtually(closed(server, 2, 1.0, None)).errors.total() == pytest.approx(2 / load.PAUSE_S, rel=0.1)


def test_a_closed_loop_stops_asking_when_its_time_is_up_and_waits_for_its_answers() -> None:
    recording = run_virtually(closed(OneAtATime(0.3), 1, 1.0, None))
    assert len(recording.latency_s) == 4
    assert recording.last_s == pytest.approx(1.2)


def test_an_open_loop_counts_from_the_intended_start_so_a_pause_reaches_every_call_that_was_due_in_it() -> None:
    arrivals = [0.1 * number for number in range(100)]  # one each 0.1 s; served in 0.01 s, but for a pause of 5 s
    recording = run_virtually(opened(OneAtATime(0.01, pause_at_s=2.0, pause_s=5.0), arrivals))
    slow = [latency_s for latency_s in recording.latency_s if latency_s > 0.1]
    assert len(slow) > 50
    assert max(recording.latency_s) == pytest.approx(5.01, abs=0.02)
    assert np.median(recording.latency_s) > 0.1


def test_a_closed_loop_shows_the_same_pause_in_one_latency_only() -> None:
    recording = run_virtually(closed(OneAtATime(0.01, pause_at_s=2.0, pause_s=5.0), 1, 10.0, None))
    assert sum(latency_s > 0.1 for latency_s in recording.latency_s) == 1


def test_an_open_loop_does_not_wait_for_a_server_that_is_too_slow() -> None:
    server = OneAtATime(0.2)  # twice as slow as the arrivals
    recording = run_virtually(opened(server, [0.1 * number for number in range(50)]))
    assert server.most_in_flight > 20
    assert max(recording.latency_s) == pytest.approx(50 * 0.2 - 49 * 0.1)


def test_an_open_loop_whose_own_start_is_late_says_so_as_lag_and_counts_it_as_latency() -> None:
    async def late() -> Recording:
        clock = asyncio.get_running_loop().time
        busy_until_s = itertools.chain([0.0], itertools.repeat(3.0))  # the start, then a client that was away for 3 s
        return await run_open(OneAtATime(0.01), iter([0]), [1.0], None, lambda: max(clock(), next(busy_until_s)))

    recording = run_virtually(late())
    assert recording.lag_s[0] == pytest.approx(2.0)
    assert recording.latency_s[0] >= 2.0


def test_an_open_loop_has_no_more_under_way_than_it_can_hold_and_counts_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MAX_IN_FLIGHT", 4)
    server = OneAtATime(1.0)
    recording = run_virtually(opened(server, [0.01 * number for number in range(10)]))
    assert (server.most_in_flight, len(recording.latency_s)) == (4, 4)
    assert recording.errors == {"NOT_SENT": 6}
    assert recording.error_examples == {"NOT_SENT": "4 calls of this process were under way already"}


def test_an_open_loop_that_is_late_ends_with_its_duration_and_counts_what_it_never_sent() -> None:
    async def slow_client() -> Recording:
        passed_s = itertools.count(0.0, 0.1)  # each look at the clock costs this client 0.1 s
        return await run_open(OneAtATime(0.0), itertools.count(), [0.001] * 100, 1.0, lambda: next(passed_s))

    recording = run_virtually(slow_client())
    made = len(recording.latency_s)
    assert 0 < made < 20
    assert recording.errors == {"NOT_SENT": 100 - made}
    assert recording.error_examples["NOT_SENT"].startswith("the duration was over")
