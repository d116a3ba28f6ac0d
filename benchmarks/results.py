"""The table that a person reads and the file that keeps everything behind it."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from digitserve.bench.command import save_json
from digitserve.bench.machine import describe_machine
from digitserve.bench.settings import BenchError

from benchmarks.stage import Stage, say
from benchmarks.targets import Row, render_table

QUIET_CORES = 0.1


def check_output(output: Path) -> None:
    """Makes the folder of `output`. Raises BenchError if that can't be done, before minutes are spent."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"can't write to {output.parent}: {error}") from error


def report(rows: list[Row], busy: tuple[float, float], stage: Stage, output: Path, **more: Any) -> None:
    """Prints the table and saves everything behind it, with whatever `more` there is to tell.

    `busy` is how many cores others kept busy before and after.
    """
    machine = describe_machine()
    others = f"others kept {busy[0]:.2f} cores busy before and {busy[1]:.2f} after"
    how = f"{stage.rounds} rounds of {stage.seconds:g} s, medians; {others}"
    if max(busy) > QUIET_CORES:
        how += ": NOT QUIET ENOUGH TO PUBLISH"
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
