"""`python -m benchmarks.peers` measures ours as it measures its peers, which tests do not install, and saves what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.peers import __main__ as peers
from benchmarks.peers.servers import Way, start_ours
from benchmarks.processes import busy_cores


def test_every_load_is_measured_and_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "busy_cores", lambda seconds: busy_cores(0.1))
    monkeypatch.setattr(peers, "WAYS", (peers.WAYS[0], Way("itself", "again", start_ours)))
    file = tmp_path / "peers.json"
    assert peers.main(["--rounds", "1", "--seconds", "0.3", "--data", "", "--json", str(file)]) == 0
    assert "64 in flight: digitserve against itself (again)" in capsys.readouterr().out
    rows = {row["what"]: row["value"] for row in json.loads(file.read_text(encoding="utf-8"))["rows"]}
    assert len(rows) == 2 + 4 * 5 + 2
    assert 0.2 < rows["256 images x 4 in flight: digitserve against itself (again)"] < 5
