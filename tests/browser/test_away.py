"""A server that dies, a network that goes and a server that is busy: the page says so and goes on by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.answers import clear, read_answer
from tests.browser.conftest import OpenPage
from tests.browser.hands import draw_with_mouse, read_hand
from tests.browser.site import Site
from tests.browser.states import open_view

CALLS = "**/digitserve.v1.Recognizer/*"
RECOGNIZE = "**/digitserve.v1.Recognizer/Recognize"
FOUR = read_hand("upright")["4"]
SEVEN = read_hand("upright")["7"]
LOST = "Failed to load resource"


@pytest.fixture
def frail_site(models_folder: Path, tmp_path: Path) -> Iterator[Site]:
    """A site whose server may be killed: nobody else uses it."""
    with Site(models_folder, tmp_path) as site:
        yield site


def expect_state(page: Page, text: str) -> None:
    expect(page.locator("#state")).to_have_text(text)


def test_the_server_dies_while_somebody_draws_and_comes_back(frail_site: Site, open_page: OpenPage) -> None:
    page, watch = open_page(frail_site.origin)
    watch.forgive(LOST)
    born = page.evaluate("performance.timeOrigin")
    draw_with_mouse(page, FOUR[:1])
    frail_site.kill_server()
    draw_with_mouse(page, FOUR[1:])
    expect_state(page, "The server is away. This goes on by itself when it is back.")
    frail_site.restart_server()
    expect_state(page, "")
    assert read_answer(page) == "4"
    clear(page)
    draw_with_mouse(page, SEVEN)
    assert read_answer(page) == "7"
    assert page.evaluate("performance.timeOrigin") == born, "it was loaded anew"


def test_the_network_goes_and_comes_back(open_page: OpenPage) -> None:
    page, watch = open_page()
    watch.forgive(LOST)
    page.context.set_offline(True)
    expect_state(page, "You are offline. This goes on by itself when the network is back.")
    draw_with_mouse(page, FOUR)
    expect(page.locator("#draw-answer .glyph")).to_have_text("")
    page.context.set_offline(False)
    expect_state(page, "")
    assert read_answer(page) == "4"
    page.context.set_offline(True)
    assert is_seen(page, "#state"), "the sentence is about the answer that is there"
    assert_help_is_not_covered(page)
    draw_with_mouse(page, FOUR)
    expect(page.locator("#draw-answer .sentence")).to_have_text("The answer comes when the network is back.")
    assert not is_seen(page, "#state")
    expect(page.locator("#draw-answer .glyphs")).to_have_css("opacity", "0.35")  # it is of what was drawn before
    page.context.set_offline(False)
    expect(page.locator("#draw-answer .sentence")).not_to_have_class("sentence trouble")
    expect(page.locator("#draw-answer .glyphs")).to_have_css("opacity", "1")


def test_a_server_that_is_overloaded_is_asked_again(open_page: OpenPage) -> None:
    page, _ = open_page()
    refused: list[Route] = []

    def refuse(route: Route) -> None:
        refused.append(route)
        exhausted = {"content-type": "application/grpc-web+proto", "grpc-status": "8", "grpc-message": "the tray is full"}
        route.fulfill(status=200, headers=exhausted)

    page.route(RECOGNIZE, refuse)
    draw_with_mouse(page, FOUR)
    expect_state(page, "The server is busy. This goes on by itself.")
    assert refused
    page.unroute(RECOGNIZE)
    expect_state(page, "")
    assert read_answer(page) == "4"


def test_a_page_that_is_opened_while_the_server_is_away_says_so_and_wakes_up(frail_site: Site, open_page: OpenPage) -> None:
    frail_site.kill_server()
    page, watch = open_page(frail_site.origin, is_served=False)
    watch.forgive(LOST)
    expect_state(page, "The server is away. This goes on by itself when it is back.")
    draw_with_mouse(page, SEVEN)
    sentence = page.locator("#draw-answer .sentence")
    expect(sentence).to_have_text("The answer comes when the server is back.")
    assert not is_seen(page, "#state"), "it says the same"
    expect(page.locator("#model option")).to_have_text("Digits")
    expect(page.locator("#draw-answer .track")).to_have_count(10)
    open_view(page, "files")
    assert is_seen(page, "#state")
    open_view(page, "draw")
    frail_site.restart_server()
    expect_state(page, "")
    assert read_answer(page) == "7"
    clear(page)
    expect(sentence).to_have_text("The answer comes while you draw.")


def test_a_server_that_refuses_says_so_in_plain_words(open_page: OpenPage) -> None:
    page, watch = open_page()
    watch.forgive(LOST)
    page.route(RECOGNIZE, lambda route: route.fulfill(status=403))
    draw_with_mouse(page, FOUR)
    sentence = page.locator("#draw-answer .sentence")
    expect(sentence).to_have_text("No answer: the server does not accept this page")
    expect(sentence).to_have_attribute("title", "HTTP 403")
    expect(page.locator("#spoken")).to_have_text("No answer: the server does not accept this page")
    page.locator("#language").click()
    expect(sentence).to_contain_text("服务器不接受本页面的请求")
    expect(sentence).not_to_contain_text("HTTP")
    page.unroute(RECOGNIZE)
    with page.expect_request(RECOGNIZE):
        page.get_by_role("button", name="再试一次").click()
    assert read_answer(page) == "4"
    expect(page.get_by_role("button", name="再试一次")).to_be_hidden()


def test_a_list_of_models_that_is_refused_can_be_asked_for_again(open_page: OpenPage) -> None:
    page, watch = open_page()
    watch.forgive(LOST)
    page.route(CALLS, lambda route: route.fulfill(status=500))
    page.reload()
    expect(page.locator("#draw-answer .sentence")).to_have_text("No answer: the server failed")
    expect_state(page, "")
    page.unroute(CALLS)
    page.get_by_role("button", name="Try again").click()
    draw_with_mouse(page, FOUR)
    assert read_answer(page) == "4"


def test_who_clears_while_the_server_is_away_is_not_told_so_for_ever(open_page: OpenPage) -> None:
    page, _ = open_page()
    refused = {"content-type": "application/grpc-web+proto", "grpc-status": "14"}
    page.route(RECOGNIZE, lambda route: route.fulfill(status=200, headers=refused))
    draw_with_mouse(page, FOUR)
    expect_state(page, "The server is away. This goes on by itself when it is back.")
    with page.expect_request(RECOGNIZE):  # the probe was answered, and the drawing is sent again
        pass
    page.locator("#pad").press("Delete")
    expect_state(page, "")


def test_a_network_that_wants_a_sign_in_first_is_named(open_page: OpenPage) -> None:
    page, _ = open_page()
    failed = {"content-type": "application/grpc-web+proto", "grpc-status": "13"}
    page.route(CALLS, lambda route: route.fulfill(status=200, headers=failed))
    draw_with_mouse(page, FOUR[:1])
    sentence = page.locator("#draw-answer .sentence")
    expect(sentence).to_have_text("No answer: the server failed")
    page.unroute(CALLS)
    page.route(CALLS, lambda route: route.fulfill(status=200, content_type="text/html", body="<h1>Room number?</h1>"))
    draw_with_mouse(page, FOUR[1:])
    expect(page.locator("#state")).to_contain_text("Does this network ask you to sign in?")
    expect(sentence).to_have_text("The answer comes when the server is back.")
    page.unroute(CALLS)
    expect_state(page, "")
    assert read_answer(page) == "4"


def test_a_line_that_is_slow_is_no_absence(open_page: OpenPage) -> None:
    page, _ = open_page()
    page.clock.install()
    page.route(RECOGNIZE, lambda route: None)
    with page.expect_request(RECOGNIZE):
        draw_with_mouse(page, FOUR)
    page.clock.fast_forward(5_000)
    expect_state(page, "No answer yet: the network or the server is slow.")
    page.unroute(RECOGNIZE)  # what was held back goes on
    expect_state(page, "")
    assert read_answer(page) == "4"


def test_another_model_is_not_answered_by_the_one_before(open_page: OpenPage) -> None:
    page, _ = open_page()
    page.route(RECOGNIZE, lambda route: None, times=1)  # the answer is on its way
    with page.expect_request(RECOGNIZE):
        draw_with_mouse(page, FOUR[:1])
    with page.expect_event("requestfailed"):
        page.locator("#model").select_option("letters:1")
    expect(page.locator("#draw-answer .glyph")).to_have_text(re.compile("^[A-Z]$"))


def is_seen(page: Page, name: str) -> bool:
    return bool(page.locator(name).evaluate("each => getComputedStyle(each).clipPath === 'none'"))


def assert_help_is_not_covered(page: Page) -> None:
    """Not even where it is unfolded in a low window."""
    page.set_viewport_size({"width": 1280, "height": 720})
    page.locator(".keys summary").click()
    state, keys = (page.locator(name).bounding_box() for name in ("#state", "#keys"))
    assert state
    assert keys
    assert state["x"] >= keys["x"] + keys["width"]
