"""The tray where letters wait, and the vans that are loaded from it: coalescing's bookkeeping, without any waiting or sending.

It belongs to one event loop, or lies behind a lock; digitserve.coalescing says which.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import operator
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from digitserve.errors import DeadlineExceeded, DigitserveError, Internal, own_copy

Row = TypeVar("Row")

# The thread that waits for a reply may end it between a look at it and the answer.
_MAY_HAVE_GIVEN_UP = contextlib.suppress(concurrent.futures.InvalidStateError)


class Letter(Generic[Row]):
    """One caller's image on its way.

    What one caller could spoil for its neighbours in a van is refused here, where only that caller sees it.

    Attributes:
        deadline: by the lane's clock, in seconds.
        reply: a future, of asyncio or of concurrent.futures.

    Raises:
        TypeError: `top_k` is no integer.
    """

    __slots__ = ("deadline", "pixels", "reply", "top_k")

    def __init__(self, pixels: bytes, top_k: int, deadline: float, reply: Any) -> None:
        self.pixels = pixels
        self.top_k = operator.index(top_k)
        self.deadline = deadline
        self.reply = reply

    def answer(self, row: Row) -> None:
        if not self.reply.done():
            with _MAY_HAVE_GIVEN_UP:
                self.reply.set_result(row)

    def fail(self, error: DigitserveError) -> None:
        if not self.reply.done():
            with _MAY_HAVE_GIVEN_UP:
                self.reply.set_exception(own_copy(error))

    def expire(self) -> None:
        self.fail(DeadlineExceeded("no answer before the deadline"))


Van: TypeAlias = list[Letter[Row]]


class Tray(Generic[Row]):
    """The letters that wait, and how many vans are on the road."""

    def __init__(self, max_batch_size: int, in_flight: int) -> None:
        self._max_batch_size = max_batch_size
        self._free = in_flight
        self._waiting: deque[Letter[Row]] = deque()

    def put(self, letter: Letter[Row]) -> None:
        self._waiting.append(letter)

    @property
    def is_ready(self) -> bool:
        """Whether there is a free van, and something to load."""
        return self._free > 0 and bool(self._waiting)

    def load(self, now: float) -> Van[Row]:
        """Fills a van; empty if none is free or nobody waits. Each van that isn't empty must be landed."""
        van: Van[Row] = []
        while self.is_ready and len(van) < self._max_batch_size:
            letter = self._waiting.popleft()
            if letter.deadline <= now:
                letter.expire()
            if not letter.reply.done():
                van.append(letter)
        if van:
            self._free -= 1
        return van

    def land(self) -> None:
        self._free += 1

    def empty(self) -> Van[Row]:
        letters = list(self._waiting)
        self._waiting.clear()
        return letters


def deliver(van: Van[Row], rows: Sequence[Row]) -> None:
    """Row i to letter i."""
    if len(rows) != len(van):
        return fail(van, Internal(f"asked about {len(van)} images, but {len(rows)} were answered"))
    for letter, row in zip(van, rows, strict=True):
        letter.answer(row)
    return None


def fail(van: Iterable[Letter[Row]], error: Exception) -> None:
    """The same failure to each letter that is still open, each its own copy."""
    known = error if isinstance(error, DigitserveError) else Internal(f"the call failed: {error}")
    if known is not error:
        known.__cause__ = error
    for letter in van:
        letter.fail(known)


def latest_deadline(van: Van[Row]) -> float:
    """The van's own: every letter keeps its own deadline besides."""
    return max(letter.deadline for letter in van)
