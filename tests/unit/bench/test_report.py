from __future__ import annotations

from typing import Any

from digitserve.bench.answers import Answer
from digitserve.bench.figures import summarize
from digitserve.bench.measurement import Measurement
from digitserve.bench.recording import Recording
from digitserve.bench.report import describe_load, render_report
from digitserve.bench.settings import Settings

MACHINE: dict[str, Any] = {"cpu": "Acme 1", "cores": 2, "python": "3.11.7", "packages": {"grpcio": "1.85.1"}}


def report(settings: Settings, *answers: Answer, lag_s: float = 0.0) -> list[str]:
    recording = Recording()
    for number, answer in enumerate(answers):
        recording.add(number, number + lag_s, number + 0.002, answer)
    return render_report(Measurement(settings, MACHINE, summarize(recording, settings), recording)).splitlines()


def line(lines: list[str], name: str) -> str:
    (found,) = (text for text in lines if text.startswith(name))
    return found.removeprefix(name).strip()


def test_the_report_has_every_figure_with_its_unit() -> None:
    lines = report(Settings(), Answer("OK", 1, 1, 0.25, 0.5, 3), Answer("OK", 1, 0, 0.25, 0.5, 5))
    assert line(lines, "machine") == "Acme 1, 2 cores, Python 3.11.7, grpcio 1.85.1"
    assert line(lines, "throughput") == "2 calls/s   2 images/s   (2 calls in 1.00 s)"
    assert line(lines, "latency") == "p50 2.00   p90 2.00   p99 2.00   p99.9 2.00   max 2.00 ms"
    assert line(lines, "queue").startswith("p50 0.25")
    assert line(lines, "compute").endswith("max 0.50 ms (server)")
    assert line(lines, "batches") == "mean 4.0   max 5 images (server, seen from each call)"
    assert line(lines, "accuracy") == "50.00% (1 of 2 answers right)"
    assert line(lines, "errors") == "none"


def test_errors_are_listed_by_status_with_an_example() -> None:
    lines = report(Settings(), *[Answer("UNAVAILABLE", message="draining")] * 3, Answer("OK", 1))
    assert line(lines, "errors") == "3 (75.00% of the calls; they count in no other figure)"
    assert lines[-1].strip() == "UNAVAILABLE x 3: draining"


def test_a_client_that_kept_up_and_one_that_did_not_read_differently() -> None:
    assert "(the client kept up)" in line(report(Settings(rate=1), Answer("OK", 1)), "lag")
    assert "COULD NOT KEEP UP" in line(report(Settings(rate=1), Answer("OK", 1), lag_s=0.1), "lag")
    assert line(report(Settings(rate=1), Answer("OK", 1)), "latency").endswith("(from the intended start)")


def test_a_run_without_an_answer_is_reported_not_crashed() -> None:
    lines = report(Settings(), Answer("UNAVAILABLE"))
    assert line(lines, "latency") == line(lines, "batches") == "no call was answered"


def test_a_load_is_described_by_what_was_asked() -> None:
    words = describe_load(Settings(mode="batch", batch_size=64, rate=20, processes=2, count=1000))
    assert words.startswith("batch x 64, open loop, 20 calls/s, 2 processes, 1,000 calls, synthetic images, framed")
