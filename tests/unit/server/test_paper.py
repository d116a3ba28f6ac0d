"""The paper: noise is told from drawings, however thin or dotted."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from server.paper import is_speckled, wipe_specks

Mask = NDArray[np.bool_]

SIDE = 192


def strew(share: float, size: int = 1) -> Mask:
    cells = np.random.default_rng(0).random((SIDE // size, SIDE // size)) < share
    return np.kron(cells, np.ones((size, size), bool))


def draw_spiral(pen: int) -> Mask:
    """A line all over the paper."""
    turns = np.linspace(0, 14 * np.pi, 900)
    image = Image.new("L", (SIDE, SIDE))
    points = [(96 + 2.1 * t * np.cos(t), 96 + 2.1 * t * np.sin(t)) for t in turns.tolist()]
    ImageDraw.Draw(image).line(points, fill=255, width=pen)
    return np.asarray(image) > 127


def draw_dots(pen: int) -> Mask:
    """A dotted circle that touches all four borders."""
    image = Image.new("L", (SIDE, SIDE))
    for turn in np.linspace(0, 2 * np.pi, 40).tolist():
        x, y = 96 + 94 * np.cos(turn), 96 + 94 * np.sin(turn)
        ImageDraw.Draw(image).ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=255)
    return np.asarray(image) > 127


@pytest.mark.parametrize(("share", "size"), [(0.01, 1), (0.05, 1), (0.2, 1), (0.02, 2)])
def test_noise_is_seen_at_any_density(share: float, size: int) -> None:
    assert is_speckled(strew(share, size))
    image = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(image).ellipse((50, 40, 140, 150), outline=255, width=12)
    assert is_speckled(strew(share, size) | (np.asarray(image) > 127))


@pytest.mark.parametrize("pen", [1, 2, 3, 8])
def test_thin_and_dotted_drawings_are_no_noise(pen: int) -> None:
    assert not is_speckled(draw_spiral(pen))
    assert not is_speckled(draw_dots(pen))


def test_a_grain_of_dust_is_no_noise() -> None:
    dusty = draw_spiral(6)
    dusty[2, 100] = dusty[180, 3] = True
    assert not is_speckled(dusty)


def test_wiping_takes_specks_and_fills_holes() -> None:
    ink = np.zeros((40, 40), np.float32)
    ink[10:30, 10:30] = 200
    noisy = ink.copy()
    noisy[3, 3], noisy[20, 20] = 200, 0
    wiped = wipe_specks(noisy)
    assert wiped.dtype == np.float32
    assert np.count_nonzero(wiped != ink) == 4  # the square's corners
