"""What must never happen, on no page and at no time: errors and warnings, requests to anybody else.

A violation of the page's Content-Security-Policy is an error on the browser's console.
"""

from __future__ import annotations

from playwright.sync_api import BrowserContext, ConsoleMessage, Request, WebError

OWN_SCHEMES = ("blob:", "data:")


class Watch:
    """Collects from all pages of a context, until `check`."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self._origin = origin
        self._wrong: list[str] = []
        self._forgiven: list[str] = []
        context.on("console", self._hear)
        context.on("weberror", self._hear_exception)
        context.on("request", self._see_request)

    def forgive(self, part: str) -> None:
        """The test itself makes messages with this text."""
        self._forgiven.append(part)

    def check(self) -> None:
        wrong = [text for text in self._wrong if not any(part in text for part in self._forgiven)]
        assert not wrong, "\n".join(wrong)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._wrong.append(f"console {message.type}: {message.text}")

    def _hear_exception(self, error: WebError) -> None:
        self._wrong.append(f"exception: {error.error}")

    def _see_request(self, request: Request) -> None:
        if not request.url.startswith((self._origin + "/", *OWN_SCHEMES)):
            self._wrong.append(f"request to {request.url}")
