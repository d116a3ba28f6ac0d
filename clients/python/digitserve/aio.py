"""The asyncio client: the same calls as `Client`, awaited."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import NDArray

from digitserve.answers import batch_from, find_takeover, joined, model_from, recognition_from, rows_for
from digitserve.arguments import checked_count, checked_flag, checked_text, checked_timeout_s
from digitserve.channel import (
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT_S,
    MAX_MESSAGE_BYTES,
    Calls,
    check_own_channel,
    checked_target,
    open_channel,
)
from digitserve.coalescing import IN_FLIGHT, AsyncLane
from digitserve.errors import ClientClosed, ModelNotFound, RecognitionError
from digitserve.images import ImageInput, framed_pixels, image_from, reads_slowly
from digitserve.requests import (
    CALLS_IN_FLIGHT,
    Ink,
    Layout,
    PackedLayout,
    Part,
    Priority,
    Question,
    Route,
    batch_parts,
    batch_request,
    deadline_in,
    lone_request,
    needs_several_calls,
    pack_letters,
)
from digitserve.results import BatchRecognition, Model, Recognition
from digitserve.security import TLS, checked_token
from digitserve.statuses import error_from_rpc
from digitserve.streaming import STREAM_TIMEOUT_S, STREAM_WINDOW, check_iterable, stream_async
from digitserve.tray import Van
from digitserve.v1 import recognizer_pb2 as pb


class AsyncClient:
    """A connection to a digitserve server, for one event loop. Use it as an async context manager.

    Single (28, 28) images that are asked for at the same time travel together in one call (digitserve.coalescing).
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        coalesce: bool = True,
        tls: TLS | None = None,
        token: str = "",
        channel: Any = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        in_flight: int = IN_FLIGHT,
    ) -> None:
        """As `Client`, but `channel` is a `grpc.aio.Channel`."""
        self._target = checked_target(target)
        self._timeout_s = checked_timeout_s(timeout_s)
        self._coalesce = checked_flag("coalesce", coalesce)
        self._in_flight = checked_count("in_flight", in_flight)
        self._max_message_bytes = checked_count("max_message_bytes", max_message_bytes)
        self._own_channel: Any = None
        self._tls, self._token = tls, checked_token(token)
        check_own_channel(channel, tls)
        self._opened = Calls(channel, token) if channel is not None else None
        self._lanes: dict[Route, AsyncLane[Recognition]] = {}
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends every call that is under way with ClientClosed, and the connection. Twice is fine."""
        self._is_closed = True
        for lane in list(self._lanes.values()):
            await lane.close()
        if self._own_channel is not None:
            await self._own_channel.close()

    async def recognize(
        self,
        image: ImageInput,
        *,
        model: str = "",
        layout: Layout = "auto",
        ink: Ink = "auto",
        top_k: int = 0,
        explain: bool = False,
        priority: Priority = "interactive",
        timeout_s: float | None = None,
    ) -> Recognition:
        """Reads one image. Arguments and errors as in `Client.recognize`."""
        question = Question(model, layout, ink, top_k, explain, priority)
        timeout_s = self._deadline(timeout_s)
        pixels = framed_pixels(image) if self._coalesce and question.may_be_packed else None
        if pixels is not None:
            return await self._lane(question).ask(pixels, question.top_k, timeout_s)
        message = await asyncio.to_thread(image_from, image) if reads_slowly(image) else image_from(image)
        return recognition_from(await self._call(self._calls.recognize, question.request_for(message), timeout_s))

    async def recognize_batch(
        self,
        images: NDArray[np.uint8],
        *,
        model: str = "",
        layout: PackedLayout = "framed",
        probabilities: bool = False,
        priority: Priority = "bulk",
        timeout_s: float | None = None,
    ) -> BatchRecognition:
        """Reads N packed images: the fast road. Calls, arguments and errors as in `Client.recognize_batch`."""
        if needs_several_calls(images):
            how = (layout, priority, deadline_in(self._deadline(timeout_s)))
            ask = partial(self._ask_for, probabilities=probabilities)
            answers = await ask(batch_parts(images, model, *how, probabilities=probabilities))
            if pinned := find_takeover(answers):
                answers = await ask(batch_parts(images, pinned, *how, probabilities=probabilities))
            return joined(answers, *images.shape[1:])
        request = batch_request(images, model, layout, priority, probabilities=probabilities)
        answer = await self._call(self._calls.recognize_batch, request, self._deadline(timeout_s))
        return batch_from(answer, len(images), probabilities=probabilities)

    def recognize_stream(
        self,
        images: Iterable[ImageInput] | AsyncIterable[ImageInput],
        *,
        model: str = "",
        layout: Layout = "auto",
        ink: Ink = "auto",
        top_k: int = 0,
        explain: bool = False,
        priority: Priority = "bulk",
        timeout_s: float = STREAM_TIMEOUT_S,
        window: int = STREAM_WINDOW,
    ) -> AsyncIterator[Recognition | RecognitionError]:
        """Reads many images over one stream, and yields their answers in order.

        Arguments and errors as in `Client.recognize_stream`; `images` may be an async iterable, too, and is iterated by a task
        of this loop.
        """
        check_iterable(images, AsyncIterable)
        question = Question(model, layout, ink, top_k, explain, priority)
        timeout_s, window = checked_timeout_s(timeout_s), checked_count("window", window)
        return stream_async(self._calls.recognize_stream, images, question, timeout_s, window, self._guard)

    async def models(self, *, timeout_s: float | None = None) -> list[Model]:
        """The models that the server serves."""
        answer = await self._call(self._calls.list_models, pb.ListModelsRequest(), self._deadline(timeout_s))
        return [model_from(each) for each in answer.models]

    async def health(self, service: str = "", *, timeout_s: float | None = None) -> str:
        """Whether a service serves, as `Client.health`."""
        checked_text("service", service)
        try:
            state: str = await self._call(self._calls.check_health, service, self._deadline(timeout_s))
            return state
        except ModelNotFound:
            return "SERVICE_UNKNOWN"

    @property
    def _calls(self) -> Calls:
        """Opened at the first call: a channel of grpc.aio belongs to the loop that runs when it is made."""
        if self._is_closed:
            raise ClientClosed
        if self._opened is None:
            self._own_channel = open_channel(grpc.aio, self._target, self._max_message_bytes, self._tls)
            self._opened = Calls(self._own_channel, self._token)
        return self._opened

    def _deadline(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else checked_timeout_s(timeout_s)

    async def _call(self, method: Any, request: Any, timeout_s: float) -> Any:
        return await self._guard(method(request, timeout=timeout_s))

    async def _ask_for(self, parts: Iterator[Part], *, probabilities: bool) -> list[BatchRecognition]:
        """The answers to several calls, in order. None of the calls outlives this one."""
        answers: list[BatchRecognition] = []
        under_way: deque[tuple[Any, int]] = deque()
        try:
            while True:
                for part in islice(parts, CALLS_IN_FLIGHT - len(under_way)):
                    under_way.append((self._calls.recognize_batch(part.request, timeout=part.timeout_s), part.size))
                if not under_way:
                    return answers
                call, size = under_way[0]
                answers.append(batch_from(await self._guard(call), size, probabilities=probabilities))
                under_way.popleft()
        finally:
            await _cancel([call for call, _ in under_way])

    async def _guard(self, answer: Awaitable[Any]) -> Any:
        """Awaits, and raises our errors instead of gRPC's. Closing a channel looks like being cancelled."""
        try:
            return await answer
        except grpc.RpcError as error:
            raise error_from_rpc(error) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task and task.cancelling():
                raise
            raise ClientClosed("the connection was closed before the answer") from None

    def _lane(self, question: Question) -> AsyncLane[Recognition]:
        route = question.route
        lane = self._lanes.get(route)
        if lane is None:
            lane = self._lanes[route] = AsyncLane(lambda *ride: self._send(route, *ride), in_flight=self._in_flight)
        return lane

    async def _send(self, route: Route, van: Van[Recognition], timeout_s: float) -> list[Recognition]:
        if len(van) == 1:
            lone = lone_request(van[0], *route)
            return [recognition_from(await self._call(self._calls.recognize, lone, timeout_s))]
        packed = pack_letters(van, *route)
        return rows_for(van, await self._call(self._calls.recognize_batch, packed, timeout_s))


async def _cancel(calls: Sequence[Any]) -> None:
    """Ends calls that nobody waits for any more, and returns when they have ended."""
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
