"""What the server counts: the plain numbers behind the metrics.

Recording must be cheap, as a whole call costs some 150 microseconds: integers and lists, all of them on the event loop's
thread, so there is no lock. They get their names when somebody asks (metrics.py, scrape.py). What recording costs is in
docs/decisions/0014-metrics.md. Where metrics are off there is no Recorder, and nobody asks for one.
"""

from __future__ import annotations

import asyncio
import re
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from server.doors import name_end, watch
from server.errors import DeadlinePassed, RecognizerError
from server.histogram import CONFIDENCE, IMAGES, SECONDS, Counts, Histogram, Labels
from server.job import LEAVE_REASONS, Images, Rows

if TYPE_CHECKING:
    from server.health import HealthServicer
    from server.repository import ModelCard
    from server.servicer import Served

UNREAD_VALUES = 4096  # probabilities that wait to be counted: numpy's fixed cost is shared by some hundred images


class ModelRecord:
    """What the batcher of one model tells. `pad` says how many images a batch of so many is computed as."""

    def __init__(self, card: ModelCard, max_batch_size: int, pad: Callable[[int], int]) -> None:
        classes = len(card.class_names)
        self.batch_sizes = [0] * (max_batch_size + 1)  # batches of each size
        self.reasons = dict.fromkeys(LEAVE_REASONS, 0)
        self.waits, self.computes, self.confidences = Histogram(SECONDS), Histogram(SECONDS), Histogram(CONFIDENCE)
        self.failed = 0
        self.classes = np.zeros(classes, np.int64)
        self.results = {"sure": 0, "unsure": 0, "blank": 0}
        self._threshold = card.threshold
        self._pad = pad
        self._unread: list[tuple[Images, Any]] = []
        self._unread_values = 0

    def note_batch(self, reason: str, images: Images, rows: Rows, compute_s: float, waits_s: Sequence[float]) -> None:
        self.reasons[reason] += 1
        self.batch_sizes[len(images)] += 1
        self.computes.observe(compute_s)
        for wait_s in waits_s:
            self.waits.observe(wait_s)
        probabilities = rows[0]
        self._unread.append((images, probabilities))
        self._unread_values += probabilities.size
        if self._unread_values >= UNREAD_VALUES:
            self.count_answers()

    def note_failure(self, reason: str) -> None:
        self.reasons[reason] += 1
        self.failed += 1

    def count_answers(self) -> None:
        """Counts the classes and confidences of what has been answered since the last time."""
        if not self._unread:
            return
        images = np.concatenate([images for images, _ in self._unread])
        probabilities = np.concatenate([probabilities for _, probabilities in self._unread])
        self._unread, self._unread_values = [], 0
        probabilities = probabilities[images.reshape(len(images), -1).max(axis=1) > 0]  # the blank have no class
        confidences = probabilities.max(axis=1)
        self.classes += np.bincount(probabilities.argmax(axis=1), minlength=len(self.classes))
        buckets = np.bincount(np.searchsorted(CONFIDENCE, confidences), minlength=len(CONFIDENCE) + 1)
        self.confidences.counts = [old + new for old, new in zip(self.confidences.counts, buckets.tolist(), strict=True)]
        self.confidences.sum += float(confidences.sum())
        unsure = int((confidences < self._threshold).sum())
        self.results["unsure"] += unsure
        self.results["sure"] += len(confidences) - unsure
        self.results["blank"] += len(images) - len(confidences)

    def read_batch_sizes(self) -> Counts:
        sizes = Histogram(IMAGES)
        for size, batches in enumerate(self.batch_sizes):
            if batches:
                sizes.counts[bisect_left(IMAGES, size)] += batches
                sizes.sum += size * batches
        return sizes.read()

    def count_padding(self) -> int:
        """Images that were computed for nothing, to fill a batch up to a size that the device is prepared for."""
        return sum(batches * (self._pad(size) - size) for size, batches in enumerate(self.batch_sizes) if batches)


class Calls:
    """The calls of one RPC. `statuses` are those of the calls that have ended."""

    __slots__ = ("begun", "seconds", "statuses", "succeeded")

    def __init__(self) -> None:
        self.begun = self.succeeded = 0
        self.statuses: dict[str, int] = {}
        self.seconds = Histogram(SECONDS)

    def read_statuses(self) -> dict[str, int]:
        return {"OK": self.succeeded} | self.statuses

    def count_running(self) -> int:
        return self.begun - sum(self.read_statuses().values())


class Recorder:
    """Keeps the numbers. `models`, `health` and `refused` are looked at when somebody asks, and only then."""

    def __init__(self, models: Mapping[str, Served], health: HealthServicer, refused: Iterable[Labels]) -> None:
        self._models = models
        self.health = health
        self.refused = refused
        self.calls: dict[str, Calls] = {}
        self.framing = {"loop": Histogram(SECONDS), "thread": Histogram(SECONDS)}
        self.drops = dict.fromkeys([*map(name_drop, list_errors()), "cancelled", "internal"], 0)

    def open_record(self, card: ModelCard, max_batch_size: int, pad: Callable[[int], int]) -> ModelRecord:
        """For a model's batcher to write into; it is read as long as the model is served."""
        return ModelRecord(card, max_batch_size, pad)

    def list_models(self) -> Iterator[tuple[Labels, Served, ModelRecord]]:
        """Each model once, with its labels."""
        for one in {id(one): one for one in self._models.values()}.values():
            if isinstance(record := one.batcher.recorder, ModelRecord):
                record.count_answers()
                yield (one.card.name, one.card.version), one, record

    def note_framing(self, where: str, seconds: float) -> None:
        self.framing[where].observe(seconds)

    def note_drop(self, error: BaseException) -> None:
        """A call, or a request of a stream, that got an error for its answer."""
        self.drops[name_drop(type(error))] = self.drops.get(name_drop(type(error)), 0) + 1

    def watch(self, servicer: Any) -> Any:
        """The RPCs of a servicer, each with somebody at the door who counts and takes the time."""
        calls = self.calls.setdefault
        return watch(
            servicer,
            lambda name, method: self._watch_unary(calls(name, Calls()), method),
            lambda name, method: self._watch_stream(calls(name, Calls()), method),
        )

    def _watch_unary(self, calls: Calls, method: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def answer(request: Any, context: Any) -> Any:
            calls.begun += 1
            started_at = time.perf_counter()
            try:
                answer = await method(request, context)
            except BaseException as error:
                self._note_failure(calls, error, context)
                del request  # see statuses.abort()
                raise
            finally:
                calls.seconds.observe(time.perf_counter() - started_at)
            calls.succeeded += 1
            return answer

        return answer

    def _watch_stream(self, calls: Calls, method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        async def answer(requests: Any, context: Any) -> Any:
            calls.begun += 1
            started_at = time.perf_counter()
            try:
                async with aclosing(method(requests, context)) as answers:
                    async for item in answers:
                        yield item
            except BaseException as error:
                self._note_failure(calls, error, context)
                raise
            finally:
                calls.seconds.observe(time.perf_counter() - started_at)
            calls.succeeded += 1

        return answer

    def _note_failure(self, calls: Calls, error: BaseException, context: Any) -> None:
        status = name_end(error, context)
        cause: BaseException | None = error
        if isinstance(error, grpc.aio.AbortError):  # abort() was called while the cause was being handled
            cause = error.__context__
        elif status is grpc.StatusCode.DEADLINE_EXCEEDED:
            cause = DeadlinePassed("")
        elif status is grpc.StatusCode.CANCELLED:
            cause = asyncio.CancelledError()
        calls.statuses[status.name] = calls.statuses.get(status.name, 0) + 1
        self.note_drop(cause or error)


def name_drop(kind: type[BaseException]) -> str:
    """QueueFull is queue_full: the names of errors.py, and two for what is not in it."""
    if issubclass(kind, RecognizerError):
        return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
    return "cancelled" if issubclass(kind, asyncio.CancelledError) else "internal"


def list_errors(root: type[RecognizerError] = RecognizerError) -> list[type[RecognizerError]]:
    """Every class of the tree."""
    return [kind for child in root.__subclasses__() for kind in (child, *list_errors(child))]
