"""One measurement: every process's calls, started together and merged."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from digitserve.bench.figures import Figures, summarize
from digitserve.bench.machine import describe_machine
from digitserve.bench.recording import Recording, merge_recordings
from digitserve.bench.settings import BenchError, Settings
from digitserve.bench.worker import Share, run_process


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was asked, where, what came out, and every raw figure."""

    settings: Settings
    machine: dict[str, Any]
    figures: Figures
    recording: Recording

    def as_dict(self) -> dict[str, Any]:
        """For JSON: settings, machine and figures."""
        return {"settings": self.settings.as_dict(), "machine": self.machine, "figures": self.figures.as_dict()}


def measure(settings: Settings) -> Measurement:
    """Runs the benchmark. Raises BenchError if it can't be run.

    The calls are always made in processes of their own, be it one: a fresh interpreter for each run, and one event loop in
    its life. grpc.aio can lose answers in a process that has closed an event loop before.
    """
    shares = [Share(settings, number, settings.processes) for number in range(settings.processes)]
    recording = merge_recordings(_run_processes(shares))
    return Measurement(settings, describe_machine(), summarize(recording, settings), recording)


def _run_processes(shares: list[Share]) -> list[Recording]:
    # Spawned, because a forked gRPC hangs: its threads don't exist in the child.
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(shares))
    processes: list[tuple[SpawnProcess, Connection]] = []
    try:
        for share in shares:
            home, away = context.Pipe(duplex=False)
            process = context.Process(target=run_process, args=(share, barrier, away), daemon=True)
            process.start()
            away.close()  # so that a process that dies is the end of its pipe
            processes.append((process, home))
        return _collect(processes)
    finally:
        for process, home in processes:
            process.terminate()
            process.join()
            home.close()


def _collect(processes: list[tuple[SpawnProcess, Connection]]) -> list[Recording]:
    recordings, lines, deaths = [], [], 0
    for _, home in processes:
        try:
            result = home.recv()
        except EOFError:
            deaths += 1
            continue
        if isinstance(result, Recording):
            recordings.append(result)
        else:
            lines.append(result)
    if lines:
        raise BenchError(lines[0])
    if deaths:
        raise BenchError(f"{deaths} of {len(processes)} load processes ended without a result")
    return recordings
