"""What the page says."""

from __future__ import annotations

from playwright.sync_api import Page, expect


def read_answer(page: Page) -> str:
    """The answer to the drawing as it is now: what is asked last has been answered."""
    expect(page.locator("#draw-answer")).to_have_attribute("aria-busy", "false")
    return page.locator("#draw-answer .glyph").inner_text()


def clear(page: Page) -> None:
    page.locator("#clear").click()
    expect(page.locator("#draw-answer .glyph")).to_have_text("")
