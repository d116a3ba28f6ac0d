"""Promise: a worker that is killed under load is replaced, and clients that repeat UNAVAILABLE see no failure."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from tests.conformance.conftest import Proof
from tests.conftest import StartServer
from tests.e2e.conftest import Reference
from tests.e2e.test_workers import READY, Callers, find_workers
from tests.mnist import Digits


def test_kill_9(
    start_server: StartServer,
    models_folder: Path,
    tmp_path: Path,
    mnist_test: Digits,
    reference: Reference,
    whole: bool,
    proof: Proof,
) -> None:
    shutil.copytree(models_folder / "digits", tmp_path / "digits")
    server, kills = start_server("--workers", "2", models=tmp_path), 20 if whole else 1
    with Callers(server, mnist_test, reference) as callers:
        for number in range(kills):
            ready = server.stderr.count(READY)
            os.kill(find_workers(server.pid)[number % 2], signal.SIGKILL)
            callers.go_on(200)
            server.wait_for_lines(READY, ready + 1)
    assert set(callers.ends) == {"right"}, callers.ends
    proof(f"kill -9 of one of two workers under load, {kills} times: no caller notices", f"0 of {callers.ends.total():,} calls")
