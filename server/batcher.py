"""The dynamic batcher: a tray where requests wait, and the vans that take them away.

It imports neither gRPC nor onnxruntime: `run` is any function from a stack of images, and whether to explain, to a tuple of
arrays with one row for each image. All state belongs to the event loop's thread, so there is no lock.

Its laws, each of them one test in tests/unit/server/test_batcher.py:
    1  every accepted request ends exactly once
    2  row i goes to caller i
    3  a caller that has gone or is late is skipped and costs its neighbours nothing
    4  a failing batch fails only its members, and the batcher lives; several in a row make it unhealthy
    5  the tray is bounded, in images of each priority, and refuses at once
    6  a lone request never waits for company: the next batch gathers while the instances work
    7  no batch exceeds max_batch_size
    8  close() accepts no more and finishes what was accepted; twice is fine
    9  idle costs no CPU
    10 what can't be answered in time is refused at once: before its deadline, and interactive within max_queue_wait_ms
    11 interactive goes before bulk, and bulk has one batch in four at least
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import TypeAlias

from server.admission import Admission, Pace
from server.clock import Clock, SystemClock
from server.crowd import Company, Crowd
from server.errors import DeadlinePassed, Draining, InferenceFailed, NotReady, RecognizerError
from server.job import Answer, Batch, Errand, Images, Job, Outcome, Recorder, Rows, Standby, stack
from server.limits import Limits
from server.tray import Tray, is_lost

logger = logging.getLogger("digitserve.batcher")

Run: TypeAlias = Callable[[Images, bool], Rows]


class Batcher:
    """Gathers requests into batches for `run`. Create and use it on the event loop's thread."""

    def __init__(
        self,
        run: Run,
        limits: Limits,
        executor: Executor,
        *,
        clock: Clock | None = None,
        on_health: Callable[[bool], object] = lambda healthy: None,
        recorder: Recorder | None = None,
    ) -> None:
        """
        Args:
            run: takes (n, height, width) uint8, and whether to explain. Returns arrays of n rows each: the answers; to explain,
                what explains them, too. Called from the executor's threads, or on the loop for small batches.
            limits: see Limits.
            executor: at least `limits.instances` threads.
            clock: the system's by default.
            on_health: called with False when `max_failures` batches in a row have failed, with True when one succeeds again.
            recorder: is told of every batch.
        """
        self._loop = asyncio.get_running_loop()
        self._run = run
        self._limits = limits
        self._executor = executor
        self._clock: Clock = clock or SystemClock()
        self._on_health = on_health
        self.recorder = recorder
        self._tray = Tray()
        self._admission = Admission(
            self._tray,
            Pace(limits.times_ms),
            instances=limits.instances,
            max_batch_size=limits.max_batch_size,
            max_queue_size=limits.max_queue_size,
            max_queue_wait_ms=limits.max_queue_wait_ms,
        )
        self._free = limits.instances  # -1: all work, and a batch stands by
        self._standby: Standby | None = None
        self._one_batch = min(limits.max_batch_size, limits.max_queue_size)  # leaves with a free instance, without a question
        self._closed = False
        self._wake_scheduled = False
        # Where not even a small crowd runs inline, there is nothing to gain.
        gather_s = limits.crowd_gather_ms / 1e3 if limits.inline_batch_size >= Crowd.ENOUGH else 0.0
        self._crowds = Crowd(gather_s), Crowd(gather_s if limits.bulk_gathers else 0.0, bulk=True)
        self._gathering: Crowd | None = None
        self._gatherings = 0
        self._idle: asyncio.Future[None] | None = None
        self._failures = 0

    @property
    def waiting(self) -> int:
        """Images that no instance has begun with."""
        return self._tray.waiting + self._admission.standing_by

    @property
    def running(self) -> int:
        """Batches that run on instances."""
        return self._limits.instances - max(0, self._free)

    @property
    def healthy(self) -> bool:
        """Whether fewer than max_failures batches in a row have failed."""
        return self._failures < self._limits.max_failures

    def predict_wait_s(self, *, bulk: bool = False) -> float:
        """How long a request that came now would wait."""
        return self._admission.predict_wait_s(self._clock.time(), bulk=bulk)

    def answer_at_once(
        self, images: Images, *, deadline: float | None = None, explain: bool = False, bulk: bool = False
    ) -> Answer | None:
        """Runs a small request here and now, if nobody waits and an instance is free; None if it has to go through the tray.

        It is what the tray would do with a lone request, less a future and a round of the event loop, which cost a call more
        than the network does (docs/decisions/0003-small-batches-inline.md).

        Args:
            images: as for submit().
            deadline, explain, bulk: as for submit().

        Raises:
            DeadlinePassed: the deadline has passed already.
            InferenceFailed, NotReady: the batch failed.
        """
        limits = self._limits
        if (
            self._tray.waiting
            or self._free <= 0
            or self._closed
            or len(images) > limits.inline_batch_size
            or limits.max_queue_delay_ms
        ):
            return None
        if self._crowds[bulk].counts_in():
            return None
        if deadline is not None and self._clock.time() > deadline:
            raise DeadlinePassed("the deadline passed before the request was computed")
        result, compute_s = self._timed_run(images, explain)
        if isinstance(result, Exception):
            raise self._note_failure(1, result, "at_once")
        self._note_success()
        if self.recorder:
            self.recorder.note_batch("at_once", images, result, compute_s, (0.0,))
        return Answer(result, 0.0, compute_s * 1e3, len(images))

    def submit(
        self,
        images: Images,
        *,
        deadline: float | None = None,
        explain: bool = False,
        may_gather: bool = False,
        bulk: bool = False,
    ) -> asyncio.Future[Answer]:
        """Lays a request into the tray.

        Args:
            images: (n, height, width) uint8 with n >= 1; must not change until the answer is there.
            deadline: in the clock's time; after it the request is not computed any more.
            explain: whether the answer's rows hold what explains it, too.
            may_gather: in a crowd, it may wait for others for a moment: see Crowd.
            bulk: interactive requests go before it, and it may wait as long as its deadline allows.

        Returns:
            a future of the answer; cancelling it withdraws the request.

        Raises:
            DeadlinePassed: the deadline has passed already.
            Draining: close() was called.
            InvalidRequest: so many images could never wait at once.
            QueueFull: the tray has no room for so many images.
            WaitTooLong: it can't be answered in time.
        """
        if self._closed:
            raise Draining("the server is draining and accepts no more requests")
        now = self._clock.time()
        taken_back = self._standby and self._standby.yields and not bulk and self._take_back(self._standby)
        if self._free <= 0 or self._tray.waiting + len(images) > self._one_batch:
            try:
                self._admission.admit(len(images), deadline, now, bulk=bulk)
            except RecognizerError:
                if taken_back:  # for nothing
                    self._schedule(None)
                raise
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._tray.put(Job(images, now, deadline, future, explain), bulk=bulk)
        crowd = self._crowds[bulk]
        in_time = deadline is None or deadline - now > 2 * crowd.gather_s
        self._schedule(crowd if may_gather and in_time and crowd.company is not Company.NONE else None)
        return future

    def _schedule(self, crowd: Crowd | None) -> None:
        """Has the tray looked at: after this round of the loop, or once the crowd that the latest belongs to has gathered."""
        gathering = self._gathering
        # Interactive requests don't wait until bulk has gathered: they lead, and it comes along.
        leader = gathering if gathering and crowd and (crowd.bulk or not gathering.bulk) else crowd
        complete = leader is not None and self._is_complete(leader)
        if not self._has_room() or (self._wake_scheduled and not (gathering and (complete or leader is not gathering))):
            return
        if gathering and gathering is leader:
            gathering.has_gathered(self._tray.count_requests(bulk=gathering.bulk))
        self._wake_scheduled = True
        self._gathering = None if complete else leader
        if self._gathering is None:
            # Not at once: the calls that are ready in this round of the loop come along, and nobody waits for it.
            self._loop.call_soon(self._wake, "gathered_full" if gathering else "same_round")
            return
        self._gatherings += 1
        now = self._clock.time()
        if self._gathering.company is Company.LOOKING:
            self._loop.call_soon(self._look, self._gatherings, 1, now + Crowd.LOOK_S)
        else:
            self._clock.call_at(now + self._gathering.gather_s, partial(self._end_gathering, self._gatherings))

    def _is_complete(self, crowd: Crowd) -> bool:
        waiting = self._tray.count_waiting(bulk=crowd.bulk)
        return waiting >= crowd.expected or self._tray.waiting >= self._limits.inline_batch_size

    def _look(self, gathering: int, found: int, until: float) -> None:
        """Goes round the loop as long as another request follows soon; an alarm would be too coarse for that."""
        if not self._gathering or gathering != self._gatherings:
            return
        requests, now = self._tray.count_requests(bulk=self._gathering.bulk), self._clock.time()
        if requests > found:
            found, until = requests, now + Crowd.LOOK_S
        if found >= Crowd.ENOUGH or now >= until:
            self._end_gathering(gathering)
        else:
            self._loop.call_soon(self._look, gathering, found, until)

    def _end_gathering(self, gathering: int) -> None:
        if self._gathering and gathering == self._gatherings:
            self._wake("gathered")

    async def close(self) -> None:
        """Accepts no more and returns when everything accepted has its answer."""
        self._closed = True
        self._wake("closing")
        while self._tray.waiting or self._free < self._limits.instances:
            self._idle = self._idle or self._loop.create_future()
            await asyncio.shield(self._idle)

    def _wake(self, reason: str) -> None:
        """Sends away as many batches as there is room for. `reason` is one of LEAVE_REASONS."""
        self._wake_scheduled = False
        if crowd := self._gathering:
            self._gathering = None
            crowd.has_gathered(self._tray.count_requests(bulk=crowd.bulk))
        while self._tray.waiting > 0 and self._has_room() and not self._holds_back():
            is_alone = not self._tray.count_waiting(bulk=False)
            pieces = self._tray.gather(self._choose_size, self._clock.time())
            if self._free <= 0 and sum([piece.stop - piece.start for piece in pieces]) < self._limits.max_batch_size:
                self._tray.put_back(pieces)  # it looked full until those who had gone were left out
                break
            if pieces:
                self._dispatch(Batch(pieces, stack(pieces), reason if self._free > 0 else "full"), yields=is_alone)
        if self._idle and not self._tray.waiting and self._free == self._limits.instances:
            self._idle.set_result(None)
            self._idle = None

    def _has_room(self) -> bool:
        """Whether a batch may leave: an instance is free, or all work, and the next batch is full and can stand by."""
        return self._free > 0 or (not self._free and self._tray.count_next() >= self._limits.max_batch_size)

    def _holds_back(self) -> bool:
        """With max_queue_delay_ms: whether the oldest request may still wait for company. Sets the alarm, then."""
        if not self._limits.max_queue_delay_ms or self._closed or self._tray.waiting >= self._limits.max_batch_size:
            return False
        due = self._tray.find_oldest() + self._limits.max_queue_delay_ms / 1e3
        if self._clock.time() >= due:
            return False
        self._wake_scheduled = True
        self._clock.call_at(due, partial(self._wake, "delay"))
        return True

    def _choose_size(self, images: int) -> int:
        """How many of so many images the next batch takes."""
        limits = self._limits
        if images <= limits.inline_batch_size:
            return limits.max_batch_size
        return min(limits.max_batch_size, max(-(-images // max(1, self._free)), limits.min_split_size))

    def _dispatch(self, batch: Batch, *, yields: bool) -> None:
        """Runs a batch: a small one at once, a large one on an instance, while the loop goes on gathering.

        With no instance free it stands by at the executor's door, so that the instance that ends first goes on with it at
        once, and not after the event loop has heard of it. `yields`: until somebody comes who goes before it.
        """
        images = batch.images
        if len(images) <= self._limits.inline_batch_size:
            self._settle(batch, *self._timed_run(images, batch.is_to_explain()))
            return
        self._free -= 1
        errand, work = Errand(batch), self._executor.submit(self._run_errand, batch)
        if self._free < 0:
            self._standby = Standby(errand, yields, work)
            self._admission.standing_by = len(images)
        else:
            errand.due = self._admission.note_start(len(images), self._clock.time())
        work.add_done_callback(lambda done: self._loop.call_soon_threadsafe(self._land, errand, done))

    def _run_errand(self, batch: Batch) -> Outcome:
        """On an instance's thread. Between leaving and now, somebody may have gone or become late."""
        now = self._clock.time()
        try:
            begun = batch.begin(now)
        except Exception as error:  # memory has run out: whatever it is, the instance must land
            return Outcome(batch, now, error, 0.0)
        if not begun.pieces:
            return Outcome(begun, now, (), 0.0)
        return Outcome(begun, now, *self._timed_run(begun.images, begun.is_to_explain()))

    def _timed_run(self, images: Images, explain: bool) -> tuple[Rows | Exception, float]:
        started_at = self._clock.time()
        try:
            rows = self._run(images, explain)
            if any(len(column) != len(images) for column in rows):
                counts = [len(column) for column in rows]
                return ValueError(f"run() returned {counts} rows for {len(images)} images"), 0.0
        except Exception as error:
            return error, self._clock.time() - started_at
        return rows, self._clock.time() - started_at

    def _land(self, errand: Errand, work: Future[Outcome]) -> None:
        if work.cancelled():
            return
        now = self._clock.time()
        self._free += 1
        if self._standby:  # an instance has ended, and begun with it
            begun = self._standby.errand
            begun.due = self._admission.note_start(len(begun.batch.images), now)
            self._forget_standby()
        outcome = work.result()
        if errand.due is not None:
            self._admission.note_end(len(outcome.batch.images), now - outcome.started_at, errand.due)
        if outcome.batch is not errand.batch:
            computed = set(map(id, outcome.batch.pieces))
            for piece in errand.batch.pieces:
                if id(piece) not in computed:
                    is_lost(piece.job, now)  # tells a late caller so
        if outcome.batch.pieces:
            self._settle(outcome.batch, outcome.result, outcome.compute_s)
        if not self._gathering:  # else another instance was free all the while, and those who gather wait for company
            self._wake("free_instance")

    def _take_back(self, standby: Standby) -> bool:
        """Lays a batch that stands by into the tray again, if no instance has begun with it, and says so."""
        if not standby.work.cancel():
            return False
        self._free += 1
        self._forget_standby()
        self._tray.put_back(standby.errand.batch.pieces)
        return True

    def _forget_standby(self) -> None:
        self._standby = None
        self._admission.standing_by = 0

    def _settle(self, batch: Batch, result: Rows | Exception, compute_s: float) -> None:
        """Gives every member of a batch its own."""
        if isinstance(result, Exception):
            error = self._note_failure(len(batch.pieces), result, batch.reason)
            for piece in batch.pieces:
                if not piece.job.future.done():
                    piece.job.future.set_exception(type(error)(error.message))
            return
        size = len(result[0])
        self._note_success()
        if self.recorder:
            self.recorder.note_batch(batch.reason, batch.images, result, compute_s, batch.waits_s())
        offset = 0
        for piece in batch.pieces:
            end = offset + piece.stop - piece.start
            columns = result if piece.job.explain else result[:1]
            piece.job.add(piece.start, tuple([column[offset:end] for column in columns]), compute_s, size)
            offset = end

    def _note_success(self) -> None:
        if self._failures:
            recovered, self._failures = not self.healthy, 0
            if recovered:
                self._on_health(True)

    def _note_failure(self, requests: int, error: Exception, reason: str) -> RecognizerError:
        """Logs a failed batch under an id, which is all that its members are told."""
        self._failures += 1
        if self.recorder:
            self.recorder.note_failure(reason)
        batch_id = secrets.token_hex(8)
        logger.error("batch %s of %d requests failed (%d in a row)", batch_id, requests, self._failures, exc_info=error)
        if self._failures == self._limits.max_failures:
            self._on_health(False)
        # A model that keeps failing is a reason to ask another server, and that is what UNAVAILABLE tells a client to do.
        kind = NotReady if self._failures >= self._limits.max_failures else InferenceFailed
        return kind(f"the model failed; the server's log knows it as batch {batch_id}")
