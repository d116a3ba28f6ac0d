"""`python -m benchmarks.page`: how quickly the page answers a pen, a camera and a visitor, in a real Chromium.

Server, Envoy and browser share this machine. The tests' own pieces set them up, so that what is measured is what is tested.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from digitserve.bench.command import save_json
from digitserve.bench.machine import describe_machine
from digitserve.bench.settings import BenchError
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.pen import PROBE, STEP_NAMES, Move, draw_and_time
from benchmarks.processes import ROOT, busy_cores
from benchmarks.results import check_output, conclude, describe_others
from benchmarks.stage import say
from benchmarks.targets import Row, render_table
from tests.browser.chromium import NoBrowser, launch
from tests.browser.film import write_film
from tests.browser.site import Site

PEN_TARGET_MS = 50.0
CAMERA_TARGET = 15.0
PAINT_TARGET_MS = 500.0
LOAD_TARGET_KB = 120.0
WARM_UP_MOVES = 60
VISITS = 5
WINDOW: Any = {"width": 1100, "height": 800}
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
LOADED_BYTES = "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"


def parse_options(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    add = parser.add_argument
    add("--moves", type=int, default=400, help="of the pen, at least; default: %(default)s")
    add("--camera-seconds", type=float, default=10.0, help="default: %(default)s")
    add("--models", type=Path, default=ROOT / "models", help="the model repository")
    add("--json", type=Path, help="a file for everything behind the table")
    options = parser.parse_args(words)
    if options.moves < 1 or not 0 < options.camera_seconds < float("inf"):
        parser.error("--moves must be at least 1, --camera-seconds above 0")
    return options


def main(words: list[str] | None = None) -> int:
    options = parse_options(words)
    return conclude("benchmarks.page", partial(run, options), (BenchError, NoBrowser))


def run(options: argparse.Namespace) -> int:
    if options.json:
        check_output(options.json)
    before = busy_cores(2.0)
    with tempfile.TemporaryDirectory(prefix="digitserve-") as name, sync_playwright() as playwright:
        film = Path(name) / "digits.mjpeg"
        write_film(film)
        camera = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}")
        browser = launch(playwright, *camera)
        with Site(options.models.absolute(), Path(name)) as site:
            rows = measure(browser, site.origin, options)
        program = f"Chromium {browser.version}"
        browser.close()
    report(rows, program, (before, busy_cores(2.0)), options.json)
    return 0


def measure(browser: Browser, origin: str, options: argparse.Namespace) -> list[Row]:
    return [
        *measure_pen(browser, origin, options.moves),
        measure_camera(browser, origin, options.camera_seconds),
        *measure_visits(browser, origin),
    ]


def open_page(browser: Browser, origin: str) -> Page:
    """In a context of its own, with nothing in its cache."""
    context = browser.new_context(base_url=origin, viewport=WINDOW, locale="en-US", permissions=["camera"])
    context.add_init_script(PROBE)
    page = context.new_page()
    page.goto("/")
    expect(page.locator("#model")).to_be_enabled()
    return page


def measure_pen(browser: Browser, origin: str, moves: int) -> list[Row]:
    """Drawn by hands of the tests, one digit after another."""
    say(f"{moves} moves of the pen")
    page = open_page(browser, origin)
    draw_and_time(page, WARM_UP_MOVES)
    timed = draw_and_time(page, moves)
    shift = float(page.evaluate("probe.shifts"))
    page.context.close()
    return [*pen_rows(timed), Row("layout shift while drawing", shift, "", 0.0, "exactly", digits=4)]


def pen_rows(moves: Sequence[Move]) -> list[Row]:
    latencies_ms = [move.latency_ms for move in moves]
    raw = {"latency_ms": latencies_ms}
    return [
        Row(f"pen move to updated bars, p50 of {len(moves)}", quantile(latencies_ms, 0.5), "ms", digits=1, raw=raw),
        Row("pen move to updated bars, p95", quantile(latencies_ms, 0.95), "ms", PEN_TARGET_MS, "at most", digits=1),
        *(
            Row(f"  {name}, p50", quantile([move.step_ms(step) for move in moves], 0.5), "ms", digits=1)
            for step, name in STEP_NAMES.items()
        ),
    ]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed, as one of them. Raises BenchError where there are none."""
    if not values:
        raise BenchError("no move of the pen was answered")
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure_camera(browser: Browser, origin: str, seconds: float) -> Row:
    say(f"the camera for {seconds:g} s")
    page = open_page(browser, origin)
    page.locator("#tab-camera").click()
    expect(page.locator("#camera-answer .glyph")).not_to_have_text("")
    count = "new Promise((done) => { const before = probe.answers; setTimeout(() => done(probe.answers - before), %d); })"
    answers = int(page.evaluate(count % round(1000 * seconds)))
    page.context.close()
    return Row("camera, answers", answers / seconds, "a second", CAMERA_TARGET, digits=1)


def measure_visits(browser: Browser, origin: str) -> list[Row]:
    """First visits: nothing is in the cache."""
    say(f"{VISITS} first visits")
    paints_ms, loads_kb, shifts = [], [], []
    for _ in range(VISITS):
        page = open_page(browser, origin)
        paints_ms.append(float(page.evaluate(FIRST_PAINT)))
        loads_kb.append(page.evaluate(f"{LOADED_BYTES}.reduce((sum, each) => sum + each.transferSize, 0)") / 1000)
        shifts.append(float(page.evaluate("probe.shifts")))
        page.context.close()
    return [
        Row(f"first paint, median of {VISITS} visits", quantile(paints_ms, 0.5), "ms", PAINT_TARGET_MS, "at most", digits=0),
        Row("first load, compressed, with headers", max(loads_kb), "kB", LOAD_TARGET_KB, "at most", digits=1),
        Row("layout shift of a visit", max(shifts), "", 0.0, "exactly", digits=4),
    ]


def report(rows: list[Row], program: str, busy: tuple[float, float], output: Path | None) -> None:
    machine = describe_machine()
    how = f"{program}, Envoy and server on one machine; {describe_others(busy)}"
    print(f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}\n{how}\n")
    print(render_table(rows))
    if output:
        save_json({"machine": machine, "how": how, "rows": [row.as_dict() for row in rows]}, output)
        say(f"saved {output}")


if __name__ == "__main__":
    raise SystemExit(main())
