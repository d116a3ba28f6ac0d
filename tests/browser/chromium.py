"""Which browser the tests run, and how."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

VARIABLE = "DIGITSERVE_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
DEBIANS_OWN = Path("/usr/bin/chromium")
REMEDY = "`sudo apt-get install chromium` or `.venv/bin/playwright install chromium` brings one"
# Nothing that a browser does on its own account may reach the network, or the figures.
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class NoBrowser(Exception):
    """There is no Chromium; the message says what brings one."""


def find_browser(playwrights_own: Path, environment: Mapping[str, str] = os.environ, debians_own: Path = DEBIANS_OWN) -> Path:
    """The browser that DIGITSERVE_BROWSER names, or else on PATH, or else Debian's, or else Playwright's own.

    Raises NoBrowser.
    """
    if named := environment.get(VARIABLE):
        if Path(named).is_file():
            return Path(named)
        raise NoBrowser(f"{VARIABLE} names {named}, and there is no file")
    on_path = (shutil.which(name, path=environment.get("PATH", "")) for name in NAMES)
    for place in (*map(Path, filter(None, on_path)), debians_own, playwrights_own):
        if place.is_file():
            return place
    raise NoBrowser(f"no Chromium on PATH, as {debians_own} or as {playwrights_own}: {REMEDY}, {VARIABLE} names another")


def launch(playwright: Playwright, *flags: str) -> Browser:
    """A headless one with a profile of its own. Raises NoBrowser."""
    program = find_browser(Path(playwright.chromium.executable_path))
    return playwright.chromium.launch(executable_path=program, args=[*FLAGS, *flags], chromium_sandbox=False)


def main() -> int:
    """Says which browser it will be; 1 if there is none."""
    with sync_playwright() as playwright:
        try:
            print(f"the browser for the tests: {find_browser(Path(playwright.chromium.executable_path))}")
        except NoBrowser as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
