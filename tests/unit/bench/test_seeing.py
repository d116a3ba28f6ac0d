"""The part of the benchmark that scrapes: where it looks for the metrics, and that it asks as long as the load runs."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from digitserve.bench.settings import BenchError

from benchmarks import seeing
from benchmarks.seeing import find_metrics, scrape, scraping


class Counting(http.server.BaseHTTPRequestHandler):
    """Answers, and tells the test when it has been asked three times."""

    asked = 0
    often = threading.Event()

    def do_GET(self) -> None:
        Counting.asked += 1
        if Counting.asked >= 3:
            Counting.often.set()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"digitserve_serving 1.0\n")

    def log_message(self, *told: Any) -> None:
        """Nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Counting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()
        thread.join()


def test_it_is_scraped_while_the_load_runs_and_no_longer(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeing, "SCRAPE_EVERY_S", 0.001)
    assert scrape(address) > 0
    with scraping(address):
        assert Counting.often.wait(30)
    asked = Counting.asked
    assert scrape(address) > 0
    assert Counting.asked == asked + 1


def test_the_address_is_found_in_either_form_of_the_log() -> None:
    lines = [
        "INFO digitserve.metrics: metrics at http://127.0.0.1:9464/metrics",
        '{"message": "metrics at http://[::1]:7/metrics"}',
    ]
    for line, address in zip(lines, ("http://127.0.0.1:9464/metrics", "http://[::1]:7/metrics"), strict=True):
        server: Any = type("Server", (), {"last_lines": ["another", line]})
        assert find_metrics(server) == address


def test_a_server_without_metrics_is_no_server_to_measure() -> None:
    server: Any = type("Server", (), {"last_lines": ["serving on 127.0.0.1:1"]})
    with pytest.raises(BenchError, match="where its metrics are"):
        find_metrics(server)
