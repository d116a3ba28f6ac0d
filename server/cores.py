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


def keep_to_one_core(claim: str = CLAIM) -> int | None:
    """Has the calling thread, and those that it starts from now on, keep to one core, which no other server here has claimed.

    If all are claimed, one is drawn by lot; so it is, too, among servers in different containers, who don't see each other's
    claims. Returns the core; None where there is no choice, or where it is not allowed (docs/decisions/0021-one-core.md).
    """
    cores = sorted(find_cores())
    if len(cores) < 2 or not hasattr(os, "sched_setaffinity"):
        return None
    random.shuffle(cores)
    core = next((core for core in cores if _claim(claim.format(core))), cores[0])
    try:
        os.sched_setaffinity(0, {core})
    except OSError:
        return None
    return core


def use_all_cores() -> None:
    """Undoes that for the calling thread: one that computes goes where there is room."""
    if hasattr(os, "sched_setaffinity"):
        with suppress(OSError):
            os.sched_setaffinity(0, find_cores())


def _claim(name: str) -> bool:
    with socket.socket(socket.AF_UNIX) as held:
        try:
            held.bind(name)
        except OSError:
            return False
        held.detach()  # stays open for as long as the process lives
        return True
