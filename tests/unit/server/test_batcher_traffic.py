"""All of the batcher's laws at once, under random traffic."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import Draining, QueueFull, RecognizerError
from server.job import Answer
from tests.unit.server.vans import Bench, settle, values_of

event = st.one_of(
    st.tuples(st.just("submit"), st.integers(1, 9), st.sampled_from([None, None, 0.5, 3.0])),
    st.tuples(st.just("cancel"), st.integers(0, 40), st.none()),
    st.tuples(st.just("finish"), st.integers(0, 3), st.none()),
    st.tuples(st.just("fail"), st.integers(0, 3), st.none()),
    st.tuples(st.just("advance"), st.integers(1, 4), st.none()),
    st.tuples(st.just("settle"), st.integers(1, 1), st.none()),
    st.tuples(st.just("close"), st.integers(1, 1), st.none()),
)


@settings(max_examples=300, deadline=None)
@given(
    events=st.lists(event, max_size=60),
    max_batch_size=st.integers(1, 12),
    instances=st.integers(1, 3),
    inline=st.integers(0, 3),
    delay_ms=st.sampled_from([0.0, 0.0, 1500.0]),
)
def test_all_laws_hold_under_random_traffic(
    events: list[tuple[str, int, float | None]], max_batch_size: int, instances: int, inline: int, delay_ms: float
) -> None:
    """Random arrivals, cancels, deadlines, failures and closings: each request ends once, with its rows or a known error."""
    asyncio.run(_play_traffic(events, max_batch_size, instances, inline, delay_ms))


async def _play_traffic(
    events: list[tuple[str, int, float | None]], max_batch_size: int, instances: int, inline: int, delay_ms: float
) -> None:
    bench = Bench(
        max_batch_size=max_batch_size,
        instances=instances,
        inline_batch_size=min(inline, max_batch_size),
        min_split_size=2,
        max_queue_size=30,
        max_queue_delay_ms=delay_ms,
    )
    accepted: list[tuple[list[int], asyncio.Future[Answer]]] = []
    closings: list[asyncio.Task[None]] = []
    for kind, number, deadline in events:
        if kind == "submit":
            values = [(len(accepted) * 10 + place) % 256 for place in range(number)]
            bulk = number % 3 == 0
            try:
                answer = bench.submit(*values, deadline=deadline and bench.clock.now + deadline, bulk=bulk)
                accepted.append((values, answer))
            except QueueFull:
                assert bench.batcher._tray.count_waiting(bulk=bulk) + number > 30
            except Draining:
                assert closings
        elif kind == "cancel" and accepted:
            accepted[number % len(accepted)][1].cancel()
        elif kind in {"finish", "fail"} and bench.executor.held:
            bench.model.failure = RuntimeError() if kind == "fail" else None
            bench.executor.finish(number % len(bench.executor.held))
            bench.model.failure = None
        elif kind == "advance":
            bench.clock.advance(float(number))
        elif kind == "close":
            closings.append(asyncio.ensure_future(bench.batcher.close()))
        if kind != "submit":
            await settle()
        assert 0 <= bench.batcher.waiting <= 60 + max_batch_size
    await _finish(bench, closings)
    for values, future in accepted:
        assert future.done()
        if not future.cancelled():
            error = future.exception()
            assert error is None or isinstance(error, RecognizerError)
            assert error is not None or values_of(future.result()) == values
    assert all(len(batch) <= max_batch_size for batch in bench.model.batches)
    assert bench.batcher.waiting == 0


async def _finish(bench: Bench, closings: list[asyncio.Task[None]]) -> None:
    closings.append(asyncio.ensure_future(bench.batcher.close()))
    await settle()
    while bench.executor.held:
        bench.executor.finish()
        await settle()
    await asyncio.wait_for(asyncio.gather(*closings), 5)
