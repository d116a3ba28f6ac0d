"""Everything can be done with keys alone, and one sees where one is."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.answers import read_answer
from tests.browser.states import open_view, picture_files

TABS = 40


def press(page: Page, key: str, times: int = 1) -> None:
    for _ in range(times):
        page.keyboard.press(key)


def walk(page: Page) -> list[str]:
    """The ids that Tab reaches from the page's top, in order, until it leaves the page; each has to show its focus."""
    page.locator("#language").focus()
    press(page, "Shift+Tab")
    found: list[str] = []
    for _ in range(TABS):
        # The chooser lies unseen in the area for dropping, which shows the focus for it.
        name, outline = page.evaluate(
            """() => {
                const focused = document.activeElement;
                if (focused === document.body) return ["", ""];
                const shown = focused.closest(".drop") ?? focused;
                return [focused.id || focused.className || focused.tagName, getComputedStyle(shown).outlineStyle];
            }"""
        )
        if not name or name in found:
            return found
        assert outline == "solid", f"no focus to be seen on {name}"
        found.append(name)
        press(page, "Tab")
    raise AssertionError(f"Tab does not come to an end: {found}")


def draw_one(page: Page) -> None:
    """A stroke from the top down through the middle."""
    page.locator("#pad").focus()
    press(page, "ArrowUp", 10)
    press(page, "Space")
    press(page, "ArrowDown", 20)
    press(page, "Space")


def test_a_one_is_drawn_with_arrows_and_space(page: Page) -> None:
    draw_one(page)
    assert read_answer(page) == "1"
    expect(page.locator("#spoken")).to_contain_text("1, ")


@pytest.mark.parametrize(("back", "forth"), [("z", "y"), ("Control+z", "Control+y"), ("Control+z", "Control+Shift+z")])
def test_undo_redo_and_clear(page: Page, back: str, forth: str) -> None:
    glyph = page.locator("#draw-answer .glyph")
    draw_one(page)
    assert read_answer(page) == "1"
    press(page, back)
    expect(glyph).to_have_text("")
    press(page, forth)
    expect(glyph).to_have_text("1")
    press(page, "Delete")
    expect(glyph).to_have_text("")
    assert page.evaluate("document.activeElement.id") == "pad"
    press(page, back)
    expect(glyph).to_have_text("1")


def test_pen_eraser_width_and_why_have_keys(page: Page) -> None:
    draw_one(page)
    press(page, "e")
    expect(page.locator("#eraser")).to_have_attribute("aria-pressed", "true")
    press(page, "p")
    expect(page.locator("#pen")).to_have_attribute("aria-pressed", "true")
    before = int(page.locator("#width").input_value())
    press(page, "]")
    assert int(page.locator("#width").input_value()) > before
    press(page, "w")
    expect(page.locator("#reason")).to_be_visible()


def test_tab_reaches_every_control_and_the_focus_is_seen(page: Page) -> None:
    top = ["model", "language", "theme"]
    assert walk(page) == [*top, "tab-draw", "pad", "pen", "width", "SUMMARY"], "the others have nothing to do"
    draw_one(page)
    press(page, "z")
    assert walk(page) == [*top, "tab-draw", "pad", "pen", "width", "redo", "SUMMARY"]
    press(page, "y")
    page.locator("#pad").press("y")
    assert walk(page) == [*top, "tab-draw", "pad", "pen", "eraser", "width", "undo", "clear", "SUMMARY", "why"]


def test_arrows_home_and_end_go_from_tab_to_tab(page: Page) -> None:
    page.locator("#tab-draw").focus()
    forth = [("ArrowRight", name) for name in ("camera", "files", "history", "draw")]
    for key, name in [*forth, ("End", "history"), ("Home", "draw"), ("ArrowLeft", "history")]:
        press(page, key)
        expect(page.locator(f"#{name}")).to_be_visible()
        assert page.evaluate("document.activeElement.id") == f"tab-{name}"


def test_the_help_about_keys_is_folded_away_and_still_read_aloud(page: Page) -> None:
    expect(page.locator("#keys")).to_be_hidden()
    expect(page.locator("#pad")).to_have_accessible_description(re.compile("arrows move the pen"))
    page.locator(".keys summary").press("Enter")
    expect(page.locator("#keys")).to_be_visible()


def test_tab_reaches_the_other_views(page: Page) -> None:
    top = ["model", "language", "theme"]
    open_view(page, "files")
    page.locator("#chooser").set_input_files(picture_files("1"))
    expect(page.locator("#csv")).to_be_enabled()
    assert walk(page) == [*top, "tab-files", "chooser", "csv", "empty", "scroll"]
    open_view(page, "draw")
    draw_one(page)
    expect(page.locator("#spoken")).to_contain_text("1, ")
    open_view(page, "history")
    assert walk(page) == [*top, "tab-history", "forget", "SELECT", "plain remove"]
