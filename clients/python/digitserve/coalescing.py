"""Coalescing: images that are asked for one by one, at the same time, travel together.

A call costs a Python server about as much as recognizing several images, so 64 images in one call are far cheaper than 64
calls. The laws are those of the server's own batcher:

    1  every letter is answered exactly once
    2  row i goes to caller i
    3  a caller that has gone, or is late, costs its neighbours nothing
    4  a van that fails fails only its own letters
    5  a lone letter never waits for company: others gather WHILE the vans are on the road, and only then
    6  no van carries more than `max_batch_size` letters, and no more than `in_flight` vans are on the road
    7  close() answers everything that is open with ClientClosed, once; twice is fine

A letter waits in the tray and rides in a van: digitserve.tray does the bookkeeping. `AsyncLane` drives it from an event loop,
where the sending is a task. `ThreadLane` does so from any number of threads: whoever finds a free van sends it, and whatever
thread brings the answer sends the next, so there is no thread in the background. A lane serves one model, layout and priority.
How a van travels is the caller's: a function that takes letters and a timeout, and returns rows.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeAlias, cast

from digitserve.errors import ClientClosed
from digitserve.tray import Letter, Row, Tray, Van, deliver, fail, latest_deadline

MAX_BATCH_SIZE = 256
IN_FLIGHT = 2

SendAsync: TypeAlias = Callable[[Van[Row], float], Awaitable[Sequence[Row]]]


class AsyncLane(Generic[Row]):
    """Coalesces the callers of one event loop.

    The tasks that wake up in one round of the loop ask again in that same round, so a van is loaded in the next round and
    takes all of them. That is no waiting: the loop was busy with them.
    """

    def __init__(self, send: SendAsync[Row], *, max_batch_size: int = MAX_BATCH_SIZE, in_flight: int = IN_FLIGHT) -> None:
        """
        Args:
            send: carries a van: (letters, timeout in seconds) -> one row for each letter. Raises what the callers get.
            max_batch_size: letters in a van, at most.
            in_flight: vans on the road, at most.
        """
        self._send = send
        self._tray: Tray[Row] = Tray(max_batch_size, in_flight)
        self._on_road: dict[asyncio.Task[None], Van[Row]] = {}
        self._is_loading = False
        self._is_closed = False

    async def ask(self, pixels: bytes, top_k: int, timeout_s: float) -> Row:
        """The row of one image.

        Raises:
            DigitserveError: what `send` raised; DeadlineExceeded after `timeout_s`; ClientClosed.
        """
        if self._is_closed:
            raise ClientClosed
        loop = asyncio.get_running_loop()
        letter: Letter[Row] = Letter(pixels, top_k, loop.time() + timeout_s, loop.create_future())
        alarm = loop.call_at(letter.deadline, letter.expire)
        self._tray.put(letter)
        self._depart()
        try:
            row: Row = await letter.reply
            return row
        except asyncio.CancelledError:
            self._recall_abandoned()
            raise
        finally:
            alarm.cancel()

    async def close(self) -> None:
        """Ends everything that is open with ClientClosed, and waits until nothing is on the road."""
        self._is_closed = True
        fail(self._tray.empty(), ClientClosed())
        tasks = list(self._on_road)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _depart(self) -> None:
        if self._tray.is_ready and not self._is_loading:
            self._is_loading = True
            task = asyncio.get_running_loop().create_task(self._ride())
            self._on_road[task] = []
            task.add_done_callback(self._on_road.pop)

    async def _ride(self) -> None:
        self._is_loading = False
        now = asyncio.get_running_loop().time()
        van = self._tray.load(now)
        self._depart()  # if the tray was fuller than one van
        if van:
            await self._carry(van, latest_deadline(van) - now)

    async def _carry(self, van: Van[Row], timeout_s: float) -> None:
        self._on_road[cast("asyncio.Task[None]", asyncio.current_task())] = van
        try:
            deliver(van, await self._send(van, timeout_s))
        except asyncio.CancelledError:
            fail(van, ClientClosed())
            raise
        except Exception as error:
            fail(van, error)
        finally:
            self._tray.land()
            self._depart()

    def _recall_abandoned(self) -> None:
        """Cancels the vans whose callers have all gone: the server need not work for them."""
        for task, van in self._on_road.items():
            if van and all(letter.reply.done() for letter in van):
                task.cancel()


SendAlone: TypeAlias = Callable[[Letter[Row], float], Row]
Landing: TypeAlias = Callable[[Sequence[Row] | Exception], None]
SendThen: TypeAlias = Callable[[Van[Row], float, Landing[Row]], None]


class ThreadLane(Generic[Row]):
    """Coalesces the callers of many threads, without a thread of its own."""

    def __init__(
        self,
        send: SendThen[Row],
        send_alone: SendAlone[Row],
        *,
        max_batch_size: int = MAX_BATCH_SIZE,
        in_flight: int = IN_FLIGHT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            send: starts a van and returns: (letters, timeout in seconds, landing). It calls `landing` once, on any thread,
                with one row for each letter or with the error that they get.
            send_alone: carries one letter on the thread that asks, and blocks it: (letter, timeout in seconds) -> row. Nobody
                else depends on that thread then, and a blocking call is the cheapest.
            max_batch_size: letters in a van, at most.
            in_flight: vans on the road, at most.
            clock: monotonic seconds.
        """
        self._send = send
        self._send_alone = send_alone
        self._clock = clock
        self._lock = threading.Lock()
        self._tray: Tray[Row] = Tray(max_batch_size, in_flight)
        self._on_road: list[Van[Row]] = []
        self._is_closed = False

    def ask(self, pixels: bytes, top_k: int, timeout_s: float) -> Row:
        """The row of one image; blocks this thread until then. Raises as `AsyncLane.ask`."""
        reply: concurrent.futures.Future[Row] = concurrent.futures.Future()
        letter: Letter[Row] = Letter(pixels, top_k, self._clock() + timeout_s, reply)
        with self._lock:
            if self._is_closed:
                raise ClientClosed
            self._tray.put(letter)
            van = self._load()
        if van == [letter]:
            self._carry_alone(letter, van)
        else:
            self._depart(van)
        try:
            return reply.result(letter.deadline - self._clock())
        except TimeoutError:
            letter.expire()
            return reply.result()

    def close(self) -> None:
        """Ends everything that is open with ClientClosed."""
        with self._lock:
            self._is_closed = True
            vans = [self._tray.empty(), *self._on_road]
        for van in vans:
            fail(van, ClientClosed())

    def _load(self) -> Van[Row]:
        van = self._tray.load(self._clock())
        if van:
            self._on_road.append(van)
        return van

    def _carry_alone(self, letter: Letter[Row], van: Van[Row]) -> None:
        outcome: Sequence[Row] | Exception = ClientClosed("interrupted")
        try:
            outcome = [self._send_alone(letter, letter.deadline - self._clock())]
        except Exception as error:
            outcome = error
        finally:
            self._land(van, outcome)

    def _depart(self, van: Van[Row]) -> None:
        if not van:
            return
        try:
            self._send(van, latest_deadline(van) - self._clock(), lambda outcome: self._land(van, outcome))
        except Exception as error:
            self._land(van, error)

    def _land(self, van: Van[Row], outcome: Sequence[Row] | Exception) -> None:
        if isinstance(outcome, Exception):
            fail(van, outcome)
        else:
            deliver(van, outcome)
        with self._lock:
            self._on_road.remove(van)
            self._tray.land()
            following = self._load()
        self._depart(following)
