"""What it costs to be seen: the server with metrics, JSON logs and somebody who scrapes, against the server without."""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from digitserve.bench.settings import BenchError

from benchmarks.processes import ServerProcess
from benchmarks.rounds import interleave, paired_ratios, spread_of
from benchmarks.stage import Stage, say
from benchmarks.targets import Row
from benchmarks.throughput import load_unary

RATIO_TARGET = 0.97
SCRAPE_TARGET_MS = 10.0
IN_FLIGHT = 64
SCRAPE_EVERY_S = 2.0  # so that each measurement has one; Prometheus' default is 15
METRICS = re.compile(r"metrics at (http://\S+:\d+/metrics)")


def measure_metrics(stage: Stage) -> list[Row]:
    """Recognize on two servers side by side, the same but for the metrics, the form of the log and the scrapes."""
    say(f"unary calls, {IN_FLIGHT} in flight: metrics and JSON logs on and off")
    with ServerProcess(*stage.server.command[2:], "--metrics-port", "0", "--log-format", "json") as seen:
        address = find_metrics(seen)
        scrapes_ms = [scrape(address) for _ in range(20)]  # of an idle server: what it costs, not what it waits for

        def load_seen() -> tuple[float, float]:
            with scraping(address):
                return load_unary(stage, seen, IN_FLIGHT)

        load_unseen = partial(load_unary, stage, stage.server, IN_FLIGHT)
        measures: dict[str, Callable[[], tuple[float, float]]] = {"on": load_seen, "off": load_unseen}
        runs = interleave(stage.rounds, measures)
    rates = {name: [rate for rate, _ in results] for name, results in runs.items()}
    cpu = {name: [cpu_ms for _, cpu_ms in results] for name, results in runs.items()}
    ratio, scrapes = paired_ratios(rates["on"], rates["off"]), spread_of(scrapes_ms)
    title, raw = f"unary, {IN_FLIGHT} in flight", {"calls_per_s": rates, "cpu_ms_per_call": cpu}
    return [
        Row(f"{title}, metrics and JSON logs on against off", ratio.median, "x", RATIO_TARGET, spread=ratio, raw=raw),
        *(_tell(f"{title}, {name}", rates[name], "calls/s", 0) for name in rates),
        *(_tell(f"{title}, CPU a call, {name}", cpu[name], "ms", 4) for name in cpu),
        Row("a scrape", scrapes.median, "ms", SCRAPE_TARGET_MS, "at most", spread=scrapes, raw={"ms": scrapes_ms}),
    ]


def _tell(what: str, values: list[float], unit: str, digits: int) -> Row:
    spread = spread_of(values)
    return Row(what, spread.median, unit, spread=spread, digits=digits)


def find_metrics(server: ServerProcess) -> str:
    """The address that the server's log names. Raises BenchError if it names none."""
    for line in server.last_lines:
        if found := METRICS.search(line):
            return found[1]
    raise BenchError("the server does not say where its metrics are")


def scrape(address: str) -> float:
    """How long the answer took, in milliseconds."""
    started_at = time.perf_counter()
    with urllib.request.urlopen(address, timeout=10) as answer:
        answer.read()
    return (time.perf_counter() - started_at) * 1e3


@contextmanager
def scraping(address: str) -> Iterator[None]:
    """Somebody scrapes as long as the block runs."""
    done = threading.Event()

    def go_on() -> None:
        while not done.wait(SCRAPE_EVERY_S):
            scrape(address)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
