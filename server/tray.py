"""The tray: what waits, in two lines, interactive and bulk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from server.errors import DeadlinePassed
from server.job import Job, Piece

TURN = 4  # of so many batches in a row, one is bulk's, if bulk waits
MEMORY = 0.95  # what a batch still counts when the next one is noted
CLEAR_EVERY_S = 0.01  # looking at all who wait takes a while, and a flood would ask for it at each call


class Line:
    """Those of one priority, in the order of their arrival. `images` are what is left of them."""

    __slots__ = ("images", "jobs")

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()
        self.images = 0

    def put(self, job: Job) -> None:
        self.jobs.append(job)
        self.images += job.size

    def take(self, room: int, now: float) -> list[Piece]:
        """Up to `room` images of those who still wait for them."""
        pieces: list[Piece] = []
        while self.jobs and room:
            job = self.jobs[0]
            if is_lost(job, now):
                self.jobs.popleft()
                self.images -= job.size - job.taken
                continue
            if not job.taken:
                job.started_at = now
            stop = min(job.size, job.taken + room)
            pieces.append(Piece(job, job.taken, stop))
            room -= stop - job.taken
            self.images -= stop - job.taken
            job.taken = stop
            if stop == job.size:
                self.jobs.popleft()
        return pieces

    def put_back(self, pieces: list[Piece]) -> None:
        """What was taken last, in front, with whatever is left of it: who had gone by then may have been cleared out."""
        for piece in reversed(pieces):
            if self.jobs and self.jobs[0] is piece.job:
                self.images += piece.stop - piece.start
            else:
                self.jobs.appendleft(piece.job)
                self.images += piece.job.size - piece.start
            piece.job.taken = piece.start

    def clear_out(self, now: float) -> None:
        self.jobs = deque(job for job in self.jobs if not is_lost(job, now))
        self.images = sum(job.size - job.taken for job in self.jobs)


class Tray:
    """Both lines. A batch holds images of one of them: interactive comes first, and bulk at least each TURN-th time.

    Were they mixed, a single image would wait for the hundreds of bulk that it rides with.

    Attributes:
        waiting: images in both. (An attribute, as each call looks at it.)
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._interactive = Line()
        self._bulk = Line()
        self._last = self._interactive  # whose batch was gathered last
        self._passed = 0  # batches in a row that bulk has let pass
        self._taken, self._overtook = 1.0, 0.0  # images lately taken while bulk waited, and the interactive of them; both fade
        self._before = self._passed, self._taken, self._overtook  # until the last batch was gathered
        self._cleared_at = float("-inf")

    def count_requests(self, *, bulk: bool) -> int:
        """Those of one line whom somebody still waits for."""
        return sum(not job.future.done() for job in (self._bulk if bulk else self._interactive).jobs)

    def count_waiting(self, *, bulk: bool) -> int:
        """Images of one line."""
        return (self._bulk if bulk else self._interactive).images

    def count_ahead(self, *, bulk: bool) -> int:
        """Images that should leave before a request that came now. Those that will overtake bulk are guessed from the last."""
        interactive = self._interactive.images
        if bulk:
            return interactive + int(self._bulk.images * self._taken / max(1.0, self._taken - self._overtook))
        return interactive + min(self._bulk.images, interactive // (TURN - 1))

    def find_oldest(self) -> float:
        """When the one that has waited longest arrived. Somebody must wait."""
        return min(line.jobs[0].arrived_at for line in (self._interactive, self._bulk) if line.jobs)

    def put(self, job: Job, *, bulk: bool) -> None:
        (self._bulk if bulk else self._interactive).put(job)
        self.waiting += job.size

    def gather(self, choose_size: Callable[[int], int], now: float) -> list[Piece]:
        """The next batch; nothing if all that it looked at were lost.

        Args:
            choose_size: how many to take of a line of so many images.
        """
        bulk_waits, line = self._bulk.images > 0, self._choose_line()
        is_turn = line is self._bulk
        self._before, self._last = (self._passed, self._taken, self._overtook), line
        pieces = line.take(choose_size(line.images), now)
        if bulk_waits:
            self._passed = 0 if is_turn else self._passed + 1
            taken = sum([piece.stop - piece.start for piece in pieces])
            self._taken = MEMORY * self._taken + taken
            self._overtook = MEMORY * self._overtook + (0 if is_turn else taken)
        self.waiting = self._interactive.images + self._bulk.images
        return pieces

    def count_next(self) -> int:
        """Images of the line that the next batch is taken of."""
        return self._choose_line().images

    def _choose_line(self) -> Line:
        is_turn = self._bulk.images and (not self._interactive.images or self._passed >= TURN - 1)
        return self._bulk if is_turn else self._interactive

    def put_back(self, pieces: list[Piece]) -> None:
        """The last batch has not left after all, and its line has not had its turn."""
        self._last.put_back(pieces)
        self._passed, self._taken, self._overtook = self._before
        self.waiting = self._interactive.images + self._bulk.images

    def clear_out(self, now: float) -> bool:
        """Takes out all who have gone or are late; False if that was done a moment ago."""
        if now < self._cleared_at + CLEAR_EVERY_S:
            return False
        self._cleared_at = now
        for line in (self._interactive, self._bulk):
            line.clear_out(now)
        self.waiting = self._interactive.images + self._bulk.images
        return True


def is_lost(job: Job, now: float) -> bool:
    """Whether nobody waits for the job any more; a late caller is told so."""
    if job.is_wanted(now):
        return False
    if not job.future.done():
        job.future.set_exception(DeadlinePassed("the deadline passed while the request waited in the queue"))
    return True
