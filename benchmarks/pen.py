"""From the pen's move to the bars: what a page in a browser is asked, and what its answers mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from playwright.sync_api import Page

from tests.browser.hands import draw_with_mouse, read_hand

# A move is answered by the first answer whose picture was taken after it. The picture is taken where the page reads its
# small canvas; an answer has come when the panel's text changes; it is seen once the frame after that has been painted.
PROBE = """
window.probe = { samples: [], shifts: 0, answers: 0 };
(() => {
    let moves = [];
    let asked;
    addEventListener("onpointerrawupdate" in window ? "pointerrawupdate" : "pointermove", (event) => {
        if (event.buttons) moves.push({ moved: event.timeStamp, handled: performance.now() });
    }, true);
    const { getImageData } = CanvasRenderingContext2D.prototype;
    CanvasRenderingContext2D.prototype.getImageData = function (...place) {
        if (moves.length) asked = { moves: moves.splice(0), taken: performance.now() };
        return getImageData.apply(this, place);
    };
    const { fetch } = window;
    window.fetch = async (...request) => {
        if (asked) asked.sent ??= performance.now();
        const mine = asked;
        const response = await fetch(...request);
        if (mine) mine.received ??= performance.now();
        return response;
    };
    const hear = () => {
        const answered = performance.now();
        const mine = asked;
        probe.answers += 1;
        if (!mine?.received) return;
        asked = undefined;
        requestAnimationFrame(() => {
            const channel = new MessageChannel();
            channel.port1.onmessage = () => {
                const { taken, sent, received } = mine;
                const times = { taken, sent, received, answered, shown: performance.now() };
                for (const move of mine.moves) probe.samples.push({ ...move, ...times });
            };
            channel.port2.postMessage(0);
        });
    };
    addEventListener("DOMContentLoaded", () => {
        for (const kind of ["draw", "camera"]) {
            const answer = document.querySelector(`#${kind}-answer`);
            new MutationObserver(hear).observe(answer, { childList: true, characterData: true, subtree: true });
        }
    });
    new PerformanceObserver((list) => {
        // As the measure is defined: what follows a press at once is no surprise.
        for (const { value, hadRecentInput } of list.getEntries()) if (!hadRecentInput) probe.shifts += value;
    }).observe({ type: "layout-shift", buffered: true });
})();
"""
STEPS = ("moved", "handled", "taken", "sent", "received", "answered", "shown")
STEP_NAMES = {
    "handled": "the browser hands the move over",
    "taken": "drawn, and the picture taken",
    "sent": "packed and sent",
    "received": "Envoy, the server and back",
    "answered": "unpacked, the bars set",
    "shown": "the frame painted",
}


@dataclass(frozen=True, slots=True)
class Move:
    """One move of the pen: when each step was done, in ms from the move itself."""

    done_ms: dict[str, float]

    @property
    def latency_ms(self) -> float:
        return self.done_ms["shown"]

    def step_ms(self, step: str) -> float:
        """What that step alone took."""
        return self.done_ms[step] - self.done_ms[STEPS[STEPS.index(step) - 1]]


def read_moves(samples: Sequence[dict[str, float]]) -> list[Move]:
    """What the probe has collected."""
    return [Move({step: sample[step] - sample["moved"] for step in STEPS}) for sample in samples]


def draw_and_time(page: Page, moves: int) -> list[Move]:
    """At least so many moves, as a hand makes them: digit after digit, without a pause."""
    digits = [strokes for hand in ("upright", "slanted", "round") for strokes in read_hand(hand).values()]
    page.evaluate("probe.samples.length = 0")
    while page.evaluate("probe.samples.length") < moves:
        for strokes in digits[:5]:
            draw_with_mouse(page, strokes)
            page.locator("#clear").click()
        digits = digits[5:] + digits[:5]
    return read_moves(page.evaluate("probe.samples"))
