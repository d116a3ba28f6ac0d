"""The camera, which shows a film of digits: they are read while it runs, and one can be kept."""

from __future__ import annotations

from playwright.sync_api import Page, Response, expect

from tests.browser.conftest import OpenPage
from tests.browser.film import SHOWN
from tests.browser.states import open_view, show_camera

RECOGNIZE = "/digitserve.v1.Recognizer/Recognize"
ANSWERS = 20


def count_answers(page: Page) -> list[Response]:
    """What comes back from now on."""
    answers: list[Response] = []
    page.on("response", lambda response: answers.append(response) if response.url.endswith(RECOGNIZE) else None)
    return answers


def test_what_is_held_into_the_frame_is_read_as_long_as_it_is_there(page: Page) -> None:
    page.context.grant_permissions(["camera"])
    open_view(page, "camera")
    glyph = page.locator("#camera-answer .glyph")
    for digit in SHOWN * 2:
        expect(glyph).to_have_text(digit)
    expect(page.locator("#camera-answer .sentence")).to_contain_text("sure")


def test_answers_keep_coming(page: Page) -> None:
    answers = count_answers(page)
    show_camera(page)
    while len(answers) < ANSWERS:
        page.wait_for_event("response")


def test_one_picture_is_kept_and_reading_goes_on(page: Page) -> None:
    show_camera(page)
    still = page.locator("#still")
    still.click()
    expect(still).to_have_text("Go on")
    expect(page.locator("#spoken")).not_to_have_text("")
    kept = page.locator("#camera-answer .glyph").inner_text()
    open_view(page, "history")
    expect(page.locator("#cards > li")).to_have_count(1)
    expect(page.locator("#cards p")).to_contain_text(kept)
    open_view(page, "camera")
    answers = count_answers(page)
    expect(still).to_have_text("Keep this one")
    expect(page.locator("#camera-answer .glyph")).to_have_text(SHOWN[0])
    assert answers


def test_leaving_the_view_gives_the_camera_back(page: Page) -> None:
    show_camera(page)
    tracks = page.evaluate_handle("document.getElementById('video').srcObject.getTracks()")
    open_view(page, "draw")
    expect(page.locator("#draw")).to_be_visible()
    assert tracks.evaluate("tracks => tracks.map((track) => track.readyState)") == ["ended"]


def test_no_permission_is_no_disaster(open_page: OpenPage) -> None:
    page = open_page(permissions=[]).page
    open_view(page, "camera")
    expect(page.locator("#camera-state")).to_contain_text("No camera without your permission")
    expect(page.locator("#still")).to_be_disabled()
    open_view(page, "draw")
    expect(page.locator("#pad")).to_be_visible()
