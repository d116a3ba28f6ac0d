"""`make bench`: every figure that digitserve promises, measured in one run, with its target beside it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from digitserve.bench.settings import BenchError

from benchmarks.accuracy import measure_accuracy
from benchmarks.edge import measure_edge
from benchmarks.latency import measure_lone
from benchmarks.processes import ROOT, ServerProcess, busy_cores
from benchmarks.resources import measure_idle, measure_memory, measure_start
from benchmarks.results import check_output, conclude, report
from benchmarks.seeing import measure_metrics
from benchmarks.stage import Stage, find_images, find_model, say
from benchmarks.targets import Row
from benchmarks.throughput import measure_coalesced, measure_packed, measure_streams, measure_unary, measure_workers

PARTS: dict[str, Callable[[Stage], list[Row]]] = {
    "start": measure_start,
    "idle": measure_idle,
    "accuracy": measure_accuracy,
    "lone": measure_lone,
    "unary": measure_unary,
    "streams": measure_streams,
    "workers": measure_workers,
    "packed": measure_packed,
    "coalesced": measure_coalesced,
    "metrics": measure_metrics,
    "edge": measure_edge,
    "memory": measure_memory,
}


def parse_options(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="one short round each: a trial, not a measurement")
    add("--soak", action="store_true", help="watch memory over 200,000 calls")
    add("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=f"of: {', '.join(PARTS)}")
    add("--rounds", type=int, default=5, help="default: %(default)s")
    add("--seconds", type=float, default=3.0, help="of each measurement; default: %(default)s")
    add("--processes", type=int, default=1, help="that make the load, for both servers; default: %(default)s")
    add("--models", type=Path, default=ROOT / "models", help="the model repository")
    add("--data", default=os.environ.get("DIGITSERVE_DATA", ""), help="holds MNIST; default: $DIGITSERVE_DATA")
    add("--output", type=Path, default=ROOT / "build/bench/results.json", help="default: build/bench/results.json")
    options = parser.parse_args(words)
    if options.rounds < 1 or options.processes < 1 or not 0 < options.seconds < float("inf"):
        parser.error("--rounds and --processes must be at least 1, --seconds above 0")
    return options


def main(words: list[str] | None = None) -> int:
    options = parse_options(words)
    return conclude("benchmarks", partial(run, options))


def run(options: argparse.Namespace) -> int:
    check_output(options.output)
    model = find_model(options.models)
    images, labelled = find_images(options.data)
    pause_s = 0.2 if options.quick else 2.0
    before = busy_cores(pause_s)
    serve = ("server", "--host", "127.0.0.1", "--port", "0", "--models", str(options.models.absolute()))
    with ServerProcess("benchmarks.echo") as echo, ServerProcess(*serve) as server:
        stage = Stage(
            server, echo, model, images, labelled,
            rounds=1 if options.quick else options.rounds,
            seconds=min(options.seconds, 0.3) if options.quick else options.seconds,
            processes=options.processes, quick=options.quick, soak=options.soak,
        )  # fmt: skip
        rows, failures = measure_parts(stage, [PARTS[part] for part in PARTS if part in options.only])
    report(rows, (before, busy_cores(pause_s)), stage, options.output, failures=failures)
    return 1 if failures else 0


def measure_parts(stage: Stage, parts: Sequence[Callable[[Stage], list[Row]]]) -> tuple[list[Row], list[str]]:
    """The rows of all parts that could be measured, and why the others could not: one failure costs only its own part."""
    rows: list[Row] = []
    failures: list[str] = []
    for part in parts:
        try:
            rows += part(stage)
        except BenchError as error:
            failures.append(f"{part.__name__}: {error}")
            say(f"FAILED: {failures[-1]}")
    return rows, failures


if __name__ == "__main__":
    raise SystemExit(main())
