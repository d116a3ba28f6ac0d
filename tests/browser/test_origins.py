"""Only the page's own origins may call: every other page's requests are refused, whatever it does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Page, expect

from tests.browser.answers import read_answer
from tests.browser.conftest import ELSEWHERE, OpenPage
from tests.browser.hands import draw_with_finger, read_hand
from tests.browser.site import Site
from tests.browser.states import open_view
from tests.proxy_process import GRPC_WEB, ask, frame

LIST_MODELS = "/digitserve.v1.Recognizer/ListModels"
FETCH = """async ([url, mode]) => {
    const headers = mode === "cors" ? { "content-type": "application/grpc-web+proto" } : {};
    try {
        const response = await fetch(url, { method: "POST", mode, headers, body: new Uint8Array(5) });
        return `${response.type} ${response.status} ${(await response.text()).length}`;
    } catch (error) {
        return error.name;
    }
}"""


class _ForeignPage(BaseHTTPRequestHandler):
    """An empty page of somebody else."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>elsewhere</title><link rel=icon href=data:,>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest shows what matters."""


@pytest.fixture
def foreign_origin() -> Iterator[str]:
    """Another page's, on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _ForeignPage)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def foreign_page(site: Site, open_page: OpenPage, foreign_origin: str) -> Page:
    """It asks ours, and its browser complains of what it gets."""
    page, watch = open_page(foreign_origin, is_served=False)
    watch.forgive(site.origin)
    watch.forgive("Failed to load resource")
    return page


def test_a_foreign_page_may_not_ask(site: Site, foreign_page: Page) -> None:
    """The browser asks first, and is told no."""
    assert foreign_page.evaluate(FETCH, [site.origin + LIST_MODELS, "cors"]) == "TypeError"


def test_a_foreign_page_that_does_not_ask_first_is_refused(site: Site, foreign_page: Page) -> None:
    with foreign_page.expect_response(site.origin + LIST_MODELS) as response:
        assert foreign_page.evaluate(FETCH, [site.origin + LIST_MODELS, "no-cors"]) == "opaque 0 0"
    assert response.value.status == 403


def test_the_pages_own_origin_is_no_stranger(site: Site, open_page: OpenPage) -> None:
    page = open_page().page
    assert page.evaluate(FETCH, [site.origin + LIST_MODELS, "cors"]).startswith("basic 200")


def test_a_phone_that_knows_this_machine_by_an_address_gets_a_page_that_answers(site: Site, open_page: OpenPage) -> None:
    """Over plain HTTP, where browsers withhold some of what they give to pages from localhost."""
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
    page, watch = open_page(f"http://{ELSEWHERE}:{site.proxy.port}", **phone)
    watch.forgive("Cross-Origin-Opener-Policy header has been ignored")  # said of every such page
    draw_with_finger(page, read_hand("round")["3"])
    assert read_answer(page) == "3"
    assert page.evaluate("isSecureContext") is False
    open_view(page, "camera")
    expect(page.locator("#camera-state")).to_contain_text("only to pages over TLS (https://)")
    expect(page.locator("#still")).to_be_disabled()


def test_the_origin_decides_and_not_the_browser(site: Site, foreign_origin: str) -> None:
    def call(origin: str) -> int:
        return ask(site.proxy.port, "POST", LIST_MODELS, frame(b""), GRPC_WEB | {"origin": origin}).status

    assert call(foreign_origin) == 403
    assert call("null") == 403
    assert call(site.origin) == 200
