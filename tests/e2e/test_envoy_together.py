"""`python -m deploy`: everything starts by one command, is told where it is, and ends together."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from digitserve import Client

from tests.proxy_process import ask
from tests.server_process import ROOT

TIMEOUT_S = 40.0
START_S = 5.0
FREE = ("--port", "0", "--page-port", "0", "--admin-port", "0")


@contextmanager
def start(folder: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """The launcher; stderr goes to a file in `folder`. Killed at the end if it is still there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DIGITSERVE_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "clients/python")])
    command = [sys.executable, "-m", "deploy", *flags]
    with (
        (folder / "stderr").open("w", encoding="utf-8") as told,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=told, text=True) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(TIMEOUT_S)


def read_addresses(process: subprocess.Popen[str]) -> tuple[int, str]:
    """(port of the page, address of the server), as announced."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("Ctrl-C"):
            break
    page, server = re.search(r"page +http://127\.0\.0\.1:(\d+)/", said), re.search(r"gRPC +(\S+)", said)
    assert page, said
    assert server, said
    return int(page[1]), server[1]


def children_of(pid: int) -> dict[str, int]:
    """Its children by what they are."""
    found = {}
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()):
        command = Path(f"/proc/{child}/cmdline").read_bytes().decode()
        found["envoy" if "envoy.yaml" in command else "server"] = child
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_everything_starts_and_ends_together(number: signal.Signals, models_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>page</p>")
    since_s = time.monotonic()
    with start(tmp_path, *FREE, "--page", str(tmp_path), "--models", str(models_folder)) as process:
        port, address = read_addresses(process)
        assert time.monotonic() - since_s < START_S
        assert ask(port, "GET", "/").body == b"<p>page</p>"
        with Client(address) as client:
            assert client.recognize(ROOT / "docs/examples/seven.png").text == "7"
        children = children_of(process.pid)
        assert sorted(children) == ["envoy", "server"]
        process.send_signal(number)
        assert process.wait(TIMEOUT_S) == 0
    assert [pid for pid in children.values() if Path(f"/proc/{pid}").exists()] == []
    assert "drained" in (tmp_path / "stderr").read_text(encoding="utf-8")


@pytest.mark.parametrize("victim", ["envoy", "server"])
def test_one_that_dies_is_named_and_takes_the_other_down(victim: str, models_folder: Path, tmp_path: Path) -> None:
    with start(tmp_path, *FREE, "--models", str(models_folder)) as process:
        read_addresses(process)
        children = children_of(process.pid)
        os.kill(children[victim], signal.SIGKILL)
        assert process.wait(TIMEOUT_S) == 1
    told = (tmp_path / "stderr").read_text(encoding="utf-8")
    assert f"digitserve: {victim} was ended by SIGKILL" in told
    assert "Traceback" not in told
    assert [pid for pid in children.values() if Path(f"/proc/{pid}").exists()] == []


def fail(folder: Path, *flags: str) -> tuple[int, str]:
    """(exit status, stderr) of a start that fails."""
    with start(folder, *flags) as process:
        status = process.wait(TIMEOUT_S)
    return status, (folder / "stderr").read_text(encoding="utf-8")


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, told = fail(tmp_path, "--port", "0", "--admin-port", "0", "--page-port", str(port))
    assert (status, told) == (
        1,
        f"digitserve: can't listen on 127.0.0.1:{port}: Address already in use; --page-port takes another\n",
    )


def test_a_wrong_setting_of_either_is_one_line(tmp_path: Path) -> None:
    status, told = fail(tmp_path, "--max-batch-size", "many")
    assert (status, told) == (2, "digitserve: bad setting: --max-batch-size must be a whole number, not 'many'\n")
    status, told = fail(tmp_path, "--page-port", "many")
    assert (status, told) == (2, "digitserve: bad setting: --page-port must be a port from 0 to 65535, not 'many'\n")


def test_a_server_that_can_not_start_is_named_with_its_last_line(tmp_path: Path) -> None:
    status, told = fail(tmp_path, *FREE, "--models", str(tmp_path / "none"))
    assert status == 1
    assert "digitserve: server ended with exit status 1; its last lines:" in told
    assert "Traceback" not in told
