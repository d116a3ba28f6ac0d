"""Digits that people wrote, drawn with everything that draws, are read as they are drawn."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.answers import clear, read_answer
from tests.browser.conftest import OpenPage
from tests.browser.hands import (
    DIGITS,
    HANDS,
    Stroke,
    draw_with_finger,
    draw_with_mouse,
    draw_with_pen,
    place_on_pad,
    read_hand,
)

Draw = Callable[[Page, list[Stroke]], None]


def read_all(page: Page, hand: str, draw: Draw) -> str:
    """What the page says of the ten digits of that hand."""
    answers = []
    for strokes in read_hand(hand).values():
        draw(page, strokes)
        answers.append(read_answer(page))
        clear(page)
    return "".join(answers)


@pytest.mark.parametrize("hand", HANDS)
def test_ten_digits_of_each_hand_drawn_with_the_mouse(page: Page, hand: str) -> None:
    assert read_all(page, hand, draw_with_mouse) == DIGITS


def test_ten_digits_drawn_with_a_finger(open_page: OpenPage) -> None:
    page = open_page(has_touch=True).page
    assert read_all(page, "round", draw_with_finger) == DIGITS


def test_ten_digits_drawn_with_a_pen(page: Page) -> None:
    assert read_all(page, "slanted", draw_with_pen) == DIGITS


def test_the_answer_is_there_before_the_pen_is_lifted(page: Page) -> None:
    [[start, *rest]] = place_on_pad(page, read_hand("round")["2"])
    page.mouse.move(*start)
    page.mouse.down()
    for point in rest:
        page.mouse.move(*point)
    expect(page.locator("#draw-answer .glyph")).to_have_text("2")
    page.mouse.up()


def test_a_browser_that_tells_of_moves_only_with_its_frames_will_do(page: Page) -> None:
    page.add_init_script("delete window.onpointerrawupdate")
    page.reload()
    assert not page.evaluate("'onpointerrawupdate' in window")
    draw_with_mouse(page, read_hand("round")["5"])
    assert read_answer(page) == "5"


def test_a_pen_that_presses_harder_draws_thicker(page: Page) -> None:
    """The line grows from 0.8 to 1.2 times its width: more ink on its lower half."""
    draw_with_pen(page, [[(0.5, 0.1 + 0.02 * step) for step in range(41)]])
    upper, lower = page.evaluate(
        """() => {
            const pad = document.getElementById("pad");
            const { data } = pad.getContext("2d").getImageData(0, 0, pad.width, pad.height);
            const rowsOfInk = (top) => data.slice(4 * pad.width * Math.round(top * pad.height)).slice(0, data.length / 5);
            return [0.2, 0.6].map((top) => rowsOfInk(top).filter((value, i) => i % 4 === 3 && value > 127).length);
        }"""
    )
    assert 1.1 < lower / upper < 1.5
