"""The numbers behind the metrics: what is counted where, and that counting late counts the same."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest

from server import errors, recorder
from server.errors import DeadlinePassed, QueueFull, RecognizerError
from server.histogram import CONFIDENCE, IMAGES, SECONDS, Histogram
from server.job import LEAVE_REASONS, Images, Rows
from server.recorder import ModelRecord, Recorder, name_drop
from tests.in_process import CARD, read_stamps, stamp
from tests.unit.server.vans import Bench, make_images, played, settle

CARD = dataclasses.replace(CARD, threshold=0.5)


def make_record(pad: int = 0) -> ModelRecord:
    return ModelRecord(CARD, 64, lambda size: max(size, pad))


def make_stamps(*numbers: int) -> Images:
    return np.frombuffer(b"".join(map(stamp, numbers)), np.uint8).reshape(-1, 28, 28)


@pytest.mark.parametrize("bounds", [SECONDS, IMAGES, CONFIDENCE])
def test_buckets_rise(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


def test_a_histogram_counts_a_bound_as_within_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 99.0):
        histogram.observe(value)
    assert histogram.read() == ([2, 2, 1], 104.0)


def test_a_batch_is_counted_under_everything_that_is_known_of_it() -> None:
    record = make_record(pad=8)
    images = make_stamps(1, 1, 7)
    record.note_batch("gathered", images, read_stamps(images), 0.002, [0.0, 0.3])
    record.note_failure("at_once")
    record.count_answers()
    assert {reason: number for reason, number in record.reasons.items() if number} == {"gathered": 1, "at_once": 1}
    assert record.failed == 1
    assert record.computes.read()[1] == 0.002
    assert sum(record.waits.counts) == 2
    sizes, total = record.read_batch_sizes()
    assert (sizes[IMAGES.index(4.0)], sum(sizes), total) == (1, 1, 3.0)
    assert record.count_padding() == 5
    assert record.classes.tolist() == [0, 2, 0, 0, 0, 0, 0, 1, 0, 0]


def test_sure_unsure_and_blank_images_are_told_apart() -> None:
    record = make_record()
    images = np.concatenate([make_stamps(3, 4, 5), np.zeros((2, 28, 28), np.uint8)])
    probabilities = np.full((5, 10), 0.01, np.float32)
    probabilities[[0, 1, 2, 3, 4], [3, 4, 5, 0, 0]] = [0.95, 0.5, 0.25, 0.99, 0.99]
    record.note_batch("same_round", images, (probabilities,), 0.001, [0.0])
    record.count_answers()
    assert record.results == {"sure": 2, "unsure": 1, "blank": 2}
    assert record.classes.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0], "the blank have no class"
    counts, total = record.confidences.read()
    assert {CONFIDENCE[index]: number for index, number in enumerate(counts) if number} == {0.3: 1, 0.5: 1, 0.95: 1}
    assert total == pytest.approx(1.7)


def test_counting_late_counts_the_same_and_holds_little(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(7)
    batches = [generator.integers(0, 10, generator.integers(1, 20)) for _ in range(300)]
    at_once, late = make_record(), make_record()
    for numbers in batches:
        images = make_stamps(*numbers.tolist())
        for record in (at_once, late):
            record.note_batch("same_round", images, read_stamps(images), 0.001, [0.0])
            assert record._unread_values < recorder.UNREAD_VALUES
        at_once.count_answers()
    late.count_answers()
    assert at_once.classes.tolist() == late.classes.tolist() == np.bincount(np.concatenate(batches), minlength=10).tolist()
    assert at_once.results == late.results
    assert at_once.confidences.counts == late.confidences.counts


def test_only_blank_images_are_no_reason_to_stumble() -> None:
    record = make_record()
    images = np.zeros((2, 28, 28), np.uint8)
    record.note_batch("same_round", images, read_stamps(images), 0.001, [0.0])
    record.count_answers()
    assert (record.results["blank"], record.classes.sum()) == (2, 0)


def test_every_error_of_ours_is_a_reason_from_the_start() -> None:
    raised = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RecognizerError)}
    names = {name_drop(kind) for kind in raised - {RecognizerError}}
    drops = make_recorder().drops
    assert names | {"cancelled", "internal"} <= set(drops)
    assert set(drops.values()) == {0}
    assert {"queue_full", "deadline_passed", "draining", "invalid_request"} <= names
    assert name_drop(KeyError) == "internal"


class Told:
    """A recorder that remembers why batches left, how large they were and how long their requests had waited."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, int, list[float]]] = []
        self.failures: list[str] = []

    def note_batch(self, reason: str, images: Images, rows: Rows, compute_s: float, waits_s: Any) -> None:
        self.batches.append((reason, len(images), list(waits_s)))
        assert len(rows[0]) == len(images)

    def note_failure(self, reason: str) -> None:
        self.failures.append(reason)


def told_bench(**limits: float) -> tuple[Bench, Told]:
    bench, told = Bench(**limits), Told()
    bench.batcher.recorder = told
    return bench, told


@played
async def test_the_batcher_tells_of_a_lone_request() -> None:
    bench, told = told_bench(inline_batch_size=2)
    assert bench.batcher.answer_at_once(make_images(7)) is not None
    assert told.batches == [("at_once", 1, [0.0])]


@played
async def test_the_batcher_tells_who_came_together_and_who_waited_for_an_instance() -> None:
    bench, told = told_bench(max_batch_size=8)
    first = [bench.submit(1), bench.submit(2, 3)]
    await settle()
    assert bench.batcher.running == 1
    waiting = bench.submit(4)
    bench.executor.finish()
    await settle()
    bench.clock.advance(0.25)
    bench.executor.finish()
    await asyncio.gather(*first, waiting)
    assert told.batches == [("same_round", 3, [0.0, 0.0]), ("free_instance", 1, [0.25])]
    assert bench.batcher.running == 0


@played
async def test_the_batcher_tells_which_batch_has_stood_by() -> None:
    bench, told = told_bench(max_batch_size=2)
    answers = [bench.submit(1), bench.submit(2, 3), bench.submit(4)]
    while bench.executor.held or not all(one.done() for one in answers):
        await settle()
        bench.executor.finish()
        await settle()
    assert [(reason, size) for reason, size, _ in told.batches] == [("same_round", 2), ("full", 2)]


@played
async def test_a_request_in_pieces_has_waited_once() -> None:
    bench, told = told_bench(max_batch_size=2)
    large = bench.submit(1, 2, 3)
    for _ in range(2):
        await settle()
        bench.executor.finish()
    await large
    assert [(size, len(waits)) for _, size, waits in told.batches] == [(2, 1), (1, 0)]


@played
async def test_the_batcher_tells_of_a_crowd_that_has_gathered_or_filled_a_batch() -> None:
    bench, told = told_bench(inline_batch_size=5, crowd_gather_ms=2.0)
    bench.batcher._crowds[0].has_gathered(99)

    def come(value: int) -> asyncio.Future[Any]:
        return bench.batcher.submit(make_images(value), may_gather=True)

    few = [come(value) for value in range(4)]
    bench.clock.advance(0.01)
    await asyncio.gather(*few)
    many = [come(value) for value in range(5)]
    await asyncio.gather(*many)
    assert [(reason, size) for reason, size, _ in told.batches] == [("gathered", 4), ("gathered_full", 5)]


@played
async def test_the_batcher_tells_of_a_delay_that_is_over_and_of_the_last_ones() -> None:
    bench, told = told_bench(inline_batch_size=4, max_queue_delay_ms=10.0)
    held_back = bench.submit(1)
    await settle()
    bench.clock.advance(0.02)
    await held_back
    last = bench.submit(2)
    await bench.batcher.close()
    await last
    assert [reason for reason, *_ in told.batches] == ["delay", "closing"]


@played
async def test_the_batcher_tells_of_a_failure_and_of_nothing_else_then() -> None:
    bench, told = told_bench(inline_batch_size=1)
    bench.model.failure = RuntimeError("no")
    with pytest.raises(RecognizerError):
        await bench.submit(1)
    with pytest.raises(RecognizerError):
        bench.batcher.answer_at_once(make_images(1))
    assert (told.batches, told.failures) == ([], ["same_round", "at_once"])


def test_every_reason_to_leave_is_tested_here() -> None:
    with open(__file__, encoding="utf-8") as source:
        text = source.read()
    assert [reason for reason in LEAVE_REASONS if f'"{reason}"' not in text] == []


def make_recorder() -> Recorder:
    health: Any = SimpleNamespace(is_serving=lambda: True)
    return Recorder({}, health, [])


class Context:
    """A call's context; `remaining` is what is left of its deadline."""

    def __init__(self, remaining: float | None = None) -> None:
        self.remaining = remaining

    def time_remaining(self) -> float | None:
        return self.remaining

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.RESOURCE_EXHAUSTED


class Servicer:
    """An RPC that returns its request or raises it, and one that streams; and what is no RPC."""

    other = "left alone"

    async def Ask(self, request: Any, context: Any) -> Any:  # noqa: N802  # the name of an RPC
        if isinstance(request, BaseException):
            raise request
        return request

    async def Flow(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        for request in requests:
            yield await self.Ask(request, context)


def ask(seen: Recorder, request: Any, context: Any = None) -> Any:
    return asyncio.run(seen.watch(Servicer()).Ask(request, context or Context()))


def abort_for(cause: Exception) -> BaseException:
    """What leaves a method whose error became a status."""
    try:
        try:
            raise cause
        except Exception:
            raise grpc.aio.AbortError("Locally aborted.")  # noqa: B904  # as grpc raises it
    except grpc.aio.AbortError as error:
        aborted: BaseException = error
        return aborted


def test_a_watched_call_answers_the_same() -> None:
    seen = make_recorder()
    assert ask(seen, "answer") == "answer"
    calls = seen.calls["Ask"]
    assert (calls.read_statuses(), calls.count_running(), sum(calls.seconds.counts)) == ({"OK": 1}, 0, 1)
    assert not hasattr(seen.watch(Servicer()), "other")


@pytest.mark.parametrize(
    ("error", "remaining", "status", "reason"),
    [
        (abort_for(QueueFull("full")), 5.0, "RESOURCE_EXHAUSTED", "queue_full"),
        (abort_for(KeyError("a bug")), 5.0, "RESOURCE_EXHAUSTED", "internal"),
        (asyncio.CancelledError(), 5.0, "CANCELLED", "cancelled"),
        (asyncio.CancelledError(), None, "CANCELLED", "cancelled"),
        (asyncio.CancelledError(), 0, "DEADLINE_EXCEEDED", "deadline_passed"),
        (RuntimeError("not even an abort"), None, "UNKNOWN", "internal"),
    ],
)
def test_a_watched_call_fails_the_same(error: BaseException, remaining: float | None, status: str, reason: str) -> None:
    seen = make_recorder()
    with pytest.raises(type(error)):
        ask(seen, error, Context(remaining))
    assert seen.calls["Ask"].read_statuses() == {"OK": 0, status: 1}
    assert {name: number for name, number in seen.drops.items() if number} == {reason: 1}
    assert seen.calls["Ask"].count_running() == 0


def test_a_watched_stream_is_one_call_and_is_closed_with_its_reader() -> None:
    seen = make_recorder()

    async def run() -> None:
        flow = seen.watch(Servicer()).Flow
        assert [item async for item in flow([1, 2, 3], Context())] == [1, 2, 3]
        with pytest.raises(DeadlinePassed):
            _ = [item async for item in flow([1, DeadlinePassed("late")], Context())]
        left = flow([1, 2], Context())
        assert await anext(left) == 1
        assert seen.calls["Flow"].count_running() == 1
        await left.aclose()

    asyncio.run(run())
    assert seen.calls["Flow"].read_statuses() == {"OK": 1, "UNKNOWN": 1, "CANCELLED": 1}
    assert seen.calls["Flow"].count_running() == 0


def test_a_call_under_way_is_seen() -> None:
    seen = make_recorder()

    async def run() -> int:
        gate: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        class Slow:
            async def Ask(self, request: Any, context: Any) -> int:  # noqa: N802
                return await gate

        call = asyncio.ensure_future(seen.watch(Slow()).Ask(None, Context()))
        await settle()
        running = seen.calls["Ask"].count_running()
        gate.set_result(1)
        await call
        return running

    assert asyncio.run(run()) == 1
    assert seen.calls["Ask"].count_running() == 0
