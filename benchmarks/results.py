"""The table that a person reads and the file that keeps everything behind it."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from digitserve.bench.command import save_json
from digitserve.bench.machine import describe_machine
from digitserve.bench.settings import BenchError

from benchmarks.stage import Stage, say
from benchmarks.targets import Row, render_table

QUIET_CORES = 0.1
INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


def check_output(output: Path) -> None:
    """Makes the folder of `output`. Raises BenchError if that can't be done, before minutes are spent."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"can't write to {output.parent}: {error}") from error


def conclude(program: str, work: Callable[[], int | None], causes: tuple[type[Exception], ...] = (BenchError,)) -> int:
    """Does the work. Returns the exit status: the work's own, 1 with one line for one of `causes`."""
    try:
        return work() or 0
    except causes as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: interrupted, nothing saved", file=sys.stderr)
        return INTERRUPTED


def describe_others(busy: tuple[float, float]) -> str:
    """How many cores others kept busy before and after, and whether that spoils the figures."""
    said = f"others kept {busy[0]:.2f} cores busy before and {busy[1]:.2f} after"
    return f"{said}: NOT QUIET ENOUGH TO PUBLISH" if max(busy) > QUIET_CORES else said


def report(rows: list[Row], busy: tuple[float, float], stage: Stage, output: Path, **more: Any) -> None:
    """Prints the table and saves everything behind it, with whatever `more` there is to tell.

    `busy` is how many cores others kept busy before and after.
    """
    machine = describe_machine()
    how = f"{stage.rounds} rounds of {stage.seconds:g} s, medians; {describe_others(busy)}"
    print(f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, {_versions(machine)}\n{how}\n")
    print(render_table(rows))
    missed = [row.what for row in rows if row.reached is False]
    judged = sum(row.reached is not None for row in rows)
    print(f"\n{judged - len(missed)} of {judged} targets reached")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    result: dict[str, Any] = {"at": now, "machine": machine, "busy_cores": busy, "how": how} | more
    save_json(result | {"rows": [row.as_dict() for row in rows]}, output)
    say(f"saved {output}")


def _versions(machine: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
