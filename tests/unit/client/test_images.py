from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from digitserve import images
from digitserve.images import framed_pixels, image_from, packed_pixels, reads_slowly
from digitserve.v1 import recognizer_pb2 as pb
from numpy.typing import NDArray

from server.config import Settings


def checkered(height: int, width: int, *channels: int) -> NDArray[np.uint8]:
    return (np.arange(height * width * int(np.prod(channels))) % 251).astype(np.uint8).reshape(height, width, *channels)


def decoded(image: pb.Image) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(image.encoded))


def test_a_path_is_read_and_sent_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "any.thing").write_bytes(b"whatever")
    assert image_from(tmp_path / "any.thing").encoded == b"whatever"
    assert image_from(str(tmp_path / "any.thing")).encoded == b"whatever"
    with pytest.raises(FileNotFoundError):
        image_from(tmp_path / "absent.png")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_an_encoded_file(kind: type[Any]) -> None:
    assert image_from(kind(b"\x89PNG")).encoded == b"\x89PNG"


def test_a_grey_array_is_sent_raw() -> None:
    array = checkered(3, 5)
    assert image_from(array).raw == pb.RawImage(pixels=array.tobytes(), width=5, height=3)


def test_an_array_that_is_not_contiguous_is_sent_row_by_row() -> None:
    array = checkered(6, 10)[::2, ::-2]
    assert image_from(array).raw == pb.RawImage(pixels=bytes(array.ravel().tolist()), width=5, height=3)


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (4, "RGBA")])
def test_a_colour_array_is_sent_as_png(channels: int, mode: str) -> None:
    array = checkered(3, 5, channels)
    image = decoded(image_from(array))
    assert (image.format, image.mode) == ("PNG", mode)
    np.testing.assert_array_equal(np.asarray(image), array)


@pytest.mark.parametrize(
    ("image", "kind", "reason"),
    [
        (np.zeros((28, 28)), TypeError, "dtype float64, not uint8"),
        (np.zeros((28, 28), bool), TypeError, "dtype bool"),
        (np.zeros(784, np.uint8), ValueError, r"shape \(784,\)"),
        (np.zeros((28, 28, 2), np.uint8), ValueError, r"shape \(28, 28, 2\)"),
        (np.zeros((1, 28, 28, 3), np.uint8), ValueError, r"shape \(1, 28, 28, 3\)"),
        (np.zeros((0, 28), np.uint8), ValueError, "no pixels"),
        (memoryview(bytes(784)).cast("B", (28, 28)), TypeError, r"view of an array of shape \(28, 28\): give the array itself"),
        (PIL.Image.new("L", (0, 5)), ValueError, "0 x 5 pixels"),
        (PIL.Image.new("F", (5, 5)), ValueError, "mode F"),
        (PIL.Image.new("I", (5, 5)), ValueError, "mode I,"),
        (np.broadcast_to(np.uint8(0), (2**14 + 1, 2**14)), ValueError, "no server accepts over 268,435,456"),
        (np.broadcast_to(np.uint8(0), (2**14, 2**14 + 1, 3)), ValueError, "16385 x 16384 = 268,451,840 pixels"),
        (7, TypeError, "image is a int"),
        (None, TypeError, "image is a NoneType"),
    ],
)
def test_what_cannot_be_an_image_is_named(image: Any, kind: type[Exception], reason: str) -> None:
    with pytest.raises(kind, match=reason):
        image_from(image)


def test_a_picture_that_no_server_accepts_is_refused_before_it_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    monkeypatch.setattr(images, "_encode_png", None)
    with pytest.raises(ValueError, match="image has 10 x 10 = 100 pixels; no server accepts over 99"):
        image_from(PIL.Image.new("1", (10, 10)))


def test_no_server_can_be_told_to_accept_more_pixels() -> None:
    (limit,) = (field.metadata["at_most"] for field in dataclasses.fields(Settings) if field.name == "max_pixels")
    assert limit == images.MAX_PIXELS


def test_a_grey_pil_image_is_sent_raw() -> None:
    array = checkered(3, 5)
    assert image_from(PIL.Image.fromarray(array)) == image_from(array)


@pytest.mark.parametrize("mode", ["1", "LA", "I;16", "P", "RGB", "RGBA"])
def test_a_pil_image_keeps_its_mode_in_png(mode: str) -> None:
    image = PIL.Image.fromarray(checkered(6, 5)).convert(mode)
    sent = decoded(image_from(image))
    assert (sent.format, sent.mode) == ("PNG", mode)
    assert sent.tobytes() == image.tobytes()


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB"])
def test_a_pil_image_of_another_mode_becomes_rgb(mode: str) -> None:
    assert decoded(image_from(PIL.Image.new(mode, (4, 4)))).mode == "RGB"


@pytest.mark.parametrize(("mode", "nothing"), [("La", (0, 0)), ("PA", (9, 0)), ("RGBa", (0, 0, 0, 0))])
def test_what_is_transparent_stays_so_in_every_mode(mode: str, nothing: tuple[int, ...]) -> None:
    sent = decoded(image_from(PIL.Image.new(mode, (4, 4), nothing)))
    assert sent.mode in ("LA", "RGBA")
    assert sent.getchannel("A").getextrema() == (0, 0)


def test_the_cameras_orientation_is_applied() -> None:
    image = PIL.Image.fromarray(checkered(2, 3))
    file = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(file, "PNG", exif=exif)
    sent = decoded(image_from(PIL.Image.open(file)))
    np.testing.assert_array_equal(np.asarray(sent), np.rot90(np.asarray(image), -1))


def test_grey_transparency_survives() -> None:
    image = PIL.Image.fromarray(checkered(2, 3))
    image.info["transparency"] = 5
    assert decoded(image_from(image)).info["transparency"] == 5


def test_only_framed_images_are_packed() -> None:
    array = checkered(28, 28)
    grey = PIL.Image.fromarray(array)
    assert framed_pixels(array) == framed_pixels(grey) == array.tobytes()
    others = [
        checkered(28, 27),
        array[None],
        array.astype(np.int8),
        grey.convert("RGB"),
        grey.resize((28, 29)),
        b"x",
        "x",
    ]
    assert [framed_pixels(other) for other in others] == [None] * len(others)


def test_pixels_are_taken_when_asked() -> None:
    array = checkered(28, 28)
    pixels = framed_pixels(array)
    array[:] = 0
    assert pixels is not None
    assert any(pixels)


def test_reading_files_and_encoding_is_slow() -> None:
    slow = ["a.png", Path("a.png"), PIL.Image.new("RGB", (2, 2)), checkered(2, 2, 3)]
    quick = [b"x", bytearray(b"x"), checkered(2, 2)]
    assert [reads_slowly(image) for image in (*slow, *quick)] == [True] * 4 + [False] * 3


def test_packed_pixels_are_one_image_after_another() -> None:
    images = np.stack([checkered(28, 28), checkered(28, 28)[::-1]])
    assert packed_pixels(images) == images[0].tobytes() + images[1].tobytes()


@pytest.mark.parametrize(
    ("images", "kind", "reason"),
    [
        (np.zeros((2, 28, 28)), TypeError, "dtype float64"),
        ([[0]], TypeError, "type list"),
        (np.zeros((28, 28), np.uint8), ValueError, r"shape \(28, 28\)"),
        (np.zeros((0, 28, 28), np.uint8), ValueError, r"shape \(0, 28, 28\)"),
    ],
)
def test_what_cannot_be_packed_is_named(images: Any, kind: type[Exception], reason: str) -> None:
    with pytest.raises(kind, match=reason):
        packed_pixels(images)
