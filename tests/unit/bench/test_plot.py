from __future__ import annotations

from pathlib import Path

import pytest
from digitserve.bench.answers import Answer
from digitserve.bench.figures import summarize
from digitserve.bench.measurement import Measurement
from digitserve.bench.plot import save_plot
from digitserve.bench.recording import Recording
from digitserve.bench.settings import BenchError, Settings


def measurement_of(*answers: Answer) -> Measurement:
    recording = Recording()
    for number, answer in enumerate(answers):
        recording.add(number, number, number + 0.002, answer)
    return Measurement(Settings(), {}, summarize(recording, Settings()), recording)


@pytest.mark.parametrize("calls", [1, 500])
@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_plot_is_what_its_name_says(tmp_path: Path, calls: int, suffix: str, start: bytes) -> None:
    path = tmp_path / f"bench.{suffix}"
    save_plot(measurement_of(*[Answer("OK", 1)] * calls), path)
    assert path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no call was answered"):
        save_plot(measurement_of(Answer("UNAVAILABLE")), tmp_path / "bench.png")
    assert not list(tmp_path.iterdir())
