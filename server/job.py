"""One request on its way through the batcher: in one piece, or in several if it is large; and the batch that takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Images: TypeAlias = NDArray[np.uint8]
Rows: TypeAlias = tuple[NDArray[np.float32], ...]

# Why a batch left: a lone request, without the tray; those that came in one round of the event loop; a crowd that has
# gathered, or was complete or filled an inline batch before that; max_queue_delay_ms is over; an instance became free; all
# work, and it was full, so that more company can't come; the last ones.
LEAVE_REASONS = ("at_once", "same_round", "gathered", "gathered_full", "delay", "free_instance", "full", "closing")


class Answer(NamedTuple):
    """What a request gets. (A tuple, as one is made for each call: it is built in a third of a dataclass's time.)

    Attributes:
        rows: for each output of `run`, an array with one row for each image of the request; the first output alone unless the
            request was to be explained.
        queue_ms: from the request's arrival to the start of its first batch.
        compute_ms: the time of its batch; of the slowest, if it was split.
        batch_size: images in its batch; in the largest, if it was split.
    """

    rows: Rows
    queue_ms: float
    compute_ms: float
    batch_size: int


class Job:
    """One request's way through the tray. A large one leaves in several pieces."""

    __slots__ = (
        "arrived_at",
        "batch_size",
        "compute_s",
        "deadline",
        "explain",
        "future",
        "images",
        "parts",
        "size",
        "started_at",
        "taken",
    )

    def __init__(
        self, images: Images, arrived_at: float, deadline: float | None, future: asyncio.Future[Answer], explain: bool
    ) -> None:
        self.images = images
        self.size = len(images)
        self.arrived_at = arrived_at
        self.deadline = deadline
        self.future = future
        self.explain = explain
        self.taken = 0
        self.started_at = arrived_at
        self.compute_s = 0.0
        self.batch_size = 0
        self.parts: dict[int, Rows] = {}

    def is_wanted(self, now: float) -> bool:
        """Whether somebody still waits for it, and in time. May be asked on any thread."""
        return not self.future.done() and (self.deadline is None or now <= self.deadline)

    def add(self, start: int, rows: Rows, compute_s: float, batch_size: int) -> None:
        """Takes the rows of one piece, and answers the caller with the last of them."""
        if self.future.done():
            return
        self.compute_s = max(self.compute_s, compute_s)
        self.batch_size = max(self.batch_size, batch_size)
        if len(rows[0]) < self.size:
            self.parts[start] = rows
            if sum(len(part[0]) for part in self.parts.values()) < self.size:
                return
            ordered = [self.parts[key] for key in sorted(self.parts)]
            rows = tuple(np.concatenate(column) for column in zip(*ordered, strict=True))
        queue_ms = (self.started_at - self.arrived_at) * 1e3
        self.future.set_result(Answer(rows, queue_ms, self.compute_s * 1e3, self.batch_size))


class Piece(NamedTuple):
    job: Job
    start: int
    stop: int


class Batch(NamedTuple):
    """What runs together, and why it left: one of LEAVE_REASONS."""

    pieces: list[Piece]
    images: Images
    reason: str

    def begin(self, now: float) -> Batch:
        """What of it an instance has to run: all but those who have gone or are late since the batch left."""
        wanted = [piece for piece in self.pieces if piece.job.is_wanted(now)]
        for piece in wanted:
            if not piece.start:
                piece.job.started_at = now
        if len(wanted) == len(self.pieces):
            return self
        return Batch(wanted, stack(wanted) if wanted else self.images[:0], self.reason)

    def is_to_explain(self) -> bool:
        """Whether one of its requests is."""
        return any(piece.job.explain for piece in self.pieces)

    def waits_s(self) -> list[float]:
        """How long each request that begins in this batch has waited."""
        return [piece.job.started_at - piece.job.arrived_at for piece in self.pieces if not piece.start]


class Outcome(NamedTuple):
    """What an instance has run of a batch, when it began, and what came of it: rows, or what went wrong."""

    batch: Batch
    started_at: float
    result: Rows | Exception
    compute_s: float


@dataclass(slots=True, eq=False)
class Errand:
    """A batch on its way to an instance, and when it should be done; None while it stands by."""

    batch: Batch
    due: float | None = None


class Standby(NamedTuple):
    """An errand that waits for an instance; whether it may be taken back; and what the executor makes of it.

    (The errand itself does not know the latter, whose callback knows the errand: they would keep each other, and the images.)
    """

    errand: Errand
    yields: bool
    work: Future[Outcome]


class Recorder(Protocol):
    """Somebody who is told of every batch, on the event loop's thread, once it has run."""

    def note_batch(self, reason: str, images: Images, rows: Rows, compute_s: float, waits_s: Sequence[float]) -> None: ...

    def note_failure(self, reason: str) -> None: ...


def stack(pieces: list[Piece]) -> Images:
    """The images of a batch, one after another; no copy if there is but one piece."""
    if len(pieces) == 1:
        piece = pieces[0]
        return piece.job.images[piece.start : piece.stop]
    return np.concatenate([piece.job.images[piece.start : piece.stop] for piece in pieces])
