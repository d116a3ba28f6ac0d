"""Digits in forms that many hands write and MNIST hardly has: `--extra habits`.

MNIST's writers were Americans. Their 1 is a bare line, so a network that saw nothing else takes a 1 with a flag, as Europe
learns it at school, for a 7. Here are ones with flag and base, crossed and plain sevens beside them, and fours that are open
or closed at the top; all drawn by chance from a fixed seed, and framed by the server's routine as a drawing would be.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from server.preprocess import SIZE, frame
from train.data import Dataset, Images, Origin
from train.pen import CANVAS, Point, draw, smooth

COUNT = 3000
TEST_SHARE = 10  # one in ten
ORIGIN = Origin(
    name="habits",
    title="drawn ones, fours and sevens",
    source="drawn by train/habits.py",
    licence="as this program's",
    split=f"at random: one in {TEST_SHARE} to test",
)

Stroke = list[Point]  # in heights of the digit: x to the right, y down from its top


def load_habits(folder: Path | None = None) -> Dataset:
    """Draws COUNT digits, (n, SIZE, SIZE); always the same ones. Nothing is read from `folder`."""
    random = np.random.default_rng(0)
    pixels = np.stack([draw_digit(FORMS[number % len(FORMS)][1], random) for number in range(COUNT)])
    names = sorted({name for name, _ in FORMS})
    labels = torch.tensor([names.index(FORMS[number % len(FORMS)][0]) for number in range(COUNT)])
    images = Images(torch.from_numpy(pixels), labels)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    held_out = COUNT // TEST_SHARE
    return Dataset(images.take(order[held_out:]), images.take(order[:held_out]), tuple(names), None, ORIGIN)


def draw_digit(form: Callable[[np.random.Generator], list[Stroke]], random: np.random.Generator) -> NDArray[np.uint8]:
    """One digit of that form, with an unsteady hand, in the server's frame."""
    round_corners, height = random.random() < 0.4, random.uniform(55, 85)
    placed = []
    for stroke in form(random):
        corners = np.asarray(stroke) + random.normal(0, 0.015, (len(stroke), 2))
        corners = corners * height + (CANVAS / 2, (CANVAS - height) / 2)
        placed.append(smooth(corners) if round_corners else [(float(x), float(y)) for x, y in corners])
    return frame(draw(placed, random), size=SIZE).pixels


def one(random: np.random.Generator) -> list[Stroke]:
    """With a flag, and often a base. The flatter the flag, the shorter it must be, or the 1 is a 7."""
    slope = random.uniform(0, 1.2)  # radians below the level
    reach = random.uniform(0.1, 0.24 + 0.12 * slope)
    top, foot = (random.uniform(-0.05, 0.3), 0.0), (0.0, 1.0)
    flag = (top[0] - reach, min(reach * np.tan(slope), 0.5))
    strokes = [[flag, top, foot]]
    if random.random() < 0.3:
        half = random.uniform(0.15, 0.35)
        strokes.append([(-half, 1.0), (half, 1.0)])
    return strokes


def seven(random: np.random.Generator) -> list[Stroke]:
    """Its bar is twice as long as a flag would be; it may be crossed, and may hang down at its left end."""
    length, lean = random.uniform(0.45, 0.75), random.uniform(0.05, 0.4)
    bar = [(-length, random.uniform(-0.03, 0.06)), (0.0, 0.0)]
    if random.random() < 0.3:
        bar = [(-length - 0.02, random.uniform(0.1, 0.2)), *bar]
    strokes = [[*bar, (-lean, 1.0)]]
    if random.random() < 0.65:
        height, half, tilt = random.uniform(0.4, 0.6), random.uniform(0.14, 0.28), random.uniform(-0.06, 0.03)
        strokes.append([(-lean * height - half, height - tilt), (-lean * height + half, height + tilt)])
    return strokes


def four(random: np.random.Generator) -> list[Stroke]:
    """A stroke down and to the right, and a stem across it; open at the top, or meeting the stem there."""
    middle, stem, lean = random.uniform(0.5, 0.68), random.uniform(0.3, 0.45), random.uniform(-0.02, 0.15)
    is_open = random.random() < 0.5
    start = (random.uniform(-0.12, 0.02), random.uniform(0, 0.12)) if is_open else (stem + lean, 0.0)
    top = random.uniform(0, 0.3) if is_open else 0.0
    across = [
        start,
        (random.uniform(-0.2, -0.1), middle),
        (stem + random.uniform(0.12, 0.25), middle - random.uniform(0, 0.06)),
    ]
    return [across, [(stem + lean, top), (stem - lean, 1.0)]]


Form = tuple[str, Callable[[np.random.Generator], list[Stroke]]]
FORMS: tuple[Form, ...] = (("1", one), ("7", seven), ("1", one), ("4", four))
