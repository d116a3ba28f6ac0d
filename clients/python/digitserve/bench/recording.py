"""What the calls of one process came to: plain arrays, cheap to append to, whole to send home."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from digitserve.bench.answers import GONE, NOT_SENT, OK, Answer


@dataclass(slots=True)
class Recording:
    """Raw figures, one entry per answered call; failed calls are counted by status and keep out of the latencies.

    Times are seconds on the machine's monotonic clock, so recordings of several processes can be merged.
    """

    due_s: array[float] = field(default_factory=lambda: array("d"))
    latency_s: array[float] = field(default_factory=lambda: array("d"))
    lag_s: array[float] = field(default_factory=lambda: array("d"))
    queue_ms: array[float] = field(default_factory=lambda: array("f"))
    compute_ms: array[float] = field(default_factory=lambda: array("f"))
    batch_size: array[int] = field(default_factory=lambda: array("I"))
    errors: Counter[str] = field(default_factory=Counter)
    error_examples: dict[str, str] = field(default_factory=dict)
    images: int = 0
    checked: int = 0
    correct: int = 0
    first_s: float = float("inf")
    last_s: float = float("-inf")
    answered_s: float = float("-inf")  # the last time that a call was answered
    gone_s: float = float("-inf")  # the last time that no server was there

    def add(self, due_s: float, sent_s: float, done_s: float, answer: Answer) -> None:
        """One call that was due, sent and done at these times. Its latency counts from when it was due."""
        self.first_s = min(self.first_s, due_s)
        self.last_s = max(self.last_s, done_s)
        if answer.code != OK:
            self.errors[answer.code] += 1
            self.error_examples.setdefault(answer.code, answer.message)
            if answer.code == GONE:
                self.gone_s = max(self.gone_s, done_s)
            return
        self.answered_s = max(self.answered_s, done_s)
        self.due_s.append(due_s)
        self.latency_s.append(done_s - due_s)
        self.lag_s.append(sent_s - due_s)
        self.queue_ms.append(answer.queue_ms)
        self.compute_ms.append(answer.compute_ms)
        self.batch_size.append(answer.batch_size)
        self.images += answer.images
        if answer.correct is not None:
            self.checked += answer.images
            self.correct += answer.correct

    def skip(self, calls: int, reason: str) -> None:
        """Calls that were due and never sent: they failed, and it was the client that failed."""
        if calls:
            self.errors[NOT_SENT] += calls
            self.error_examples.setdefault(NOT_SENT, reason)


def merge_recordings(recordings: Sequence[Recording]) -> Recording:
    """All calls of all recordings, in no particular order. Nothing is averaged, so percentiles stay exact."""
    merged = Recording()
    for one in recordings:
        for name in ("due_s", "latency_s", "lag_s", "queue_ms", "compute_ms", "batch_size"):
            getattr(merged, name).extend(getattr(one, name))
        merged.errors.update(one.errors)
        merged.error_examples = one.error_examples | merged.error_examples
        merged.images += one.images
        merged.checked += one.checked
        merged.correct += one.correct
        merged.first_s = min(merged.first_s, one.first_s)
        merged.last_s = max(merged.last_s, one.last_s)
        merged.answered_s = max(merged.answered_s, one.answered_s)
        merged.gone_s = max(merged.gone_s, one.gone_s)
    return merged
