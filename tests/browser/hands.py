"""Digits as people write them, and three ways to draw them: mouse, finger and pen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import CDPSession, Page

STROKES = Path(__file__).parents[1] / "data/strokes"
HANDS = tuple(sorted(file.stem for file in STROKES.glob("*.json")))
DIGITS = "0123456789"
OVERSAMPLING = 4

Point = tuple[float, float]
Stroke = list[Point]


def read_hand(name: str) -> dict[str, list[Stroke]]:
    """Strokes of each digit: x and y in a unit square, from the top left."""
    digits = json.loads((STROKES / f"{name}.json").read_text(encoding="utf-8"))["digits"]
    return {digit: [[(x, y) for x, y in stroke] for stroke in strokes] for digit, strokes in digits.items()}


def place_on_pad(page: Page, strokes: list[Stroke]) -> list[Stroke]:
    """The same strokes in the window's own pixels."""
    box = page.locator("#pad").bounding_box()
    assert box, "the pad is not shown"
    return [[(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke] for stroke in strokes]


def draw_with_mouse(page: Page, strokes: list[Stroke]) -> None:
    for (x, y), *rest in place_on_pad(page, strokes):
        page.mouse.move(x, y)
        page.mouse.down()
        for x, y in rest:
            page.mouse.move(x, y)
        page.mouse.up()


def draw_with_finger(page: Page, strokes: list[Stroke]) -> None:
    with connect(page) as session:

        def touch(kind: str, *points: Point) -> None:
            touched = [{"x": x, "y": y} for x, y in points]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})

        for start, *rest in place_on_pad(page, strokes):
            touch("touchStart", start)
            for point in rest:
                touch("touchMove", point)
            touch("touchEnd")


def draw_with_pen(page: Page, strokes: list[Stroke]) -> None:
    """With a pressure that grows along each stroke."""
    with connect(page) as session:

        def move_pen(kind: str, point: Point, pressure: float) -> None:
            pen = {"pointerType": "pen", "button": "left", "buttons": int(kind != "mouseReleased"), "clickCount": 1}
            session.send("Input.dispatchMouseEvent", {"type": kind, "x": point[0], "y": point[1], "force": pressure, **pen})

        for stroke in place_on_pad(page, strokes):
            move_pen("mousePressed", stroke[0], 0.3)
            for number, point in enumerate(stroke[1:], 1):
                move_pen("mouseMoved", point, 0.3 + 0.4 * number / len(stroke))
            move_pen("mouseReleased", stroke[-1], 0.0)


@contextmanager
def connect(page: Page) -> Iterator[CDPSession]:
    """The browser's own protocol: Playwright has no pens, and no fingers that draw."""
    session = page.context.new_cdp_session(page)
    try:
        yield session
    finally:
        session.detach()


def paint(strokes: list[Stroke], side: int = 240, pen_share: float = 0.08) -> Image.Image:
    """A grey picture of the strokes: dark ink on light paper."""
    large = side * OVERSAMPLING
    image = Image.new("L", (large, large), 240)
    radius, brush = pen_share * large / 2, ImageDraw.Draw(image)
    for stroke in strokes:
        for x, y in curve(stroke):
            brush.circle((x * large, y * large), radius, fill=20)
    return image.resize((side, side), Image.Resampling.BOX)


def curve(stroke: Stroke, pieces: int = 24) -> Iterator[Point]:
    """Points close to each other on curves through the middles between the stroke's own, as the page draws them."""
    middles = [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in pairwise(stroke)]
    corners = [(stroke[0], stroke[0], middles[0]), *zip(middles, stroke[1:-1], middles[1:], strict=False)]
    for start, corner, end in [*corners, (middles[-1], stroke[-1], stroke[-1])]:
        for number in range(pieces + 1):
            share = number / pieces
            parts = ((1 - share) ** 2, 2 * share * (1 - share), share**2)
            x, y = (sum(part * point[axis] for part, point in zip(parts, (start, corner, end), strict=True)) for axis in (0, 1))
            yield x, y
