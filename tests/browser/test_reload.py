"""A reload loses nothing that one sees, and Back goes to the view before."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.answers import clear, read_answer
from tests.browser.conftest import OpenPage
from tests.browser.hands import draw_with_mouse, read_hand
from tests.browser.states import open_view
from tests.browser.test_history import CARDS
from tests.browser.test_screens import PHONE

SEVEN = read_hand("slanted")["7"]


def test_the_drawing_is_there_again_and_stays_what_it_was(page: Page) -> None:
    """It has its one card, and none if the reader took that away."""
    draw_with_mouse(page, SEVEN)
    assert read_answer(page) == "7"
    expect(page.locator("#spoken")).to_contain_text("7, ")
    page.reload()
    expect(page.locator("#draw-answer .glyph")).to_have_text("7")
    expect(page.locator("#spoken")).to_contain_text("7, ")
    open_view(page, "history")
    expect(page.locator(CARDS)).to_have_count(1)
    page.locator(".remove").click()
    page.reload()
    expect(page.locator("#history")).to_be_visible()
    open_view(page, "draw")
    assert read_answer(page) == "7"
    for _ in SEVEN:
        page.locator("#undo").click()
    expect(page.locator("#undo")).to_be_disabled()
    page.locator("#redo").click()
    clear(page)
    open_view(page, "history")
    expect(page.locator(CARDS)).to_have_count(0)
    page.reload()
    open_view(page, "draw")
    expect(page.locator("#invitation")).to_be_visible()


def test_views_have_addresses_and_back_goes_to_the_one_before(open_page: OpenPage) -> None:
    page = open_page(viewport=PHONE | {"height": 400}, has_touch=True, is_mobile=True).page
    open_view(page, "camera")
    open_view(page, "history")
    assert page.url.endswith("/#history")
    page.go_back()
    expect(page.locator("#camera")).to_be_visible()
    expect(page.locator("#tab-camera")).to_have_attribute("aria-selected", "true")
    page.reload()
    expect(page.locator("#model")).to_be_enabled()
    expect(page.locator("#camera")).to_be_visible()
    page.go_forward()
    expect(page.locator("#history")).to_be_visible()
    for _ in range(2):
        page.go_back()
    expect(page.locator("#draw")).to_be_visible()
    assert page.url.endswith("/")
    page.goto("/#history")
    expect(page.locator("#history")).to_be_visible()
    other = page.context.new_page()
    other.goto("/#camera")
    expect(other.locator("#model")).to_be_enabled()
    expect(other.locator("#camera")).to_be_visible()
    assert other.evaluate("[document.documentElement.scrollHeight > innerHeight, scrollY]") == [True, 0]
