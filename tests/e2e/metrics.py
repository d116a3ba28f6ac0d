"""What the tests of the metrics share: where a server's metrics are, and what they say."""

from __future__ import annotations

import re
import urllib.request

from tests.promql import Series, read_series
from tests.server_process import ServerProcess

METRICS = re.compile(r"metrics at (http://\S+:\d+/metrics)")


def find_metrics(server: ServerProcess) -> str:
    """The address, as the server's own log names it."""
    found = METRICS.search(server.stderr)
    assert found, server.stderr
    return found[1]


def scrape(server: ServerProcess) -> str:
    with urllib.request.urlopen(find_metrics(server), timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def read_metrics(server: ServerProcess) -> Series:
    return read_series(scrape(server))


def total(series: Series, name: str, **labels: str) -> float:
    """The sum over all series of that name with these labels."""
    return sum(value for found, value in series.get(name, {}).items() if labels.items() <= dict(found).items())
