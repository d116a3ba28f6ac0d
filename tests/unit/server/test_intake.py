"""From a request's image to a framed one: which way each kind goes, and what is refused."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
import pytest
from digitserve.v1 import recognizer_pb2 as pb
from numpy.typing import NDArray

from server.errors import DeadlinePassed, InvalidImage, InvalidRequest, QueueFull, RecognizerError, UnsupportedLayout
from server.intake import SMALL_PIXELS, Intake, read_ink, read_layout
from server.preprocess import Box, Framed, Ink
from tests.pictures import encode_grey

Grey = NDArray[np.uint8]
LARGE = np.full((200, 200), 230, np.uint8)
LARGE[30:70, 45:55] = 20  # a thick stroke


class HeldExecutor(Executor):
    """Holds work back until it is let go."""

    def __init__(self) -> None:
        self.held: list[tuple[Future[Any], Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.held.append((future, lambda: fn(*args, **kwargs)))
        return future

    def let_go(self) -> None:
        future, work = self.held.pop(0)
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work())
            except DeadlinePassed as error:
                future.set_exception(error)


@pytest.fixture
def executor() -> HeldExecutor:
    return HeldExecutor()


@pytest.fixture
def intake(executor: HeldExecutor) -> Intake:
    return Intake(executor, max_pixels=1_000_000, max_waiting=2, max_waiting_bytes=3 * LARGE.nbytes)


def frame_centred() -> Grey:
    """A framed image: 20 pixels high and centred by mass."""
    pixels = np.zeros((28, 28), np.uint8)
    pixels[4:24, 12:16] = 255
    return pixels


def raw(pixels: Grey, **options: Any) -> pb.RecognizeRequest:
    image = pb.RawImage(pixels=pixels.tobytes(), width=pixels.shape[1], height=pixels.shape[0])
    return pb.RecognizeRequest(image=pb.Image(raw=image), **options)


def encoded(pixels: Grey, **options: Any) -> pb.RecognizeRequest:
    return pb.RecognizeRequest(image=pb.Image(encoded=encode_grey(pixels)), **options)


def take(intake: Intake, request: pb.RecognizeRequest) -> Framed:
    framed = intake.take(request, 28)
    assert isinstance(framed, Framed), "a small image never waits"
    return framed


@pytest.mark.parametrize("make", [raw, encoded])
@pytest.mark.parametrize("layout", [pb.LAYOUT_UNSPECIFIED, pb.LAYOUT_AUTO, pb.LAYOUT_FRAMED])
def test_what_is_framed_passes_unchanged(intake: Intake, make: Any, layout: int) -> None:
    framed = take(intake, make(frame_centred(), layout=layout))
    np.testing.assert_array_equal(framed.pixels, frame_centred())
    assert (framed.box, framed.blank) == (Box(0, 0, 28, 28), False)


def test_framed_means_framed_even_where_it_does_not_look_so(intake: Intake) -> None:
    corner = np.zeros((28, 28), np.uint8)
    corner[:9, :3] = 255
    np.testing.assert_array_equal(take(intake, raw(corner, layout=pb.LAYOUT_FRAMED)).pixels, corner)
    assert take(intake, raw(corner, layout=pb.LAYOUT_AUTO)).box.width < 28


def test_single_looks_at_what_is_framed_too(intake: Intake) -> None:
    assert take(intake, raw(frame_centred(), layout=pb.LAYOUT_SINGLE)).box.width < 28


def test_dark_ink_is_turned_over(intake: Intake) -> None:
    request = raw(255 - frame_centred(), layout=pb.LAYOUT_FRAMED, ink=pb.INK_DARK)
    np.testing.assert_array_equal(take(intake, request).pixels, frame_centred())


@pytest.mark.parametrize("make", [raw, encoded])
def test_a_large_image_goes_to_a_thread(intake: Intake, executor: HeldExecutor, make: Any) -> None:
    assert LARGE.size > SMALL_PIXELS

    async def run() -> Framed:
        framing: Any = asyncio.ensure_future(intake.take(make(LARGE), 28))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert not framing.done()
        executor.let_go()
        framed: Framed = await framing
        return framed

    framed = asyncio.run(run())
    np.testing.assert_allclose(framed.box, (45, 30, 10, 40), atol=3)


@pytest.mark.parametrize("make", [raw, encoded])
def test_who_waits_for_a_thread_until_the_deadline_is_not_decoded(intake: Intake, executor: HeldExecutor, make: Any) -> None:
    async def run() -> None:
        late: Any = asyncio.ensure_future(intake.take(make(LARGE), 28, time.monotonic() - 0.001))  # type: ignore[arg-type]
        batch = np.stack([LARGE[:28, :28]] * 9)
        late_batch: Any = asyncio.ensure_future(
            intake.take_batch(batch, pb.LAYOUT_AUTO, time.monotonic() - 0.001)  # type: ignore[arg-type]
        )
        await asyncio.sleep(0)
        for framing in (late, late_batch):
            executor.let_go()
            with pytest.raises(DeadlinePassed, match="while the image waited for its decoding"):
                await framing

    asyncio.run(run())


def test_only_so_many_large_images_may_wait(intake: Intake, executor: HeldExecutor) -> None:
    async def run() -> None:
        waiting: list[Any] = [asyncio.ensure_future(intake.take(raw(LARGE), 28)) for _ in range(2)]  # type: ignore[arg-type]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull) as caught:
            await intake.take(raw(LARGE), 28)  # type: ignore[misc]
        assert caught.value.retry_after_ms > 0
        waiting[1].cancel()  # who leaves makes room
        await asyncio.gather(waiting[1], return_exceptions=True)
        third: Any = asyncio.ensure_future(intake.take(raw(LARGE), 28))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        while executor.held:
            executor.let_go()
        assert [framed.blank for framed in await asyncio.gather(waiting[0], third)] == [False, False]

    asyncio.run(run())


def test_only_so_many_bytes_of_large_images_may_wait(executor: HeldExecutor) -> None:
    intake = Intake(executor, max_pixels=1_000_000, max_waiting=9, max_waiting_bytes=LARGE.nbytes - 1)

    async def run() -> None:
        alone: Any = asyncio.ensure_future(intake.take(raw(LARGE), 28))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull, match=f"{LARGE.nbytes:,} bytes of large images wait") as caught:
            await intake.take(raw(LARGE), 28)  # type: ignore[misc]
        assert caught.value.retry_after_ms > 0
        executor.let_go()
        assert not (await alone).blank
        later: Any = asyncio.ensure_future(intake.take(raw(LARGE), 28))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        executor.let_go()
        assert not (await later).blank

    asyncio.run(run())


BAD = {
    "no image": (pb.RecognizeRequest(), InvalidImage, "image"),
    "empty": (pb.RecognizeRequest(image=pb.Image(encoded=b"")), InvalidImage, "image.encoded"),
    "not an image": (pb.RecognizeRequest(image=pb.Image(encoded=b"text")), InvalidImage, "image.encoded"),
    "too large": (encoded(np.zeros((1001, 1000), np.uint8)), InvalidImage, "image.encoded"),
    "raw too large": (raw(np.zeros((1001, 1000), np.uint8)), InvalidImage, "image.raw"),
    "too wide": (raw(np.zeros((1, 65_536), np.uint8)), InvalidImage, "image.raw"),
    "nothing": (raw(np.zeros((0, 0), np.uint8)), InvalidImage, "image.raw"),
    "line": (raw(frame_centred(), layout=pb.LAYOUT_LINE), UnsupportedLayout, "layout"),
    "page": (raw(frame_centred(), layout=pb.LAYOUT_PAGE), UnsupportedLayout, "layout"),
    "no layout": (raw(frame_centred(), layout=99), InvalidRequest, "layout"),
    "no ink": (raw(frame_centred(), ink=99), InvalidRequest, "ink"),
    "framed of another size": (raw(np.zeros((28, 29), np.uint8), layout=pb.LAYOUT_FRAMED), InvalidImage, "image"),
}


@pytest.mark.parametrize(("request_", "kind", "field"), BAD.values(), ids=list(BAD))
def test_what_is_wrong_is_named(intake: Intake, request_: pb.RecognizeRequest, kind: type[RecognizerError], field: str) -> None:
    with pytest.raises(RecognizerError) as caught:
        intake.take(request_, 28)
    assert (type(caught.value), caught.value.field) == (kind, field)


def test_a_raw_image_of_no_size_is_told_what_sizes_there_are(intake: Intake) -> None:
    with pytest.raises(InvalidImage, match="a raw image of 70000 x 1 pixels: each side must be 1 to 65,535"):
        intake.take(raw(np.zeros((1, 70_000), np.uint8)), 28)


def test_damage_inside_a_large_file_comes_from_the_thread(intake: Intake, executor: HeldExecutor) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (200, 200), np.uint8)
    content = encode_grey(noise)
    request = pb.RecognizeRequest(image=pb.Image(encoded=content[: len(content) // 2]))

    async def run() -> None:
        framing: Any = asyncio.ensure_future(intake.take(request, 28))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        ((_, work),) = executor.held
        with pytest.raises(InvalidImage, match="can't be decoded"):
            work()
        framing.cancel()
        await asyncio.gather(framing, return_exceptions=True)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("ink", "read"),
    [(pb.INK_UNSPECIFIED, Ink.AUTO), (pb.INK_AUTO, Ink.AUTO), (pb.INK_LIGHT, Ink.LIGHT), (pb.INK_DARK, Ink.DARK)],
)
def test_every_ink_is_known(ink: int, read: Ink) -> None:
    assert read_ink(ink) is read


@pytest.mark.parametrize("layout", pb.Layout.values())
def test_every_layout_is_read_or_refused_as_not_yet(layout: int) -> None:
    if layout in (pb.LAYOUT_LINE, pb.LAYOUT_PAGE):
        with pytest.raises(UnsupportedLayout, match=r"does not read (LINE|PAGE); it reads AUTO, FRAMED and SINGLE"):
            read_layout(layout)
    else:
        assert read_layout(layout) == layout
