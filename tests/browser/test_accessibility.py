"""axe-core finds nothing to complain about, in no state of the page, in no colours and in no language."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.states import STATES
from tests.server_process import ROOT

AXE = ROOT / "clients/web/node_modules/axe-core/axe.min.js"


def bring_axe(page: Page) -> None:
    assert AXE.is_file(), "axe-core is missing: make setup"
    page.evaluate(AXE.read_text(encoding="utf-8"))


def find_violations(page: Page) -> list[dict[str, Any]]:
    """Each rule that is broken, with the elements that break it."""
    found = page.evaluate("async () => (await axe.run()).violations")
    return [{"rule": each["id"], "where": [node["html"] for node in each["nodes"]]} for each in found]


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_no_violation(page: Page, state: str) -> None:
    """In English and in Chinese, each in light and dark."""
    page.emulate_media(reduced_motion="reduce")  # colours that are on their way are neither the old nor the new
    STATES[state](page)
    bring_axe(page)
    for language, scheme in [("en", "light"), ("en", "dark"), ("zh-Hans", "dark"), ("zh-Hans", "light")]:
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        if page.evaluate("document.documentElement.lang") != language:
            page.locator("#language").click()
        found = find_violations(page)
        assert not found, f"{language}, {scheme}: {json.dumps(found, indent=1)}"


def test_axe_is_really_asked(page: Page) -> None:
    """A button without a name is a violation, and is found."""
    bring_axe(page)
    page.evaluate("document.querySelector('#pen').removeAttribute('aria-label')")
    page.evaluate("document.querySelector('#pen').removeAttribute('title')")
    assert [each["rule"] for each in find_violations(page)] == ["button-name"]
