"""The page's benchmark: its arithmetic, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from digitserve.bench.settings import BenchError

from benchmarks import page, screenshots
from benchmarks.pen import STEP_NAMES, STEPS, read_moves

SAMPLE = {"moved": 100.0, "handled": 101.0, "taken": 103.0, "sent": 106.0, "received": 110.0, "answered": 115.0, "shown": 121.0}


def test_a_moves_steps_add_up_to_its_latency() -> None:
    [move] = read_moves([SAMPLE])
    assert move.latency_ms == 21.0
    assert [move.step_ms(step) for step in STEPS[1:]] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_every_step_has_a_name() -> None:
    assert tuple(STEP_NAMES) == STEPS[1:]


def test_the_table_tells_median_tail_and_steps() -> None:
    moves = read_moves([SAMPLE | {"shown": 121.0 + extra} for extra in range(100)])
    median, tail, *steps = page.pen_rows(moves)
    assert (median.value, tail.value, tail.reached) == (71.0, 116.0, False)
    assert [row.value for row in steps] == [1.0, 2.0, 3.0, 4.0, 5.0, 56.0]


def test_quantiles_are_values_that_were_there() -> None:
    assert page.quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert page.quantile([3.0, 1.0, 2.0], 0.95) == 3.0
    with pytest.raises(BenchError, match="no move of the pen was answered"):
        page.quantile([], 0.5)


@pytest.mark.parametrize("words", [["--moves", "0"], ["--camera-seconds", "nan"], ["--camera-seconds", "0"]])
def test_nonsense_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        page.parse_options(words)


def test_a_folder_that_can_not_be_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert screenshots.main([str(tmp_path / "file/images")]) == 1
    assert capsys.readouterr().err.startswith("benchmarks.screenshots: ")


def test_a_file_that_can_not_be_is_told_before_anything_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert page.main(["--json", str(tmp_path / "file/results.json")]) == 1
    assert "can't write to" in capsys.readouterr().err
