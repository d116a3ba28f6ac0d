"""Ruled paper: printed lines go, and what somebody drew stays. Pictures are reliefs: ink and lines above paper at 0."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from server.ruling import erase_ruling, measure_pen

Field = NDArray[np.float32]

SIDE = 192
THRESHOLD = 10.0


def draw(strokes: list[list[tuple[float, float]]], pen: int) -> Field:
    image = Image.new("L", (SIDE, SIDE))
    for points in strokes:
        ImageDraw.Draw(image).line(points, fill=200, width=pen, joint="curve")
    return np.asarray(image, np.float32)


def rule(*, gap: float = 30, level: float = 100, tilt: float = 0.0, bend: float = 0.0, thickness: int = 3) -> Field:
    """Lines from the left to the right; `tilt` and `bend` in pixels down from the middle to the border."""
    across = np.linspace(-1, 1, SIDE)
    rows = np.arange(SIDE)[:, None] + 11 - np.rint(tilt * across + bend * across**2)
    return np.where(rows % gap < thickness, level, 0).astype(np.float32)


SEVEN = draw([[(60, 45), (125, 45), (85, 150)]], 12)


@pytest.mark.parametrize(
    "paper",
    [
        rule(),
        rule().T,
        np.maximum(rule(), rule().T),
        rule(level=200),
        rule(level=250, thickness=2),
        rule(level=60, thickness=7),
        rule(tilt=10),
        rule(tilt=-10).T,
        rule(bend=3),
        np.where(np.arange(SIDE)[:, None] == np.full(SIDE, 140), 150, 0).astype(np.float32),
    ],
    ids=["ruled", "upright", "checked", "as the pen", "stronger", "thick", "tilted", "tilted, upright", "bent", "one line"],
)
def test_printed_lines_go_and_the_character_stays(paper: Field) -> None:
    rest = erase_ruling(np.maximum(SEVEN, paper), THRESHOLD)
    beside = (SEVEN == 0) & (rest > 40)
    lost = (SEVEN > 0) & (rest < 100)
    assert np.count_nonzero(paper > 40) > 0.08 * np.count_nonzero(SEVEN)
    assert np.count_nonzero(beside) < 0.2 * np.count_nonzero(paper > 40)
    assert np.count_nonzero(lost) < 0.06 * np.count_nonzero(SEVEN)


def test_paper_without_lines_is_left_alone() -> None:
    assert erase_ruling(SEVEN, THRESHOLD) is SEVEN


def waver(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """A line as a hand draws it."""
    along = np.linspace(0, 1, 30)
    aside = 2.5 * np.sin(9 * along + start[0])
    points = np.array(start) + np.outer(along, np.subtract(end, start)) + aside[:, None]
    return [(float(x), float(y)) for x, y in points]


@pytest.mark.parametrize("pen", [2, 4, 9])
def test_a_grid_drawn_by_hand_is_no_paper(pen: int) -> None:
    across = [waver((-5, y), (SIDE + 5, y)) for y in (30, 75, 120, 165)]
    down = [waver((x, -5), (x, SIDE + 5)) for x in (30, 75, 120, 165)]
    drawn = np.maximum(draw([*across, *down], pen), draw([[(85, 90), (110, 105)]], 12))
    assert (erase_ruling(drawn, THRESHOLD) == drawn).all()


@pytest.mark.parametrize(
    "strokes",
    [
        [[(0, 96), (192, 96)]],
        [[(0, 70), (192, 70)], [(0, 120), (192, 120)]],
        [[(0, 70), (192, 70)], [(0, 120), (192, 120)], [(70, 0), (70, 192)], [(120, 0), (120, 192)]],
        [[(40, 0), (40, 192)], [(150, 0), (150, 192)], [(40, 96), (150, 96)]],
    ],
    ids=["dash", "equals", "hash", "H"],
)
def test_straight_strokes_of_the_pen_stay_though_they_reach_the_borders(strokes: list[list[tuple[float, float]]]) -> None:
    drawn = draw(strokes, 9)
    assert (erase_ruling(drawn, THRESHOLD) == drawn).all()


def test_paper_with_nothing_on_it_is_left_alone() -> None:
    paper = rule()
    assert (erase_ruling(paper, THRESHOLD) == paper).all()


def test_the_pens_width_is_measured() -> None:
    assert measure_pen(SEVEN > 0) == pytest.approx(12, rel=0.3)
