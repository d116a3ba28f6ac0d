"""What watches over all pages of these tests sees what it is there for."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.site import Site
from tests.browser.watch import Watch


@pytest.mark.parametrize(
    ("deed", "told"),
    [
        ("console.error('oh no')", "console error: oh no"),
        ("setTimeout(() => { throw new Error('lost') })", "exception: .*lost"),
        ("document.body.append(Object.assign(new Image(), { src: 'http://127.0.0.1:1/spy.png' }))", "Content Security Policy"),
        ("void open('http://127.0.0.1:1/spy')", "request to http://127.0.0.1:1/spy"),
    ],
)
def test_what_must_not_happen_is_seen(browser: Browser, site: Site, deed: str, told: str) -> None:
    context = browser.new_context(base_url=site.origin)
    watch = Watch(context, site.origin)
    page = context.new_page()
    page.goto("/")
    expect(page.locator("#model")).to_be_enabled()
    watch.check()
    commit(page, deed)
    with pytest.raises(AssertionError, match=told):
        wait_for_wrong(page, watch)
    context.close()


def commit(page: Page, deed: str) -> None:
    page.evaluate(f"() => {{ {deed} }}")


def wait_for_wrong(page: Page, watch: Watch) -> None:
    """Raises as soon as something is seen."""
    for _ in range(100):
        watch.check()
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 20))")
