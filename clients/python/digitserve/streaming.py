"""Many images over one stream: requests run ahead of the answers, as far as a window allows.

Two sides share a list of what is due: the writing side notes each image there before it is sent, and the reading side yields
one answer for each note. An image that can't even be sent is noted with its error, so order holds and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import PIL.Image

from digitserve.answers import recognition_from
from digitserve.errors import DigitserveError, Internal, InvalidImage, RecognitionError, Unavailable, error_from_status
from digitserve.images import ImageInput, image_from, reads_slowly
from digitserve.requests import Question
from digitserve.results import Recognition
from digitserve.v1 import recognizer_pb2 as pb

STREAM_WINDOW = 64
STREAM_TIMEOUT_S = 3600.0

# What grpc.aio says where a write ran into the end of the stream: it forgets to look at the status that the server gave.
_BROKEN_WRITE = "Internal error from Core"

_ONE_IMAGE = (str, bytes, bytearray, memoryview, os.PathLike, PIL.Image.Image)
_NO_PIXELS = "OSU"  # kinds of arrays that hold paths, or images as objects
_UNSENDABLE = (OSError, TypeError, ValueError)
_STATUS_NAMES = {status.value[0]: status.name for status in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class _Sent:
    """The server owes the answer to this id."""

    id: int


@dataclass(frozen=True, slots=True)
class _Over:
    """Nothing more is due: the images have ended, perhaps with an error of their own."""

    error: BaseException | None = None


class _CallEnded:
    """The call ended before the images did; the call itself knows why."""


_Note = _Sent | RecognitionError | _Over | _CallEnded


def check_iterable(images: object, *more_kinds: type) -> None:
    """Many images are iterated, so one image by itself can't be meant: a path would be one image for each of its letters.

    Args:
        more_kinds: what may be given beside an iterable.

    Raises:
        TypeError
    """
    if isinstance(images, np.ndarray):
        is_many = images.ndim > (0 if images.dtype.kind in _NO_PIXELS else 2)
    else:
        is_many = isinstance(images, (Iterable, *more_kinds)) or hasattr(images, "__getitem__")
    if not is_many or isinstance(images, _ONE_IMAGE):
        what = f"an array of shape {images.shape}" if isinstance(images, np.ndarray) else f"of type {type(images).__name__}"
        raise TypeError(f"images is {what}: give an iterable of images, such as a list; for one image there is recognize")


def stream(
    start: Callable[..., Any],
    images: Iterable[ImageInput],
    question: Question,
    timeout_s: float,
    window: int,
    error_of: Callable[[Exception], DigitserveError],
) -> Iterator[Recognition | RecognitionError]:
    """Yields one answer for each image, in order. See `Client.recognize_stream`.

    Args:
        start: the call of the contract.
        error_of: from gRPC's error to ours.
    """
    due: queue.SimpleQueue[_Note] = queue.SimpleQueue()
    room = threading.Semaphore(window)
    is_over = threading.Event()
    call = start(_requests(images, question, due, room, is_over), timeout=timeout_s)
    if not call.add_callback(lambda: due.put(_CallEnded())):
        due.put(_CallEnded())
    try:
        while not isinstance(note := due.get(), _Over):
            yield note if isinstance(note, RecognitionError) else _read(call, note, error_of)
            room.release()
        if note.error:
            raise note.error
    finally:
        is_over.set()
        room.release()
        call.cancel()


def _requests(
    images: Iterable[ImageInput],
    question: Question,
    due: queue.SimpleQueue[_Note],
    room: threading.Semaphore,
    is_over: threading.Event,
) -> Iterator[pb.RecognizeStreamRequest]:
    """The writing side, on a thread of gRPC's."""
    try:
        for number, image in enumerate(images):
            room.acquire()
            if is_over.is_set():
                return
            request = _request_or_error(number, image, question)
            if isinstance(request, RecognitionError):
                due.put(request)
                continue
            due.put(_Sent(number))
            yield request
    except Exception as error:
        due.put(_Over(error))
    else:
        due.put(_Over())


def _request_or_error(number: int, image: ImageInput, question: Question) -> pb.RecognizeStreamRequest | InvalidImage:
    try:
        return pb.RecognizeStreamRequest(id=number, request=question.request_for(image_from(image)))
    except _UNSENDABLE as error:
        refusal = InvalidImage(str(error), field="image")
        refusal.__cause__ = error
        return refusal


def _read(call: Any, note: _Note, error_of: Callable[[Exception], DigitserveError]) -> Recognition | RecognitionError:
    try:
        response = next(call)
    except StopIteration:
        raise _ended_early() from None
    except grpc.RpcError as error:
        raise error_of(error) from error
    return _answer_from(response, note)


def _ended_early() -> Unavailable:
    return Unavailable("the server ended the stream before it had answered everything")


def _answer_from(response: pb.RecognizeStreamResponse, note: _Note) -> Recognition | RecognitionError:
    if not isinstance(note, _Sent) or response.id != note.id:
        raise Internal(f"the stream's answers are out of order: {response.id} came unexpectedly")
    if response.WhichOneof("result") == "response":
        return recognition_from(response.response)
    error = response.error
    code = _STATUS_NAMES.get(error.code, "UNKNOWN")
    return error_from_status(code, error.message, field=error.field, retry_after_s=error.retry_after_ms / 1e3 or None)


async def stream_async(
    start: Callable[..., Any],
    images: Iterable[ImageInput] | AsyncIterable[ImageInput],
    question: Question,
    timeout_s: float,
    window: int,
    guard: Callable[[Awaitable[Any]], Awaitable[Any]],
) -> AsyncIterator[Recognition | RecognitionError]:
    """Yields one answer for each image, in order. See `AsyncClient.recognize_stream`.

    Args:
        start: the call of the contract.
        guard: awaits, and raises our errors instead of gRPC's.
    """
    due: asyncio.Queue[_Note] = asyncio.Queue()
    room = asyncio.Semaphore(window)
    call = start(timeout=timeout_s)
    call.add_done_callback(lambda _: due.put_nowait(_CallEnded()))
    writing = asyncio.ensure_future(_write(call, images, question, due, room))
    try:
        while not isinstance(note := await due.get(), _Over):
            yield note if isinstance(note, RecognitionError) else await _read_async(call, note, guard)
            room.release()
        if note.error:
            raise note.error
    finally:
        writing.cancel()
        call.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def _write(
    call: Any,
    images: Iterable[ImageInput] | AsyncIterable[ImageInput],
    question: Question,
    due: asyncio.Queue[_Note],
    room: asyncio.Semaphore,
) -> None:
    """The writing side, a task."""
    try:
        async for number, image in _numbered(images):
            await room.acquire()
            request = await _request_or_error_async(number, image, question)
            due.put_nowait(request if isinstance(request, RecognitionError) else _Sent(number))
            if not isinstance(request, RecognitionError):
                await call.write(request)
        await call.done_writing()
    except (grpc.RpcError, asyncio.InvalidStateError):
        return  # the call has ended, and the reading side learns that from the call
    except Exception as error:
        due.put_nowait(_Over(error))
    else:
        due.put_nowait(_Over())


async def _request_or_error_async(
    number: int, image: ImageInput, question: Question
) -> pb.RecognizeStreamRequest | InvalidImage:
    if reads_slowly(image):
        return await asyncio.to_thread(_request_or_error, number, image, question)
    return _request_or_error(number, image, question)


async def _numbered(images: Iterable[ImageInput] | AsyncIterable[ImageInput]) -> AsyncIterator[tuple[int, ImageInput]]:
    if isinstance(images, AsyncIterable):
        number = 0
        async for image in images:
            yield number, image
            number += 1
        return
    for numbered in enumerate(images):
        yield numbered


async def _read_async(
    call: Any, note: _Note, guard: Callable[[Awaitable[Any]], Awaitable[Any]]
) -> Recognition | RecognitionError:
    try:
        response = await guard(call.read())
    except Internal as error:
        raise (_ended_early() if error.message == _BROKEN_WRITE else error) from error.__cause__
    if response is grpc.aio.EOF:
        raise _ended_early()
    return _answer_from(response, note)
