"""The browser is found where it is, and where there is none, the way to one is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.chromium import NoBrowser, find_browser
from tests.server_process import ROOT


def put(folder: Path, name: str) -> Path:
    program = folder / name
    program.write_text("#!/bin/sh\n", encoding="ascii")
    program.chmod(0o755)
    return program


def find(folder: Path, **environment: str) -> Path:
    """With an empty PATH, unless it is given, and places that hold only what the test puts there."""
    return find_browser(folder / "playwrights", {"PATH": ""} | environment, folder / "debians")


def test_the_variable_goes_before_all_others(tmp_path: Path) -> None:
    mine = put(tmp_path, "mine")
    put(tmp_path, "chromium")
    assert find(tmp_path, PATH=str(tmp_path), DIGITSERVE_BROWSER=str(mine)) == mine


def test_path_goes_before_debians_and_that_before_playwrights(tmp_path: Path) -> None:
    playwrights = put(tmp_path, "playwrights")
    assert find(tmp_path) == playwrights
    debians = put(tmp_path, "debians")
    assert find(tmp_path) == debians
    (tmp_path / "bin").mkdir()
    on_path = put(tmp_path / "bin", "google-chrome")
    assert find(tmp_path, PATH=os.pathsep.join(["/nowhere", str(tmp_path / "bin")])) == on_path


def test_no_browser_is_told_with_the_command_that_mends_it(tmp_path: Path) -> None:
    with pytest.raises(NoBrowser) as told:
        find(tmp_path)
    assert "`sudo apt-get install chromium`" in str(told.value)
    assert "`.venv/bin/playwright install chromium`" in str(told.value)


def test_a_variable_that_names_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoBrowser, match=r"names .*nothing, and there is no file"):
        find(tmp_path, DIGITSERVE_BROWSER=str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("named", "status", "said"), [(True, 0, "the browser for the tests: "), (False, 1, "DIGITSERVE_BROWSER names ")]
)
def test_the_set_up_learns_whether_one_must_be_brought(tmp_path: Path, named: bool, status: int, said: str) -> None:
    program = put(tmp_path, "mine") if named else tmp_path / "nothing"
    words = [sys.executable, "-m", "tests.browser.chromium"]
    environment = os.environ | {"DIGITSERVE_BROWSER": str(program)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == status
    assert f"{said}{program}" in done.stdout + done.stderr
