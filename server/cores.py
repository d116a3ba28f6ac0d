"""How many cores this process may really use: its affinity, and its container's quota."""

from __future__ import annotations

import os
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def count_cores(cpu_max: Path = _CPU_MAX) -> int:
    """At least 1. `cpu_max` is the file where cgroup v2 keeps quota and period, in microseconds."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
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
