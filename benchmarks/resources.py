"""What the server takes: time to start, processor time when idle, memory."""

from __future__ import annotations

import time

from benchmarks.processes import ServerProcess
from benchmarks.rounds import spread_of
from benchmarks.stage import Stage, say
from benchmarks.targets import Row

START_TARGET_S = 3.0
IDLE_TARGET_PERCENT = 1.0
RESIDENT_TARGET_MB = 350.0
GROWTH_TARGET_MB = 10.0
SOAK_CALLS = 200_000
SHORT_CALLS = 20_000
QUICK_CALLS = 2_000
PARTS = 10


def measure_start(stage: Stage) -> list[Row]:
    """From the start of the process to SERVING, with the interpreter's own start."""
    say("starts")
    starts_s = []
    for _ in range(stage.rounds):
        with ServerProcess(*stage.server.command[2:]) as another:
            starts_s.append(another.start_s)
    spread = spread_of(starts_s)
    return [Row("start to SERVING", spread.median, "s", START_TARGET_S, "at most", spread=spread)]


def measure_idle(stage: Stage) -> list[Row]:
    """Processor time of the server while nobody calls."""
    seconds = 1.0 if stage.quick else 5.0
    say(f"idle for {seconds:g} s")
    before_s, then = stage.server.cpu_s(), time.perf_counter()
    time.sleep(seconds)
    percent = (stage.server.cpu_s() - before_s) / (time.perf_counter() - then) * 100
    return [Row(f"idle server, CPU of one core over {seconds:g} s", percent, "%", IDLE_TARGET_PERCENT, "at most")]


def measure_memory(stage: Stage) -> list[Row]:
    """Resident memory as calls are made, and how much it grew from the first tenth of them to the last."""
    calls = SOAK_CALLS if stage.soak else QUICK_CALLS if stage.quick else SHORT_CALLS
    say(f"{calls:,} calls, watching memory")
    resident_mb = []
    for _ in range(PARTS):
        stage.load(stage.server, concurrency=64, count=calls // PARTS, warmup_s=0.0)
        resident_mb.append(stage.server.resident_mb())
    growth_mb = resident_mb[-1] - resident_mb[0]
    raw = {"calls": calls, "resident_mb": resident_mb}
    return [
        Row(f"resident memory, highest over {calls:,} calls", max(resident_mb), "MB", RESIDENT_TARGET_MB, "at most",
            digits=0, raw=raw),
        Row(f"its growth, call {calls // PARTS:,} to {calls:,}", growth_mb, "MB", GROWTH_TARGET_MB, "at most", digits=1),
    ]  # fmt: skip
