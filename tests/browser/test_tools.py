"""Dots, palms and the eraser: what the pad makes of them."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.answers import clear, read_answer
from tests.browser.conftest import OpenPage
from tests.browser.hands import Stroke, connect, draw_with_mouse, draw_with_pen, place_on_pad, read_hand

THREE = read_hand("round")["3"]
PALM: Stroke = [(0.9, 0.9), (0.9, 0.95), (0.95, 0.95)]
# Through a copy: a browser minds if the canvas itself is read back again and again.
LEVEL = """(pad, [x, y]) => {
    const copy = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    copy.drawImage(pad, -x * pad.width, -y * pad.height);
    return copy.getImageData(0, 0, 1, 1).data[3];
}"""


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
    """To the last pixel: otherwise the answer would change when the pen is lifted."""
    (x, y), (end_x, end_y) = place_on_pad(page, [[(0.3, 0.3), (0.7, 0.6)]])[0]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(end_x, end_y)
    page.evaluate("new Promise(requestAnimationFrame)")
    before = page.locator("#pad").evaluate("pad => pad.toDataURL()")
    page.mouse.up()
    assert page.locator("#pad").evaluate("pad => pad.toDataURL()") == before


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
    expect(invitation).to_have_text("Draw here")
    expect(eraser).to_be_disabled()
    page.locator("#undo").click()
    assert read_answer(page), "what was erased last is there again"
