"""Dots, palms and the eraser: what the pad makes of them."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.answers import clear, read_answer
from tests.browser.conftest import OpenPage
from tests.browser.hands import Stroke, connect, curve, draw_with_mouse, draw_with_pen, place_on_pad, read_hand

THREE = read_hand("round")["3"]
PALM: Stroke = [(0.9, 0.9), (0.9, 0.95), (0.95, 0.95)]
MANY_POINTS = 128
# Through a copy: a browser minds if the canvas itself is read back again and again.
LEVEL = """(pad, [x, y]) => {
    const copy = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    copy.drawImage(pad, -x * pad.width, -y * pad.height);
    return copy.getImageData(0, 0, 1, 1).data[3];
}"""


def levels(page: Page) -> Any:
    """The ink of each of the pad's pixels, of 255, row by row."""
    picture = page.locator("#pad").evaluate("pad => pad.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))).getchannel("A")).astype(int)


def level_at(page: Page, x: float, y: float) -> int:
    """How much ink there is, of 255."""
    return int(page.locator("#pad").evaluate(LEVEL, [x, y]))


def test_a_click_and_a_key_make_dots_that_stay_and_are_sent(page: Page) -> None:
    glyph = page.locator("#draw-answer .glyph")
    [[(x, y)]] = place_on_pad(page, [[(0.3, 0.3)]])
    page.mouse.click(x, y)
    assert level_at(page, 0.3, 0.3) == 255
    assert read_answer(page), "it was not sent"
    clear(page)
    page.locator("#pad").press("Space")
    assert level_at(page, 0.5, 0.5) == 255
    page.locator("#pad").press("Space")
    assert level_at(page, 0.5, 0.5) == 255
    expect(glyph).not_to_have_text("")


def test_a_line_that_is_under_way_is_the_line_that_stays(page: Page) -> None:
    """But for what a canvas makes of the same edge twice: otherwise the answer would change when the pen is lifted."""
    start, *rest = place_on_pad(page, [list(curve(THREE[0], 8))])[0]
    page.mouse.move(*start)
    page.mouse.down()
    for point in rest:
        page.mouse.move(*point)
    before = levels(page)
    page.mouse.up()
    difference = np.abs(levels(page) - before)
    assert len(rest) > MANY_POINTS, "some of it is settled while the rest grows"
    assert difference.max() < 80
    assert (difference > 0).mean() < 0.005


def test_a_straight_line_has_straight_edges(page: Page) -> None:
    """Also while it grows, key by key: where pieces met, their edges were darker than between, and looked dashed."""
    pad = page.locator("#pad")
    for key in ("Shift+ArrowUp", "Space", *["ArrowRight"] * 12):
        pad.press(key)
    ink = levels(page)
    columns = ink[:, ink.shape[1] // 2 + 10 : ink.shape[1] // 2 + 150]
    assert columns.max() == 255
    assert (np.ptp(columns, axis=1) <= 16).all(), "the same from end to end, in each row"


def test_a_pen_takes_over_from_the_palm(open_page: OpenPage) -> None:
    """The palm comes first, stays, and leaves nothing: no ink, and nothing to undo or to redo."""
    page = open_page(has_touch=True).page
    with connect(page) as session:
        for kind, (x, y) in zip(("touchStart", "touchMove", "touchMove"), place_on_pad(page, [PALM])[0], strict=True):
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        assert level_at(page, *PALM[0]) == 255
        draw_with_pen(page, THREE)
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert read_answer(page) == "3"
    assert level_at(page, *PALM[0]) == 0
    for button in ("#undo", "#redo"):
        for _ in THREE:
            page.locator(button).click()
        expect(page.locator(button)).to_be_disabled()
    assert read_answer(page) == "3"
    assert level_at(page, *PALM[0]) == 0


def test_the_eraser_ends_with_what_it_erases(page: Page) -> None:
    eraser, pen, sentence = (page.locator(name) for name in ("#eraser", "#pen", "#draw-answer .sentence"))
    expect(eraser).to_be_disabled()
    page.locator("#pad").press("e")
    expect(pen).to_have_attribute("aria-pressed", "true")
    draw_with_mouse(page, THREE)
    eraser.click()
    clear(page)
    draw_with_mouse(page, THREE)
    assert read_answer(page) == "3", "the eraser outlived the drawing"
    eraser.click()
    page.locator("#width").fill("44")
    draw_with_mouse(page, [[(0.05, row / 5), (0.95, row / 5)] for row in range(6)])
    invitation = page.locator("#invitation")
    expect(invitation).to_have_text("All is erased. Take the pen to draw.")
    expect(sentence).to_have_text("The answer comes while you draw.")
    pen.click()
    expect(invitation).to_have_text("Draw one character")
    expect(eraser).to_be_disabled()
    page.locator("#undo").click()
    assert read_answer(page), "what was erased last is there again"
