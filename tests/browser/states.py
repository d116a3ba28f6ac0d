"""The page's main states, each reached as a person reaches it."""

from __future__ import annotations

import io
from collections.abc import Callable

from playwright.sync_api import FilePayload, Page, Route, expect

from tests.browser.answers import clear, read_answer
from tests.browser.hands import Stroke, draw_with_mouse, paint, read_hand

CALLS = "**/digitserve.v1.Recognizer/*"
# Three strokes that are no character.
UNSURE: list[Stroke] = [
    [(0.3, 0.25), (0.5, 0.3), (0.7, 0.25)],
    [(0.35, 0.75), (0.45, 0.55), (0.6, 0.7)],
    [(0.7, 0.5), (0.72, 0.8)],
]


def show_drawing(page: Page) -> None:
    draw_with_mouse(page, read_hand("round")["3"])
    assert read_answer(page) == "3"
    page.locator("#why").click()
    expect(page.locator("#reason")).to_be_visible()
    assert read_answer(page) == "3"


def show_doubt(page: Page) -> None:
    draw_with_mouse(page, UNSURE)
    read_answer(page)
    expect(page.locator("#draw-answer .glyph.unsure")).to_have_text("?")
    expect(page.locator("#draw-answer .sentence")).to_contain_text("None of these")


def show_files(page: Page) -> None:
    open_view(page, "files")
    page.locator("#chooser").set_input_files([*picture_files("0369"), text_file()])
    expect(page.locator("#csv")).to_be_enabled()


def show_camera(page: Page) -> None:
    page.context.grant_permissions(["camera"])
    open_view(page, "camera")
    expect(page.locator("#camera-answer .glyph")).not_to_have_text("")


def show_history(page: Page, digits: str = "274") -> None:
    """Of these digits, the last is put right: it is a 9."""
    for digit in digits:
        draw_with_mouse(page, read_hand("slanted")[digit])
        assert read_answer(page) == digit
        clear(page)
    open_view(page, "history")
    page.locator("#cards select").first.select_option("9")
    expect(page.locator("#zip")).to_be_enabled()


def show_absence(page: Page) -> None:
    """The server's, as Envoy tells of it."""

    def refuse(route: Route) -> None:
        route.fulfill(status=200, headers={"content-type": "application/grpc-web+proto", "grpc-status": "14"})

    page.route(CALLS, refuse)
    draw_with_mouse(page, read_hand("round")["5"])
    expect(page.locator("#state")).not_to_have_text("")


STATES: dict[str, Callable[[Page], None]] = {
    "draw": show_drawing,
    "unsure": show_doubt,
    "files": show_files,
    "camera": show_camera,
    "history": show_history,
    "away": show_absence,
}


def open_view(page: Page, name: str) -> None:
    page.locator(f"#tab-{name}").click()


def picture_files(digits: str) -> list[FilePayload]:
    """A PNG of each of these digits, named after it."""
    return [picture_file(digit) for digit in digits]


def picture_file(digit: str, hand: str = "upright") -> FilePayload:
    return {"name": f"{digit}.png", "mimeType": "image/png", "buffer": png_of(read_hand(hand)[digit])}


def png_of(strokes: list[Stroke]) -> bytes:
    buffer = io.BytesIO()
    paint(strokes).save(buffer, "PNG")
    return buffer.getvalue()


def text_file() -> FilePayload:
    return {"name": "notes.png", "mimeType": "image/png", "buffer": b"These are notes, and no picture."}
