"""`python -m benchmarks.screenshots docs/images`: pictures of the page in each of its states, as a visitor sees them."""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.processes import ROOT
from tests.browser.answers import read_answer
from tests.browser.chromium import NoBrowser, launch
from tests.browser.film import write_film
from tests.browser.hands import draw_with_finger, draw_with_mouse, read_hand
from tests.browser.site import Site
from tests.browser.states import STATES

DESKTOP = {"width": 960, "height": 700}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 1.5,
    "has_touch": True,
    "is_mobile": True,
}
DARK: dict[str, Any] = {"color_scheme": "dark"}


class Shot(NamedTuple):
    """What is done before the picture is taken, and the settings of the browser's context."""

    reach: Callable[[Page], None]
    settings: dict[str, Any]


def draw_on_phone(page: Page) -> None:
    draw_with_finger(page, read_hand("round")["6"])
    read_answer(page)


def draw_in_chinese(page: Page) -> None:
    draw_with_mouse(page, read_hand("slanted")["5"])
    read_answer(page)


SHOTS = {name: Shot(reach, {}) for name, reach in STATES.items()} | {
    "dark": Shot(STATES["draw"], DARK),
    "chinese": Shot(draw_in_chinese, {"locale": "zh-CN"}),
    "phone": Shot(draw_on_phone, PHONE),
}


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.screenshots", description=__doc__)
    parser.add_argument("folder", type=Path, help="gets page-<state>.png")
    parser.add_argument(
        "--only", nargs="+", choices=SHOTS, default=list(SHOTS), metavar="STATE", help=f"of: {', '.join(SHOTS)}"
    )
    options = parser.parse_args(words)
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        take_all(options.folder, {name: SHOTS[name] for name in options.only})
    except (NoBrowser, OSError) as error:
        print(f"benchmarks.screenshots: {error}", file=sys.stderr)
        return 1
    return 0


def take_all(folder: Path, shots: dict[str, Shot]) -> None:
    with tempfile.TemporaryDirectory(prefix="digitserve-") as name, sync_playwright() as playwright:
        film = Path(name) / "digits.mjpeg"
        write_film(film)
        camera = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}")
        browser = launch(playwright, *camera)
        with Site(ROOT / "models", Path(name)) as site:
            for state, shot in shots.items():
                take(browser, site.origin, shot, folder / f"page-{state}.png")
        browser.close()


def take(browser: Browser, origin: str, shot: Shot, path: Path) -> None:
    usual: dict[str, Any] = {"base_url": origin, "viewport": DESKTOP, "locale": "en-US", "reduced_motion": "reduce"}
    context = browser.new_context(**usual | shot.settings)
    page = context.new_page()
    page.goto("/")
    expect(page.locator("#model")).to_be_enabled()
    shot.reach(page)
    draft = path.with_name(f".{path.name}")
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(draft, "PNG", optimize=True)
    os.replace(draft, path)
    context.close()


if __name__ == "__main__":
    raise SystemExit(main())
