"""Image files to grey pixels: every format on the list, no other, nothing damaged, nothing huge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from server.decode import Picture, decode, open_image
from server.errors import InvalidImage
from tests.pictures import encode, encode_grey, forge_png, photograph

RAMP = np.add.outer(np.arange(40) * 4, np.arange(30) * 3).astype(np.uint8)
LOSSLESS = {
    "PNG": encode_grey(RAMP),
    "BMP": encode_grey(RAMP, "BMP"),
    "GIF": encode_grey(RAMP, "GIF"),
    "WebP": encode_grey(RAMP, "WEBP", lossless=True),
    "JPEG": encode_grey(RAMP, "JPEG", quality=95),
}
FILES = pytest.mark.parametrize("content", LOSSLESS.values(), ids=list(LOSSLESS))


def read(content: bytes, **options: Any) -> Picture:
    return decode(open_image(content, **options))


def paint_alpha(grey: int, opaque: tuple[int, int, int, int]) -> Image.Image:
    """A 20 x 20 layer of one grey that is opaque in a box only."""
    alpha = Image.new("L", (20, 20))
    alpha.paste(255, opaque)
    return Image.merge("LA", [Image.new("L", (20, 20), grey), alpha])


@FILES
def test_every_format_gives_its_pixels(content: bytes) -> None:
    picture = read(content)
    assert (picture.width, picture.height, picture.grey.dtype.name) == (30, 40, "uint8")
    np.testing.assert_allclose(picture.grey.astype(int), RAMP, atol=3)


def read_or_refuse(content: bytes) -> NDArray[np.uint8] | None:
    try:
        return read(content, max_pixels=100_000).grey
    except InvalidImage:
        return None


@FILES
def test_every_beginning_of_a_file_is_refused_or_is_the_whole_picture(content: bytes) -> None:
    whole = read(content).grey
    beginnings = [read_or_refuse(content[:length]) for length in range(len(content))]
    read_anyway = [grey for grey in beginnings if grey is not None]
    assert len(read_anyway) <= 20, "only what follows the pixels may be missing"
    for grey in read_anyway:
        np.testing.assert_array_equal(grey, whole)


@FILES
@given(data=st.data())
def test_damage_is_refused_or_harmless_and_never_anything_else(content: bytes, data: st.DataObject) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    grey = read_or_refuse(bytes(damaged))
    assert grey is None or (grey.ndim == 2 and 0 < grey.size <= 100_000)


@given(content=st.binary(max_size=200))
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidImage):
        read(content)


@pytest.mark.parametrize("kind", ["TIFF", "ICO", "PPM", "PDF", "PCX", "TGA", "JPEG2000", "SGI", "EPS"])
def test_formats_off_the_list_are_refused(kind: str) -> None:
    picture = Image.fromarray(RAMP).convert("RGB" if kind in {"TGA", "EPS", "ICO"} else "L")
    with pytest.raises(InvalidImage, match="not a readable image file"):
        open_image(encode(picture, kind))


@FILES
def test_a_file_of_the_list_that_is_spoilt_is_not_called_another_format(content: bytes) -> None:
    for length in range(18, 40):
        with pytest.raises(InvalidImage, match=r"can't be decoded: .*(truncated|damaged|broken)"):
            read(content[:length])


def test_flipped_bytes_of_a_png_are_damage() -> None:
    content = bytearray(LOSSLESS["PNG"])
    content[12:16] = b"\xff\xff\xff\xff"  # where IHDR stood
    with pytest.raises(InvalidImage, match="it begins as a PNG file does, but is truncated or damaged"):
        read(bytes(content))


@pytest.mark.parametrize("content", [b"BM is how this text begins, and it is no picture", b"RIFF\0\0\0\0WAVE", b"GIF"])
def test_what_only_resembles_a_format_is_none(content: bytes) -> None:
    with pytest.raises(InvalidImage, match="not a readable image file"):
        read(content)


def test_the_size_is_read_from_the_header() -> None:
    with pytest.raises(InvalidImage, match=r"30000 x 30000 = 900,000,000 pixels; at most 16,777,216"):
        open_image(forge_png(30_000, 30_000))


@pytest.mark.parametrize(("limit", "fits"), [(1200, True), (1199, False)])
def test_the_limit_itself_is_allowed(limit: int, fits: bool) -> None:
    if fits:
        assert read(LOSSLESS["PNG"], max_pixels=limit).grey.shape == (40, 30)
        return
    with pytest.raises(InvalidImage, match="30 x 40 = 1,200 pixels; at most 1,199"):
        open_image(LOSSLESS["PNG"], max_pixels=limit)


@pytest.mark.parametrize(("limit", "fits"), [(600, True), (599, False)])
def test_a_jpeg_may_have_twice_as_many_pixels_since_it_is_shrunk_while_it_is_decoded(limit: int, fits: bool) -> None:
    if fits:
        assert read(LOSSLESS["JPEG"], max_pixels=limit).grey.shape == (40, 30)
        return
    with pytest.raises(InvalidImage, match="30 x 40 = 1,200 pixels; at most 1,198"):
        open_image(LOSSLESS["JPEG"], max_pixels=limit)


def keep_a_second_picture_behind(first: Image.Image) -> bytes:
    """The JPEG of a phone that keeps a smaller picture or a map of brightness in the same file."""
    return encode(first, "MPO", save_all=True, append_images=[first.resize((300, 200))])


@pytest.mark.parametrize("write", [lambda page: encode(page, "JPEG"), keep_a_second_picture_behind], ids=["one", "two"])
def test_a_photo_is_shrunk_while_it_is_decoded(write: Callable[[Image.Image], bytes]) -> None:
    photo = open_image(write(Image.new("RGB", (3000, 2000), (200, 190, 180))))
    picture = decode(photo)
    assert (picture.width, picture.height, picture.grey.shape) == (3000, 2000, (500, 750))
    assert photo.size == (1500, 1000), "the decoder itself gave all pixels"


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    picture = read(encode(Image.fromarray(RAMP.astype(np.uint16) * 257)))
    np.testing.assert_array_equal(picture.grey, RAMP)


def test_one_bit_is_black_and_white() -> None:
    assert set(np.unique(read(encode(Image.fromarray(RAMP > 100))).grey)) == {0, 255}


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "CMYK"])
def test_every_mode_gives_grey(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    picture = read(encode(Image.fromarray(RAMP).convert(mode), kind))
    np.testing.assert_allclose(picture.grey.astype(int), RAMP, atol=8)


def test_an_animation_is_its_first_frame() -> None:
    first, other = Image.fromarray(RAMP), Image.new("L", (30, 40))
    for kind in ("GIF", "WEBP", "PNG"):
        content = encode(first, kind, save_all=True, append_images=[other, other], duration=10, lossless=True)
        np.testing.assert_allclose(read(content).grey.astype(int), RAMP, atol=3)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_photo_stands_upright(orientation: int) -> None:
    picture = read(photograph(RAMP, orientation))
    assert (picture.width, picture.height) == (30, 40)
    np.testing.assert_allclose(picture.grey.astype(int), RAMP, atol=6)


def test_an_orientation_that_does_not_exist_is_none() -> None:
    exif = Image.Exif()
    exif[0x0112] = 99
    assert read(encode_grey(RAMP, "JPEG", exif=exif)).grey.shape == (40, 30)


def test_a_photo_with_damaged_exif_is_still_read() -> None:
    content = encode_grey(RAMP, "JPEG", exif=b"Exif\0\0this is no TIFF header at all")
    np.testing.assert_allclose(read(content).grey.astype(int), RAMP, atol=6)


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 95}), ("PNG", {})])
def test_a_large_picture_is_decoded_smaller_and_keeps_its_size(kind: str, options: dict[str, Any]) -> None:
    page = np.full((3000, 2000), 200, np.uint8)
    page[1500:, :] = 40
    picture = read(encode_grey(page, kind, **options))
    assert (picture.width, picture.height) == (2000, 3000)
    assert max(picture.grey.shape) <= 1024
    assert picture.grey.shape[0] / picture.grey.shape[1] == pytest.approx(1.5, rel=0.01)
    assert (picture.grey[10, 10], picture.grey[-10, -10]) == (200, 40)


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (100, 255), (255, 0), (160, 0)])
def test_paper_under_a_drawing_contrasts_with_its_ink(ink: int, paper: int) -> None:
    grey = read(encode(paint_alpha(ink, (8, 8, 12, 12)))).grey
    assert (grey[10, 10], grey[0, 0]) == (ink, paper)


def test_transparent_corners_take_the_pictures_own_brightness() -> None:
    assert read(encode(paint_alpha(180, (0, 1, 20, 20)))).grey[0, 0] == 180


def test_nothing_but_glass_is_black() -> None:
    assert not read(encode(paint_alpha(180, (0, 0, 0, 0)))).grey.any()


def show_palette(transparency: int | bytes) -> NDArray[np.uint8]:
    """A palette picture of brightness 200 with a square of brightness 30, one of the two transparent."""
    image = Image.new("P", (20, 20), 0)
    image.putpalette([200, 200, 200, 30, 30, 30])
    image.paste(1, (8, 8, 12, 12))
    return read(encode(image, transparency=transparency)).grey


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_a_transparent_palette_entry_is_paper(transparency: int | bytes) -> None:
    grey = show_palette(transparency)
    assert (grey[10, 10], grey[0, 0]) == (30, 255)
