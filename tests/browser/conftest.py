"""One server, one Envoy and one browser for the whole folder; a context of its own, with its own storage, for each page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.chromium import launch
from tests.browser.film import write_film
from tests.browser.site import Site
from tests.browser.watch import Watch

PATIENCE_MS = 20_000
# What the browser takes for another machine's address, as a phone would know this one by; it leads here.
ELSEWHERE = "192.0.2.7"
DESKTOP = {"width": 1100, "height": 800}


class Visit(NamedTuple):
    """A page that has heard from its server, and what is watched on it."""

    page: Page
    watch: Watch


OpenPage = Callable[..., Visit]


@pytest.fixture(scope="package")
def site(models_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(models_folder, tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    film = tmp_path_factory.mktemp("film") / "digits.mjpeg"
    write_film(film)
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        flags = "--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}"
        browser = launch(playwright, *flags, f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1")
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, site: Site) -> Iterator[OpenPage]:
    """Opens the page with the given settings of a browser context. At the end, nothing that must not be may have been."""
    visits: list[Visit] = []

    def open_one(origin: str = site.origin, *, is_served: bool = True, **settings: Any) -> Visit:
        usual: dict[str, Any] = {"locale": "en-US", "viewport": DESKTOP, "base_url": origin}
        context = browser.new_context(**usual | settings)
        context.set_default_timeout(PATIENCE_MS)
        watch = Watch(context, origin)
        visits.append(Visit(context.new_page(), watch))
        page = visits[-1].page
        page.goto("/")
        if is_served:
            expect(page.locator("#model")).to_be_enabled()
        return visits[-1]

    yield open_one
    for visit in visits:
        visit.page.context.close()
    for visit in visits:
        visit.watch.check()


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """An ordinary one."""
    return open_page().page
