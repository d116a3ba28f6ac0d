"""Phones and walls, light and dark, English and Chinese, and nothing that moves for those who want none of it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.answers import clear, read_answer
from tests.browser.conftest import DESKTOP, OpenPage
from tests.browser.hands import draw_with_finger, draw_with_mouse, read_hand
from tests.browser.states import UNSURE, open_view, show_files, show_history

PHONE = {"width": 390, "height": 844}
WALL = {"width": 3840, "height": 2160}
VIEWS = ("draw", "camera", "files", "history")
TWO = read_hand("round")["2"]


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_on_a_phone_nothing_is_wider_than_the_screen(open_page: OpenPage) -> None:
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=3).page
    draw_with_finger(page, TWO)
    assert read_answer(page) == "2"
    assert page.evaluate("scrollY") == 0, "the finger scrolled"
    page.locator("#why").tap()
    clear(page)
    show_history(page, "2")
    show_files(page)
    for view in VIEWS:
        open_view(page, view)
        assert overflow(page) <= 0, view


SIZES = [(320, 568), (375, 667), (390, 844), (568, 320), (768, 1024), (844, 390), (1000, 700)]
# Zoomed fourfold, beside another window, above a keyboard.
CONTRAST = """() => {
    const style = getComputedStyle(document.documentElement);
    const [rail, paper] = ["--track", "--paper"].map(name => {
        const channels = style.getPropertyValue(name).trim().slice(1).match(/../g).map(part => parseInt(part, 16) / 255);
        const linear = channels.map(level => level <= 0.04045 ? level / 12.92 : ((level + 0.055) / 1.055) ** 2.4);
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05;
    });
    return Math.max(rail, paper) / Math.min(rail, paper);
}"""
LOW_SIZES = [(320, 256), (360, 300), (412, 380), (440, 400), (520, 400), (480, 320), (360, 400)]
SHORTEST_BAR_PX = 80
FINGER_PX = 44
WATCH_VERDICT = """() => {
    window.shifts = [];
    const verdict = document.querySelector("#draw-answer .verdict");
    const isInside = ({ sources }) => sources.some(({ node }) => verdict.contains(node));
    new PerformanceObserver((list) => window.shifts.push(...list.getEntries().filter(isInside)))
        .observe({ type: "layout-shift" });
}"""
# By how much a select's text is wider than its place.
TEXT_WIDTH = """select => {
    const { font, paddingLeft, paddingRight } = getComputedStyle(select);
    const pen = new OffscreenCanvas(1, 1).getContext("2d");
    pen.font = font;
    const room = select.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
    return pen.measureText(select.selectedOptions[0].text).width + 3 - room; // a select cuts a little early
}"""
FIND_SMALL = """finger => [...document.querySelectorAll("button, select, input, summary, .button")].filter(each => {
    const { width, height } = each.getBoundingClientRect();
    return each.checkVisibility() && !each.matches(".unseen") && (height < finger || width < finger);
}).map(each => each.id || each.className)"""
# In each view and each language: by how much the page is too wide, and what of it stands outside or on something else.
FIND_WIDE = """width => {
    const box = name => document.querySelector(name).getBoundingClientRect();
    const wrong = [];
    for (const language of [0, 1]) {
        for (const view of ["files", "history", "camera", "draw"]) {
            document.getElementById("tab-" + view).click();
            const where = `${document.documentElement.lang} ${view} ${width}`;
            const { scrollWidth } = document.documentElement;
            if (scrollWidth > width) wrong.push(`${where}: ${scrollWidth} wide`);
        }
        const side = box("#draw .side");
        const edge = side.top < box("#pad").bottom ? side.left : width;
        for (const each of document.querySelectorAll("#draw .tools > *, header *")) {
            const { right } = each.getBoundingClientRect();
            if (right > (each.closest(".tools") ? edge : width)) wrong.push(`${width}: ${each.id} ends at ${right}`);
        }
        document.getElementById("language").click();
    }
    return wrong;
}"""


def test_nothing_is_too_wide_on_any_screen_in_any_view_and_language(open_page: OpenPage) -> None:
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True).page
    draw_with_finger(page, UNSURE)
    read_answer(page)
    page.locator("#why").click()
    page.locator("#model").select_option("hanzi:1")
    for width, height in [*SIZES, *LOW_SIZES]:
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate(FIND_WIDE, width) == []
        bar, pad = (page.locator(name).first.bounding_box() for name in ("#draw-answer .track", "#pad"))
        assert bar
        assert pad
        assert bar["width"] >= SHORTEST_BAR_PX, f"{width} x {height}"
        assert pad["height"] < 0.9 * height, "nothing is left to scroll by"


def test_whatever_a_finger_meets_is_large_enough(open_page: OpenPage) -> None:
    page = open_page(viewport={"width": 320, "height": 568}, has_touch=True, is_mobile=True).page
    show_history(page, "2")
    show_files(page)
    for view in VIEWS:
        open_view(page, view)
        assert page.evaluate(FIND_SMALL, FINGER_PX) == [], view


def test_the_sentence_is_beside_the_middle_of_the_character_and_shifts_nothing(page: Page) -> None:
    """Whether it has one line or two; a shift is what Chromium calls one."""
    page.evaluate(WATCH_VERDICT)
    sentence, glyph = page.locator("#draw-answer .sentence"), page.locator("#draw-answer .glyphs")
    lines = set()
    for strokes in (TWO, UNSURE):
        draw_with_mouse(page, strokes)
        read_answer(page)
        words, character = sentence.bounding_box(), glyph.bounding_box()
        assert words
        assert character
        lines.add(words["height"])
        clear(page)
        assert words["y"] + words["height"] / 2 == pytest.approx(character["y"] + character["height"] / 2, abs=1)
    assert len(lines) == 2
    assert page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(() => done(window.shifts.length))))") == 0


def test_an_ordinary_window_needs_no_scrolling_to_draw(open_page: OpenPage) -> None:
    """On a wall and on a tablet neither, where pad and answer have one width."""
    page = open_page().page
    for width, height in [(1280, 800), (3840, 2160), (768, 1024), (390, 844)]:
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollHeight") <= height, width
    page.set_viewport_size({"width": 768, "height": 1024})
    pad, answer = page.locator("#draw .square").bounding_box(), page.locator("#draw-answer").bounding_box()
    assert pad
    assert answer
    assert (answer["x"], answer["width"]) == (pad["x"], pad["width"])


def test_a_rail_without_a_bar_is_seen(page: Page) -> None:
    """Its contrast with the paper is between 1.5 and 2: there, and calm."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        assert 1.5 < page.evaluate(CONTRAST) < 2, scheme


def test_on_a_phone_pad_and_answer_are_seen_together(open_page: OpenPage) -> None:
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=3).page
    draw_with_finger(page, TWO)
    assert read_answer(page) == "2"
    for place in ("#pad", "#draw-answer .verdict", "#draw-answer .bars"):
        box = page.locator(place).bounding_box()
        assert box
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= PHONE["height"], place


def test_on_a_wall_the_page_grows(open_page: OpenPage) -> None:
    page = open_page(viewport=WALL).page
    draw_with_mouse(page, TWO)
    assert read_answer(page) == "2"
    box = page.locator("#pad").bounding_box()
    assert box
    assert box["height"] > WALL["height"] / 2
    assert page.evaluate("document.body.offsetWidth") > 0.65 * WALL["width"]
    assert page.locator("#pad").evaluate("pad => pad.width") == pytest.approx(box["width"], abs=2), "its lines are coarse"
    assert overflow(page) <= 0


@pytest.mark.parametrize(
    ("locale", "language", "tab"), [("en-GB", "en", "Draw"), ("zh-TW", "zh-Hans", "手写"), ("fi-FI", "en", "Draw")]
)
def test_the_browsers_language_is_taken(open_page: OpenPage, locale: str, language: str, tab: str) -> None:
    page = open_page(locale=locale).page
    assert page.evaluate("document.documentElement.lang") == language
    expect(page.locator("#tab-draw")).to_have_text(tab)


def test_the_language_is_switched_and_remembered(page: Page) -> None:
    draw_with_mouse(page, TWO)
    assert read_answer(page) == "2"
    expect(page.locator("#draw-answer .sentence")).to_contain_text("sure")
    page.locator("#language").click()
    expect(page.locator("#draw-answer .sentence")).to_contain_text("把握")
    expect(page.locator("#pad")).to_have_attribute("aria-label", "手写板")
    page.reload()
    expect(page.locator("#tab-draw")).to_have_text("手写")


def test_dark_follows_the_device_until_it_is_chosen(open_page: OpenPage) -> None:
    page = open_page(color_scheme="dark").page
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(paper)
    assert dark != light
    for expected, name in [(light, "Light"), (dark, "Dark"), (light, "Auto")]:  # at last the device's own again
        page.locator("#theme").click()
        assert page.evaluate(paper) == expected
        expect(page.locator("#theme")).to_have_accessible_name(f"Colours: {name}")
        expect(page.locator("#theme use")).to_have_attribute("href", f"#i-{name.lower()}")


def test_forced_colours_show_the_bars_the_tab_and_the_tool(open_page: OpenPage) -> None:
    page = open_page(forced_colors="active").page
    draw_with_mouse(page, TWO)
    assert read_answer(page) == "2"

    def style(name: str, property: str) -> str:
        return str(page.locator(name).first.evaluate("(each, property) => getComputedStyle(each)[property]", property))

    assert style(".track", "borderTopWidth") == "1px"
    assert len({style(name, "backgroundColor") for name in (".best .fill", "li:not(.best) .fill", ".track")}) == 3
    assert style("#tab-draw", "borderBottomColor") != style("#tab-files", "borderBottomColor")
    assert style("#pen", "backgroundColor") != style("#eraser", "backgroundColor")


def test_what_cannot_be_pressed_looks_like_it(page: Page) -> None:
    [disabled, enabled] = (
        page.locator(name).evaluate("each => [getComputedStyle(each).color, getComputedStyle(each).opacity]")
        for name in ("#undo", "#language")
    )
    assert disabled[0] != enabled[0]
    assert float(disabled[1]) < float(enabled[1])


def test_models_have_names_and_keep_their_ids(open_page: OpenPage) -> None:
    page = open_page(has_touch=True, is_mobile=True).page
    model = page.locator("#model")
    names = {"digits": "Digits", "digits-robust": "Robust digits", "hanzi": "Chinese numerals", "letters": "Letters"}
    for option in model.locator("option").all():
        name = str(option.get_attribute("value")).partition(":")[0]
        expect(option).to_have_text(names[name])
        expect(option).to_have_attribute("title", f"{name}:1")
    for width in (320, 375, 390, 430, DESKTOP["width"]):
        page.set_viewport_size({"width": width, "height": DESKTOP["height"]})
        for _ in ("en", "zh"):
            for name in names:
                model.select_option(f"{name}:1")
                assert model.evaluate(TEXT_WIDTH) <= 0, f"{width}: {name} is cut"
            page.locator("#language").click()
    model.select_option("hanzi:1")
    expect(model).to_have_accessible_description("hanzi:1")
    page.locator("#language").click()
    expect(model.locator("option:checked")).to_have_text("中文数字")


def test_ink_changes_its_colour_with_the_page(page: Page) -> None:
    """And what is sent does not: the answer stays."""
    draw_with_mouse(page, TWO)
    assert read_answer(page) == "2"
    page.emulate_media(color_scheme="dark")
    draw_with_mouse(page, [[(0.05, 0.05), (0.06, 0.05)]])
    brightest = """() => {
        const pad = document.getElementById("pad");
        const { data } = pad.getContext("2d").getImageData(0, 0, pad.width, pad.height);
        return data.reduce((most, level, i) => (i % 4 === 0 ? Math.max(most, level) : most), 0);
    }"""
    assert page.evaluate(brightest) > 200
    assert read_answer(page) == "2"


def test_the_map_lies_where_the_drawing_is(page: Page) -> None:
    """It is asked for when somebody wants it, and what was sent was a part of the pad."""
    corner = [[(0.6 + 0.35 * x, 0.6 + 0.35 * y) for x, y in stroke] for stroke in TWO]
    draw_with_mouse(page, corner)
    assert read_answer(page) == "2"
    page.locator("#why").click()
    assert read_answer(page) == "2"
    x, y = page.evaluate(
        """() => {
            const map = document.getElementById("map");
            const { data } = map.getContext("2d").getImageData(0, 0, map.width, map.height);
            let [sum, x, y] = [0, 0, 0];
            for (let i = 0; i < map.width * map.height; i += 1) {
                const alpha = data[4 * i + 3];
                [sum, x, y] = [sum + alpha, x + alpha * (i % map.width), y + alpha * Math.floor(i / map.width)];
            }
            return [x / sum / map.width, y / sum / map.height];
        }"""
    )
    assert x == pytest.approx(0.775, abs=0.1)
    assert y == pytest.approx(0.775, abs=0.1)


@pytest.mark.parametrize(("motion", "is_moving"), [("reduce", False), ("no-preference", True)])
def test_things_move_only_where_motion_is_welcome(open_page: OpenPage, motion: str, is_moving: bool) -> None:
    page = open_page(reduced_motion=motion).page
    durations = page.locator(".state").first.evaluate("state => getComputedStyle(state).transitionDuration")
    assert (durations != "0s") == is_moving
