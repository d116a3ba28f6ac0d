"""`python -m benchmarks.envoy` measures all three ways in one run and saves what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import envoy


def test_all_ways_are_measured_in_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "envoy.json"
    assert envoy.main(["--rounds", "1", "--seconds", "0.2", "--data", "", "--json", str(file)]) == 0
    assert "1 in flight, through Envoy, grpc-web: adds, p50" in capsys.readouterr().out
    saved = json.loads(file.read_text(encoding="utf-8"))
    assert saved["envoy"].count(".") == 2
    assert len(saved["rows"]) == 20
