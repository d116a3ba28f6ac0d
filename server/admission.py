"""Whether a request can be answered in time: how long batches take, and what is ahead of it."""

from __future__ import annotations

from collections.abc import Mapping

from server.errors import DeadlinePassed, InvalidRequest, QueueFull, RecognizerError, WaitTooLong
from server.tray import Tray

MEMORY = 0.9  # what a batch still counts when the next one is noted: about ten are remembered
SAFETY = 1.2  # a wait takes longer than predicted now and then, and an answer after the deadline is work for nothing


class Pace:
    """A batch takes a fixed time and one for each image, as measured at the start; shared cores stretch both alike.

    Only the stretch is learnt, so that lone images, which are dear, do not make a full batch look slow.
    """

    def __init__(self, times_ms: Mapping[int, float]) -> None:
        """
        Args:
            times_ms: milliseconds of a batch of each measured size.
        """
        small, large = min(times_ms), max(times_ms)
        more_ms = (times_ms[large] - times_ms[small]) / max(1, large - small)
        self._image_s = (more_ms if more_ms > 0 else times_ms[large] / large) / 1e3
        self._fixed_s = max(0.0, times_ms[small] / 1e3 - small * self._image_s)
        self._expected_s = self._taken_s = self._fixed_s + self._image_s  # both fade, and so does whatever was wrong

    def predict_s(self, images: int, batches: float = 1.0) -> float:
        """Seconds of an instance's time."""
        return self._taken_s / self._expected_s * (batches * self._fixed_s + images * self._image_s)

    def note(self, images: int, seconds: float) -> None:
        """A batch has kept an instance busy for so long."""
        self._expected_s = MEMORY * self._expected_s + self._fixed_s + images * self._image_s
        self._taken_s = MEMORY * self._taken_s + seconds


class Admission:
    """Knows what waits and what runs, and refuses what would come too late.

    It is not asked where an instance is free and the tray holds less than a batch: so a wrong prediction heals.
    """

    def __init__(
        self, tray: Tray, pace: Pace, *, instances: int, max_batch_size: int, max_queue_size: int, max_queue_wait_ms: float
    ) -> None:
        self._tray = tray
        self._pace = pace
        self._instances = instances
        self._max_batch_size = max_batch_size
        self._max_queue_size = max_queue_size
        self._max_queue_wait_ms = max_queue_wait_ms
        self._dues: list[float] = []  # when the batches that run should be done
        self.standing_by = 0  # images that have left the tray, and wait for an instance

    def note_start(self, images: int, now: float) -> float:
        """A batch begins to run. Returns when it should be done."""
        due = now + self._pace.predict_s(images)
        self._dues.append(due)
        return due

    def note_end(self, images: int, seconds: float, due: float) -> None:
        self._dues.remove(due)
        if images:  # else all had gone before it began
            self._pace.note(images, seconds)

    def predict_wait_s(self, now: float, *, bulk: bool) -> float:
        """How long a request that came now would wait for its first batch."""
        ahead = self._tray.count_ahead(bulk=bulk) + self.standing_by
        running_s = sum([max(0.0, due - now) for due in self._dues])
        return (running_s + self._pace.predict_s(ahead, ahead / self._max_batch_size)) / self._instances

    def admit(self, size: int, deadline: float | None, now: float, *, bulk: bool) -> None:
        """Refuses a request that has no room or can't be answered in time, once the tray is rid of those who have gone.

        Raises:
            DeadlinePassed, InvalidRequest, QueueFull, WaitTooLong.
        """
        limit = self._max_queue_size
        if size > limit:
            raise InvalidRequest(f"{size} images in one call; at most {limit} are accepted: send several calls", field="images")
        if deadline is not None and now > deadline:
            raise DeadlinePassed("the deadline passed before the request came to the queue")
        refusal = self._find_obstacle(size, deadline, now, bulk=bulk)
        if refusal and self._tray.clear_out(now):
            refusal = self._find_obstacle(size, deadline, now, bulk=bulk)
        if refusal:
            try:
                raise refusal
            finally:
                del refusal  # else it and this frame hold each other, and the request, until the garbage collector comes by

    def _find_obstacle(self, size: int, deadline: float | None, now: float, *, bulk: bool) -> RecognizerError | None:
        waiting, limit = self._tray.count_waiting(bulk=bulk), self._max_queue_size
        wait_s = self.predict_wait_s(now, bulk=bulk)
        wait_ms = max(1.0, wait_s * 1e3)
        if waiting + size > limit:
            return QueueFull(
                f"the queue is full: {waiting} images wait and this call brings {size}, at most {limit} may wait; "
                f"try again in {wait_ms:.0f} ms",
                retry_after_ms=wait_ms,
            )
        if not bulk and wait_s * 1e3 > self._max_queue_wait_ms:
            return WaitTooLong(
                f"the wait would be {wait_ms:.0f} ms, and at most {self._max_queue_wait_ms:.0f} ms are allowed; "
                f"try again in {wait_ms:.0f} ms",
                retry_after_ms=wait_ms,
            )
        if deadline is None:
            return None
        left_s = deadline - now
        alone_s = self._predict_own_s(size, 0)
        if alone_s > left_s:  # no time to come back after would be true
            return WaitTooLong(
                f"the answer takes {alone_s * 1e3:.0f} ms by itself, and the deadline is in {left_s * 1e3:.0f} ms: "
                "allow more time, or send fewer images at once"
            )
        answer_s = SAFETY * wait_s + self._predict_own_s(size, self._tray.count_ahead(bulk=bulk))
        if answer_s > left_s:
            return WaitTooLong(
                f"the answer would take {answer_s * 1e3:.0f} ms, and the deadline is in {left_s * 1e3:.0f} ms; "
                f"try again in {wait_ms:.0f} ms",
                retry_after_ms=wait_ms,
            )
        return None

    def _predict_own_s(self, size: int, ahead: int) -> float:
        """From the start of its first batch to the end of its last; those ahead, and those who come yet, ride along."""
        full = self._max_batch_size
        beyond = max(0, size - full)
        riding = min(full, ahead + size)
        return self._pace.predict_s(riding) + self._pace.predict_s(beyond, beyond / full) / self._instances
