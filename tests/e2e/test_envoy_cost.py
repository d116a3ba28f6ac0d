"""`python -m benchmarks.envoy` and `python -m benchmarks.workers` measure every way in one run and save what they print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import envoy, workers
from benchmarks.processes import busy_cores


def test_all_ways_are_measured_in_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envoy, "busy_cores", lambda seconds: busy_cores(0.1))
    file = tmp_path / "envoy.json"
    assert envoy.main(["--rounds", "1", "--seconds", "0.1", "--data", "", "--json", str(file)]) == 0
    assert "1 in flight, through Envoy, grpc-web: adds, p50" in capsys.readouterr().out
    saved = json.loads(file.read_text(encoding="utf-8"))
    assert saved["envoy"].count(".") == 2
    assert len(saved["rows"]) == 20


def test_a_second_worker_is_measured_by_port_and_by_sockets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "workers.json"
    assert workers.main(["--rounds", "1", "--seconds", "0.5", "--data", "", "--json", str(file)]) == 0
    assert "64 in flight, 2 workers, a socket each against 1: calls/s" in capsys.readouterr().out
    rows = {row["what"]: row["value"] for row in json.loads(file.read_text(encoding="utf-8"))["rows"]}
    assert len(rows) == 24
    assert 0.5 <= rows["64 in flight, 2 workers, a socket each: share of the busier"] < 0.9
