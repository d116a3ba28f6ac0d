"""`python -m deploy` in a process of its own, and what it has left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.server_process import ROOT

TIMEOUT_S = 40.0
FREE = ("--port", "0", "--page-port", "0", "--admin-port", "0")
# Handed down to everything that a launcher starts, so that what it leaves behind can be found.
MARK = "LAUNCHED_FOR_TEST"


@contextmanager
def launch(folder: Path, *flags: str, packages: Path | None = None, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """The launcher; stderr goes to a file in `folder`. Ended at the end if it is still there, and nothing may be left of it.

    `packages` is a folder of Python packages that hide others of the same name; `variables` are its environment's, too.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DIGITSERVE_")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, filter(None, [packages, ROOT, ROOT / "clients/python"])))
    environment |= variables
    environment[MARK] = uuid.uuid4().hex
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
    assert find_marked(environment[MARK]) == []


def find_marked(value: str) -> list[int]:
    """Processes that still run and have this mark."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if f"{MARK}={value}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # another user's, or gone since, or no process at all
            continue
    return found


def fail(folder: Path, *flags: str, packages: Path | None = None, **variables: str) -> tuple[int, str]:
    """(exit status, stderr) of a start that fails."""
    with launch(folder, *flags, packages=packages, **variables) as process:
        status = process.wait(TIMEOUT_S)
    return status, read_stderr(folder)


def read_stderr(folder: Path) -> str:
    return (folder / "stderr").read_text(encoding="utf-8")


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
