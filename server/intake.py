"""From a request's image to a framed one: raw or encoded, framed or to be looked at, at once or on a thread.

A small image is decoded where it stands: a thread would add half as much time for waking it and for sharing the interpreter.
A large one goes to a thread, so that the event loop stays free. How many may wait there is bounded.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from digitserve.v1 import recognizer_pb2 as pb
from numpy.typing import NDArray

from server.decode import Picture, decode, open_image
from server.errors import DeadlinePassed, InvalidImage, InvalidRequest, QueueFull, UnsupportedLayout
from server.preprocess import Box, Framed, Ink, frame, is_framed, take_framed

SMALL_PIXELS = 128 * 128  # up to this size, decoding and framing take about a millisecond
SMALL_BATCH = 256  # images: looking at so many takes about as long
SMALL_STRANGERS = 2  # so does framing these
MAX_RAW_SIDE = 65_535

Images: TypeAlias = NDArray[np.uint8]

_INKS: dict[int, Ink] = {pb.INK_UNSPECIFIED: Ink.AUTO, pb.INK_AUTO: Ink.AUTO, pb.INK_LIGHT: Ink.LIGHT, pb.INK_DARK: Ink.DARK}
_READ = {pb.LAYOUT_UNSPECIFIED, pb.LAYOUT_AUTO, pb.LAYOUT_FRAMED, pb.LAYOUT_SINGLE}
_UNREAD: dict[int, str] = {pb.LAYOUT_LINE: "LINE", pb.LAYOUT_PAGE: "PAGE"}


class FramedBatch(NamedTuple):
    """A batch as the network sees it.

    Attributes:
        images: (n, size, size) uint8.
        boxes: left, top, width, height of each image's character, one after another; empty if all came framed.
    """

    images: Images
    boxes: list[int]


Answered = TypeVar("Answered")


class Intake:
    """Decodes and frames images."""

    def __init__(
        self,
        executor: Executor,
        *,
        max_pixels: int,
        max_waiting: int,
        max_waiting_bytes: int,
        note_framing: Callable[[str, float], object] | None = None,
    ) -> None:
        """
        Args:
            executor: threads for large images.
            max_pixels: larger images are refused by their header.
            max_waiting: large images (and batches to be looked at) that may wait for a thread.
            max_waiting_bytes: how much they may hold in all, as they came. One alone may be larger.
            note_framing: is told where an image, or a batch, was decoded and framed ("loop" or "thread"), and how many seconds
                that took, waiting for the thread included.
        """
        self._executor = executor
        self._max_pixels = max_pixels
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._note_framing = note_framing
        self._waiting = 0
        self._waiting_bytes = 0

    def take(self, request: pb.RecognizeRequest, size: int, deadline: float | None = None) -> Framed | Awaitable[Framed]:
        """Frames the request's image; an awaitable if it is large enough for a thread.

        Args:
            size: the side of the model's frame, in pixels.
            deadline: in time.monotonic(); if it has passed before a thread is free, the image is not decoded.

        Raises:
            InvalidImage: the image can't be read, or is not of the model's size though the layout is FRAMED.
            InvalidRequest: no such layout or ink.
            UnsupportedLayout: LINE or PAGE.
            QueueFull: too many large images wait already. DeadlinePassed, too, is raised by the awaitable.
        """
        if request.layout == pb.LAYOUT_FRAMED and request.ink <= pb.INK_LIGHT:
            framed = _take_as_it_is(request.image.raw, size)
            if framed is not None:
                return framed
        layout, ink = read_layout(request.layout), read_ink(request.ink)
        kind = request.image.WhichOneof("content")
        if kind == "raw":
            picture = _read_raw(request.image.raw, self._max_pixels)
            if picture.grey.size <= SMALL_PIXELS:
                return self._at_once(lambda: frame_picture(picture, layout, ink, size))
            return self._on_thread(lambda: frame_picture(picture, layout, ink, size), picture.grey.nbytes, deadline)
        if kind is None:
            raise InvalidImage("no image in the request: set image.encoded or image.raw", field="image")
        opened = open_image(request.image.encoded, self._max_pixels)
        if opened.width * opened.height <= SMALL_PIXELS:
            return self._at_once(lambda: frame_picture(decode(opened), layout, ink, size))
        return self._on_thread(lambda: frame_picture(decode(opened), layout, ink, size), len(request.image.encoded), deadline)

    def take_batch(self, images: Images, layout: int, deadline: float | None = None) -> FramedBatch | Awaitable[FramedBatch]:
        """Applies the layout to (n, size, size) uint8 images: FRAMED (and unspecified) passes them, AUTO looks at each.

        Raises:
            InvalidRequest: another layout.
            DeadlinePassed, QueueFull: as in take().
        """
        if layout in (pb.LAYOUT_UNSPECIFIED, pb.LAYOUT_FRAMED):
            return FramedBatch(images, [])
        if layout != pb.LAYOUT_AUTO:
            raise InvalidRequest("RecognizeBatch takes framed images: layout must be FRAMED or AUTO", field="layout")
        if len(images) > SMALL_BATCH:
            return self._on_thread(lambda: _frame_strangers(images), images.nbytes, deadline)
        strangers = is_framed(images).count(False)
        if strangers > SMALL_STRANGERS:
            return self._on_thread(lambda: _frame_strangers(images), images.nbytes, deadline)
        return self._at_once(lambda: _frame_strangers(images)) if strangers else FramedBatch(images, [])

    def _at_once(self, work: Callable[[], Answered]) -> Answered:
        started_at = time.perf_counter()
        try:
            return work()
        finally:
            if self._note_framing:
                self._note_framing("loop", time.perf_counter() - started_at)

    async def _on_thread(self, work: Callable[[], Answered], size_bytes: int, deadline: float | None) -> Answered:
        if self._waiting >= self._max_waiting:
            raise QueueFull(f"{self._waiting} large images wait for their decoding already", retry_after_ms=100.0)
        held_bytes = self._waiting_bytes
        if self._waiting and held_bytes + size_bytes > self._max_waiting_bytes:
            raise QueueFull(
                f"{held_bytes:,} bytes of large images wait for their decoding already, and this one has {size_bytes:,}",
                retry_after_ms=100.0,
            )
        self._waiting += 1
        self._waiting_bytes += size_bytes
        started_at = time.perf_counter()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, _work_in_time, work, deadline)
        finally:
            self._waiting -= 1
            self._waiting_bytes -= size_bytes
            if self._note_framing:
                self._note_framing("thread", time.perf_counter() - started_at)


def _work_in_time(work: Callable[[], Answered], deadline: float | None) -> Answered:
    """On a thread: who waited for it until the deadline is told so."""
    if deadline is not None and time.monotonic() > deadline:
        raise DeadlinePassed("the deadline passed while the image waited for its decoding")
    return work()


def read_layout(layout: int) -> int:
    """Checks that the layout is one that Recognize reads."""
    if layout in _READ:
        return layout
    if layout in _UNREAD:
        raise UnsupportedLayout(
            f"this server does not read {_UNREAD[layout]}; it reads AUTO, FRAMED and SINGLE", field="layout"
        )
    raise InvalidRequest(f"layout {layout} is not one of AUTO, FRAMED and SINGLE", field="layout")


def read_ink(ink: int) -> Ink:
    """The request's ink. Raises InvalidRequest if there is no such ink."""
    try:
        return _INKS[ink]
    except KeyError:
        raise InvalidRequest(f"ink {ink} is not one of AUTO, LIGHT and DARK", field="ink") from None


def frame_picture(picture: Picture, layout: int, ink: Ink, size: int) -> Framed:
    """Applies the layout to a decoded picture."""
    grey = picture.grey
    if layout == pb.LAYOUT_FRAMED:
        if grey.shape != (size, size):
            raise InvalidImage(
                f"layout FRAMED takes images of {size} x {size} pixels, and this one has {picture.width} x {picture.height}; "
                "use AUTO or SINGLE to have it framed",
                field="image",
            )
        return take_framed(grey, ink=ink)
    if layout != pb.LAYOUT_SINGLE and grey.shape == (size, size) and ink is not Ink.DARK and is_framed(grey[None])[0]:
        return take_framed(grey)
    return _locate(frame(grey, ink=ink, size=size), picture)


def _locate(framed: Framed, picture: Picture) -> Framed:
    """Puts the box into the image's own pixels, where the picture was decoded smaller."""
    height, width = picture.grey.shape
    if (width, height) == (picture.width, picture.height):
        return framed
    x, y, box = picture.width / width, picture.height / height, framed.box
    left, top = int(box.left * x), int(box.top * y)
    right, bottom = round((box.left + box.width) * x), round((box.top + box.height) * y)
    return Framed(framed.pixels, Box(left, top, right - left, bottom - top), framed.blank)


@functools.cache
def _whole(size: int) -> tuple[bytes, Box]:
    """What a blank frame looks like, and the box of a whole one."""
    return bytes(size * size), Box(0, 0, size, size)


def _take_as_it_is(raw: pb.RawImage, size: int) -> Framed | None:
    """The short way for raw pixels that are framed already, which most calls of a service bring; None if they are not.

    It repeats nothing of frame_picture() but its result, at a quarter of its cost.
    """
    pixels = raw.pixels
    if len(pixels) != size * size or raw.width != size or raw.height != size:
        return None
    blank, box = _whole(size)
    return Framed(np.frombuffer(pixels, np.uint8).reshape(size, size), box, pixels == blank)


def _frame_strangers(images: Images) -> FramedBatch:
    """Frames each image that is not framed."""
    strangers = [index for index, framed in enumerate(is_framed(images)) if not framed]
    if not strangers:
        return FramedBatch(images, [])
    size = images.shape[1]
    images = images.copy()
    boxes = [0, 0, size, size] * len(images)
    for index in strangers:
        framed = frame(images[index], size=size)
        images[index] = framed.pixels
        boxes[index * 4 : index * 4 + 4] = framed.box
    return FramedBatch(images, boxes)


def _read_raw(raw: pb.RawImage, max_pixels: int) -> Picture:
    width, height, pixels = raw.width, raw.height, raw.pixels
    if not 1 <= width <= MAX_RAW_SIDE or not 1 <= height <= MAX_RAW_SIDE:
        raise InvalidImage(
            f"a raw image of {width} x {height} pixels: each side must be 1 to {MAX_RAW_SIDE:,}", field="image.raw"
        )
    if width * height > max_pixels:
        raise InvalidImage(
            f"the image has {width} x {height} = {width * height:,} pixels; at most {max_pixels:,} are accepted",
            field="image.raw",
        )
    if len(pixels) != width * height:
        raise InvalidImage(
            f"image.raw.pixels holds {len(pixels)} bytes, but {width} x {height} is {width * height}", field="image.raw.pixels"
        )
    return Picture(np.frombuffer(pixels, np.uint8).reshape(height, width), width, height)
