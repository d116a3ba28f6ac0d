"""Promise: Ctrl-C at any moment of a start ends it without a traceback, also while everything is still being imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server_process import ROOT

TIMEOUT_S = 60.0
ENDLESS = "import sys\nprint('importing', flush=True)\nsys.stdin.read()\n"  # until its standard input is closed


@pytest.mark.parametrize(
    ("command", "imported"),
    [
        ("server --port 0", "grpc"),
        ("deploy --port 0 --page-port 0 --admin-port 0", "yaml"),
        ("train", "torch"),
        ("export --checkpoint none.pt", "torch"),
    ],
)
def test_an_interrupted_import_is_no_traceback(command: str, imported: str, tmp_path: Path) -> None:
    (tmp_path / f"{imported}.py").write_text(ENDLESS, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [tmp_path, ROOT, ROOT / "clients/python"]))}
    words = [sys.executable, "-m", *command.split()]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        process.wait(TIMEOUT_S)
        told = process.stderr.read()
    assert process.returncode == -signal.SIGINT, told
    assert "Traceback" not in told
