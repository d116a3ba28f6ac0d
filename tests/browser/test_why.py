"""Why: the map, what explains it, and the button, where they are seen together; and nothing of it without a drawing."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.answers import clear, read_answer
from tests.browser.conftest import OpenPage
from tests.browser.hands import draw_with_finger, draw_with_mouse, read_hand
from tests.browser.test_screens import PHONE

EIGHT = read_hand("round")["8"]
STRONGEST_AT_EDGE = """map => {
    const { width, height } = map;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(map, 0, 0);
    const strips = [[0, 0, width, 1], [0, 0, 1, height], [0, height - 1, width, 1], [width - 1, 0, 1, height]];
    const alphas = (...strip) => context.getImageData(...strip).data.filter((_, i) => i % 4 === 3);
    return [Math.max(...strips.flatMap(strip => [...alphas(...strip)])), Math.max(...alphas(0, height / 2, width, 1))];
}"""


def test_on_a_phone_map_button_and_legend_are_seen_together(open_page: OpenPage) -> None:
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True).page
    draw_with_finger(page, EIGHT)
    assert read_answer(page) == "8"
    page.locator("#why").click()
    expect(page.locator("#against")).to_have_text("speaks against 8")
    assert page.evaluate("scrollY") == 0
    for name in ("#map", "#why", "#reason"):
        box = page.locator(name).bounding_box()
        assert box
        assert box["y"] + box["height"] <= 750, f"{name} is below what a phone's browser leaves to the page"


def test_there_is_no_why_without_a_drawing(page: Page) -> None:
    why, reason, legend = (page.locator(name) for name in ("#why", "#reason", ".legend"))
    expect(why).to_be_disabled()
    expect(why).to_have_attribute("title", "Draw first.")
    page.locator("#pad").press("w")
    expect(page.locator("#spoken")).to_have_text("Draw first.")
    expect(reason).to_be_hidden()
    draw_with_mouse(page, EIGHT)
    why.click()
    expect(why).to_have_text("Hide why")
    expect(legend.first).to_be_visible()
    clear(page)
    expect(reason).to_have_text("Draw first.")
    expect(legend.first).to_be_hidden()
    why.click()
    expect(why).to_have_text("Show why")
    expect(why).to_be_disabled()


def test_a_map_larger_than_the_pad_ends_softly_and_bars_share_their_decimals(page: Page) -> None:
    large = [[(min(1.0, max(0.0, 1.25 * x - 0.1)), 1.1 * y - 0.05) for x, y in stroke] for stroke in EIGHT]
    draw_with_mouse(page, large)
    page.locator("#why").click()
    expect(page.locator("#for")).not_to_have_text("")
    read_answer(page)
    at_edge, inside = page.locator("#map").evaluate(STRONGEST_AT_EDGE)
    assert at_edge < 10
    assert inside > 60
    numbers = page.locator("#draw-answer .number").all_inner_texts()
    assert "" in numbers
    assert all(number.removesuffix("%")[-2] == "." for number in numbers if number)
