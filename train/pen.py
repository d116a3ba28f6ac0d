"""Lines as a pen draws them, for pictures that nobody had to write by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

CANVAS = 112  # pixels a side on which is drawn, four times the frame's

Grey = NDArray[np.uint8]
Point = tuple[float, float]


def draw(strokes: Sequence[Sequence[Point]], random: np.random.Generator) -> Grey:
    """Light lines on black, (CANVAS, CANVAS): all with the same pen, as wide as chance will have it."""
    canvas = Image.new("L", (CANVAS, CANVAS))
    pen, width = ImageDraw.Draw(canvas), int(random.integers(4, 12))
    for stroke in strokes:
        pen.line(list(stroke), fill=255, width=width, joint="curve")
    return np.asarray(canvas.filter(ImageFilter.GaussianBlur(1.0)))


def smooth(corners: ArrayLike) -> list[Point]:
    """A curve through the middles of the corners (n, 2), by quadratic splines, as a hand would round them."""
    points = np.asarray(corners, np.float64)
    middles = (points[1:] + points[:-1]) / 2
    t = np.linspace(0, 1, 12)[:, None]
    pieces = [
        (1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end
        for start, corner, end in zip(middles[:-1], points[1:-1], middles[1:], strict=True)
    ]
    return [(float(x), float(y)) for x, y in np.concatenate([points[:1], *pieces, points[-1:]])]
