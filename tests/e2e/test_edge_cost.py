"""`python -m benchmarks --only edge` measures all servers in one run: with a token where one is wanted, and never without."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.edge import shown


def test_every_server_is_measured_beside_the_others(models_folder: Path, tmp_path: Path) -> None:
    saved = tmp_path / "edge.json"
    assert main(["--quick", "--only", "edge", "--models", str(models_folder), "--data", "", "--output", str(saved)]) == 0
    rows = {row["what"]: row["value"] for row in json.loads(saved.read_text())["rows"]}
    servers = {"echo", "echo that is shown the token", "off", "on", "TLS"}
    assert {what.rpartition(", ")[2] for what in rows if what.startswith("unary, 64 in flight, ")} >= servers
    assert all(value > 0 for value in rows.values())
    assert "DIGITSERVE_TOKEN" not in os.environ


def fail() -> None:
    assert os.environ["DIGITSERVE_TOKEN"] == "a-token"
    raise ZeroDivisionError


def test_the_token_is_shown_no_longer_than_needed() -> None:
    with pytest.raises(ZeroDivisionError), shown("a-token"):
        fail()
    assert "DIGITSERVE_TOKEN" not in os.environ
