"""The camera, which shows a film of digits: they are read while it runs, and one can be kept."""

from __future__ import annotations

import io
import re

from PIL import Image
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


def test_what_is_held_in_the_frame_is_read_as_long_as_it_is_there(page: Page) -> None:
    page.context.grant_permissions(["camera"])
    open_view(page, "camera")
    glyph = page.locator("#camera-answer .glyph")
    for digit in SHOWN * 2:
        expect(glyph).to_have_text(digit)
    expect(page.locator("#camera-answer .sentence")).to_contain_text("sure")


def test_the_picture_has_round_corners_without_specks(page: Page) -> None:
    """What lies below it is dark, and must not be seen between the picture and the paper."""
    show_camera(page)
    shot = Image.open(io.BytesIO(page.locator("#camera .square").screenshot())).convert("L")
    corner = shot.crop((0, 0, 30, 30))
    paper, shaded_film = corner.getpixel((1, 1)), corner.getpixel((29, 29))
    assert (paper, shaded_film) > (240, 120)
    assert min(corner.tobytes()) >= shaded_film - 2  # type: ignore[operator]


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
    expect(page.locator("#spoken")).to_contain_text("Kept in History")
    page.get_by_role("button", name="Kept in History").click()
    expect(page.locator("#history")).to_be_visible()
    expect(page.locator("#cards > li")).to_have_count(1)
    expect(page.locator("#cards .label")).to_have_text(kept)
    open_view(page, "camera")
    answers = count_answers(page)
    expect(still).to_have_text("Keep this one")
    expect(page.get_by_role("button", name="Kept in History")).to_be_hidden()
    expect(page.locator("#camera-answer .glyph")).to_have_text(SHOWN[0])
    assert answers


def test_a_picture_that_is_kept_is_read_by_the_next_model_too(page: Page) -> None:
    show_camera(page)
    page.locator("#still").click()
    kept = page.get_by_role("button", name="Kept in History")
    expect(kept).to_be_visible()
    page.locator("#model").select_option("letters:1")
    expect(page.locator("#camera-answer .glyph")).to_have_text(re.compile("^[A-Z?]$"))  # a digit may be no letter to it
    kept.click()
    expect(page.locator("#cards p.quiet")).to_contain_text("Letters")


def test_a_picture_that_is_kept_and_not_read_can_be_tried_again(page: Page) -> None:
    show_camera(page)
    failed = {"content-type": "application/grpc-web+proto", "grpc-status": "13"}
    page.route(f"**{RECOGNIZE}", lambda route: route.fulfill(status=200, headers=failed))
    page.locator("#still").click()
    expect(page.locator("#spoken")).to_have_text("No answer: the server failed")
    page.unroute(f"**{RECOGNIZE}")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("button", name="Kept in History")).to_be_visible()


def test_leaving_the_view_gives_the_camera_back(page: Page) -> None:
    show_camera(page)
    tracks = page.evaluate_handle("document.getElementById('video').srcObject.getTracks()")
    open_view(page, "draw")
    expect(page.locator("#draw")).to_be_visible()
    assert tracks.evaluate("tracks => tracks.map((track) => track.readyState)") == ["ended"]


def test_no_permission_is_no_disaster(open_page: OpenPage) -> None:
    page = open_page(permissions=[]).page
    open_view(page, "camera")
    still = page.locator("#still")
    expect(page.locator("#camera-state")).to_contain_text("No camera without your permission")
    for name in (".sentence", ".glyph", ".track"):
        expect(page.locator(f"#camera-answer {name}").first).to_be_hidden()
    page.context.grant_permissions(["camera"])
    expect(still).to_have_text("Try again")
    still.click()
    expect(page.locator("#camera-answer .glyph")).to_have_text(SHOWN[0])
    expect(still).to_have_text("Keep this one")


def test_a_camera_that_is_unplugged_is_missed_and_can_be_started_again(page: Page) -> None:
    show_camera(page)
    page.locator("#still").click()
    expect(page.get_by_role("button", name="Kept in History")).to_be_visible()
    page.evaluate("document.getElementById('video').srcObject.getTracks()[0].dispatchEvent(new Event('ended'))")
    expect(page.locator("#camera-state")).to_contain_text("The camera is gone")
    expect(page.locator("#camera-answer .glyph")).to_have_text("")
    expect(page.get_by_role("button", name="Kept in History")).to_be_hidden()
    page.locator("#still").click()
    expect(page.locator("#camera-answer .glyph")).to_have_text(SHOWN[0])
    expect(page.locator("#camera-state")).to_have_text("")
