"""The benchmark of the framing: what it draws is what it says, and every kind is timed."""

from __future__ import annotations

import numpy as np
import pytest
from digitserve.bench.images import draw_strokes

from benchmarks import framing
from server.preprocess import frame


def test_every_kind_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    assert framing.main(["--pictures", "2", "--rounds", "1"]) == 0
    said = capsys.readouterr().out
    for kind in ("drawing, 128 px, ink known", "drawing, 128 px ", "salt and pepper", "ruled paper", "photo in uneven light"):
        assert f"\n{kind}" in said


def test_in_each_picture_the_character_is_found() -> None:
    strokes = draw_strokes(1, seed=0)[0]
    random = np.random.default_rng(0)
    scan = framing.paint(strokes, framing.SCAN)
    for picture in (scan, framing.pepper(scan, random), framing.rule(scan), framing.shade(scan)):
        found = frame(picture).pixels.astype(float)
        assert np.corrcoef(found.ravel(), strokes.ravel())[0, 1] > 0.85  # thin strokes become thicker


@pytest.mark.parametrize("words", [["--pictures", "0"], ["--rounds", "0"]])
def test_nothing_to_measure_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        framing.main(words)
    assert "must be at least 1" in capsys.readouterr().err
