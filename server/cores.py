"""The cores that this process may really use, by its affinity and its container's quota, and the one that its loop keeps to."""

from __future__ import annotations

import os
import random
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
CLAIM = "\0digitserve-core-{}"  # the name of an abstract socket: whoever binds it has the core


@cache
def find_cores() -> frozenset[int]:
    """The cores that this process was given. Asked once: later, its first thread may keep to one of them."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def count_cores(cpu_max: Path = _CPU_MAX) -> int:
    """At least 1. `cpu_max` is the file where cgroup v2 keeps quota and period, in microseconds."""
    affinity = len(find_cores())
    try:
        quota, period = cpu_max.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return affinity
    if quota == "max":
        return affinity
    return max(1, min(affinity, int(quota) // int(period)))


def count_workers(workers: str) -> int:
    """How many server processes the setting means."""
    return count_cores() if workers == "auto" else int(workers)


def keep_to_one_core(claim: str = CLAIM, cpu_max: Path = _CPU_MAX) -> int | None:
    """Has the calling thread, and those that it starts from now on, keep to one core, which no other server here has claimed.

    If all are claimed, one is drawn by lot. A container with a quota shares its cores with others whose claims it can't see, so
    there it is left be. Returns the core; None where there is no choice, or where it is not allowed
    (docs/decisions/0021-one-core.md).
    """
    cores = sorted(find_cores())
    if len(cores) < 2 or count_cores(cpu_max) < len(cores) or not hasattr(os, "sched_setaffinity"):
        return None
    random.shuffle(cores)
    held = None
    for core in cores:
        if held := _claim(claim.format(core)):
            break
    else:
        core = cores[0]
    try:
        os.sched_setaffinity(0, {core})
    except OSError:
        if held:
            held.close()
        return None
    if held:
        held.detach()  # stays open for as long as the process lives
    return core


def is_on_one_core() -> bool:
    """Whether the calling thread has but one core, chosen or given."""
    return hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) == 1


def use_all_cores() -> None:
    """Undoes keep_to_one_core() for the calling thread: one that computes goes where there is room."""
    if is_on_one_core() and hasattr(os, "sched_setaffinity"):
        with suppress(OSError):
            os.sched_setaffinity(0, find_cores())


def _claim(name: str) -> socket.socket | None:
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(name)
    except OSError:
        held.close()
        return None
    return held
