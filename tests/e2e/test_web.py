"""The page keeps its promises that need no browser: its own tests pass, and what is served was built from what is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server_process import ROOT

PAGE = ROOT / "clients/web"
TIMEOUT_S = 300.0


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Node as the tests' packages bring it, before any other."""
    assert (PAGE / "node_modules/vite").is_dir(), "the page's packages are missing: make setup"
    return os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]), "NO_COLOR": "1"}


@pytest.mark.parametrize("script", ["check", "test"])
def test_the_pages_own_checks_pass(script: str, environment: dict[str, str]) -> None:
    """`test` builds the page anew and compares it with clients/web/dist; to mend that: make web."""
    words = ["npm", "--prefix", str(PAGE), "run", script]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
