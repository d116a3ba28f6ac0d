"""The framing routine, on drawings made here: every kind of picture must come out as MNIST would frame it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from server.preprocess import Box, Ink, frame, is_framed, take_framed

Grey = NDArray[np.uint8]


def draw_seven(width: int = 200, height: int = 200, *, pen: int = 14, left: int = 60, top: int = 40, side: int = 110) -> Grey:
    """A seven in white on black: a bar and a slanted stem."""
    image = Image.new("L", (width, height))
    corners = [(left, top), (left + side * 0.7, top), (left + side * 0.25, top + side)]
    ImageDraw.Draw(image).line(corners, fill=255, width=pen, joint="curve")
    return np.asarray(image)


def ink_box(pixels: Grey) -> tuple[int, int]:
    rows, columns = np.flatnonzero(pixels.max(axis=1)), np.flatnonzero(pixels.max(axis=0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def distance(first: Grey, second: Grey) -> float:
    """The mean difference in grey levels, under the best shift of up to a pixel: rounding may place ink one pixel aside."""
    shifted = [np.roll(second, (y, x), axis=(0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return min(float(abs(first.astype(int) - one).mean()) for one in shifted)


REFERENCE = frame(draw_seven()).pixels


def test_the_frame_is_as_in_mnist() -> None:
    assert REFERENCE.shape == (28, 28)
    assert REFERENCE.dtype == np.uint8
    assert max(ink_box(REFERENCE)) == 20
    assert REFERENCE.max() == 255
    assert is_framed(REFERENCE[None]) == [True]


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("dark ink on white", 255 - draw_seven()),
        ("in a corner", draw_seven(left=5, top=5)),
        ("twice the size", draw_seven(400, 400, pen=28, left=120, top=80, side=220)),
        ("a wide page", draw_seven(900, 200)),
        ("a photo's pixels", draw_seven(3000, 3000, pen=210, left=900, top=600, side=1650)),
        ("faint pencil", (235 - draw_seven() // 4).astype(np.uint8)),
        ("grey on dark grey", (40 + draw_seven() // 3).astype(np.uint8)),
    ],
)
def test_size_place_polarity_and_contrast_do_not_matter(name: str, picture: Grey) -> None:
    framed = frame(picture)
    assert not framed.blank
    assert distance(REFERENCE, framed.pixels) < 8, name


def test_uneven_light_is_no_ink() -> None:
    across = np.linspace(120, 250, 200)[None, :] * np.linspace(0.8, 1.0, 200)[:, None]
    photo = np.where(draw_seven() > 127, across * 0.35, across).astype(np.uint8)
    assert distance(REFERENCE, frame(photo).pixels) < 8


def test_noise_and_dust_are_no_ink() -> None:
    rng = np.random.default_rng(0)
    photo = 200.0 - draw_seven() * 0.55 + rng.normal(0, 6, (200, 200))
    photo[170:173, 20:23] = 40  # dust
    photo[10:12, 150:152] = 40
    framed = frame(np.clip(photo, 0, 255).astype(np.uint8))
    assert distance(REFERENCE, framed.pixels) < 8


def strew_salt(picture: Grey, share: float, size: int) -> Grey:
    """Black and white specks of size x size pixels."""
    cells = np.random.default_rng(3).random((-(-picture.shape[0] // size), -(-picture.shape[1] // size)))
    draw = np.kron(cells, np.ones((size, size)))[: picture.shape[0], : picture.shape[1]]
    return np.where(draw < share, np.where(draw < share / 2, 0, 255), picture).astype(np.uint8)


@pytest.mark.parametrize(("side", "share", "size"), [(280, 0.08, 1), (280, 0.2, 1), (600, 0.08, 3), (200, 0.15, 1)])
def test_salt_and_pepper_are_no_ink(side: int, share: float, size: int) -> None:
    picture = np.asarray(Image.fromarray(draw_seven()).resize((side, side)))
    for one in (picture, 255 - picture):
        assert distance(REFERENCE, frame(strew_salt(one, share, size)).pixels) < 8


@pytest.mark.parametrize("tilt", [-14, 0, 14])
@pytest.mark.parametrize(("level", "thickness"), [(185, 4), (60, 3), (20, 2)], ids=["pale", "as the pen", "stronger"])
@pytest.mark.parametrize("checked", [False, True])
def test_ruled_paper_is_no_ink(tilt: int, level: int, thickness: int, checked: bool) -> None:
    rows, columns = np.indices((200, 200))
    down = rows + np.rint(tilt * columns / 200).astype(int)
    lines = down % 31 < thickness
    if checked:
        lines |= (columns - np.rint(tilt * rows / 200).astype(int)) % 31 < thickness
    photo = np.minimum(np.where(draw_seven() > 127, 60, 235), np.where(lines, level, 235)).astype(np.uint8)
    assert distance(REFERENCE, frame(photo).pixels) < 10
    assert distance(REFERENCE, frame(255 - photo).pixels) < 10


def test_a_drawing_that_reaches_the_borders_is_all_ink() -> None:
    hash_mark = Image.new("L", (200, 200))
    for place in (70, 130):
        ImageDraw.Draw(hash_mark).line([(0, place), (200, place)], fill=255, width=10)
        ImageDraw.Draw(hash_mark).line([(place, 0), (place, 200)], fill=255, width=10)
    pixels = frame(np.asarray(hash_mark)).pixels
    assert (pixels.max(axis=0) > 0).sum() == 20
    assert np.count_nonzero(pixels[:, 14] > 127) >= 2


def test_the_edge_of_the_paper_is_no_ink() -> None:
    photo = (255 - draw_seven()).astype(np.uint8)
    photo[:, :6] = 20  # the dark table beside the sheet
    assert distance(REFERENCE, frame(photo).pixels) < 8


def test_a_hair_thin_line_does_not_fade() -> None:
    thin = 255 - draw_seven(600, 600, pen=3, left=180, top=120, side=330)
    pixels = frame(thin).pixels
    assert is_framed(pixels[None]) == [True]
    assert pixels.astype(int).sum() > 0.5 * REFERENCE.astype(int).sum()


def test_a_pale_stroke_belongs_to_the_character() -> None:
    plus = np.zeros((200, 200), np.uint8)
    plus[40:160, 92:108] = 255
    plus[92:108, 20:180] = np.maximum(plus[92:108, 20:180], 115)  # the pen hardly touched the paper
    height, width = ink_box(frame(plus).pixels)
    assert width == 20
    assert 14 <= height <= 16


def test_the_box_is_in_the_images_own_pixels() -> None:
    box = frame(draw_seven(1000, 500, pen=20, left=600, top=200, side=200)).box
    assert box.left == pytest.approx(590, abs=16)
    assert box.top == pytest.approx(190, abs=16)
    assert box.left + box.width == pytest.approx(750, abs=20)
    assert box.top + box.height == pytest.approx(410, abs=20)


def test_ink_can_be_told() -> None:
    heavy = 255 - draw_seven(60, 60, pen=26, left=14, top=12, side=40)  # more ink than paper, reaching the border
    assert frame(heavy, ink=Ink.DARK).pixels.astype(int).sum() != frame(heavy, ink=Ink.LIGHT).pixels.astype(int).sum()


@pytest.mark.parametrize("level", [0, 1, 100, 254, 255])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (28, 28), (300, 200)])
def test_paper_without_ink_is_blank(level: int, shape: tuple[int, int]) -> None:
    framed = frame(np.full(shape, level, np.uint8))
    assert framed.blank
    assert not framed.pixels.any()
    assert framed.box == Box(0, 0, shape[1], shape[0])


def test_noisy_paper_without_ink_is_blank() -> None:
    paper = np.clip(np.random.default_rng(1).normal(210, 4, (300, 300)), 0, 255).astype(np.uint8)
    assert frame(paper).blank


def test_other_frame_sizes_keep_the_proportions() -> None:
    framed = frame(draw_seven(), size=64)
    assert framed.pixels.shape == (64, 64)
    assert max(ink_box(framed.pixels)) == round(64 * 20 / 28)


def test_what_is_framed_already_survives_nearly_unchanged() -> None:
    blurred = np.asarray(Image.fromarray(REFERENCE).filter(ImageFilter.GaussianBlur(0.4)))
    assert distance(REFERENCE, frame(REFERENCE).pixels) < 2
    assert distance(REFERENCE, frame(blurred).pixels) < 12


def test_taking_a_framed_image_changes_nothing() -> None:
    framed = take_framed(REFERENCE)
    assert framed.pixels is REFERENCE
    assert framed.box == Box(0, 0, 28, 28)
    assert not framed.blank
    assert (take_framed(255 - REFERENCE, ink=Ink.DARK).pixels == REFERENCE).all()
    assert take_framed(np.zeros((28, 28), np.uint8)).blank


@pytest.mark.parametrize(
    "image",
    [
        np.roll(REFERENCE, 2, axis=0),
        np.roll(REFERENCE, -2, axis=1),
        255 - REFERENCE,
        np.pad(REFERENCE[::2, ::2], 7),
        np.asarray(Image.fromarray(REFERENCE).resize((36, 36)))[4:32, 4:32],
    ],
    ids=["low", "left", "inverted", "small", "large"],
)
def test_what_is_not_framed_is_seen(image: Grey) -> None:
    assert is_framed(np.stack([REFERENCE, image, REFERENCE])) == [True, False, True]


def test_all_of_mnist_counts_as_framed(mnist_test: tuple[Grey, Grey]) -> None:
    images, _ = mnist_test
    assert all(is_framed(images))


@settings(max_examples=200, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 70), st.integers(1, 70))), st.sampled_from(Ink))
def test_any_picture_gives_a_valid_frame(picture: Grey, ink: Ink) -> None:
    framed = frame(picture, ink=ink)
    left, top, width, height = framed.box
    assert framed.pixels.shape == (28, 28)
    assert framed.blank == (not framed.pixels.any())
    assert left >= 0 <= top
    assert width >= 1 <= height
    assert left + width <= picture.shape[1]
    assert top + height <= picture.shape[0]
