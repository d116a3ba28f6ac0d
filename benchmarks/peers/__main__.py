"""The same calls to our server and to its peers, in turns, in one run: `python -m benchmarks.peers`.

All serve the same file by onnxruntime with one thread a session, and are asked by the same client, in the same bytes of the
Open Inference Protocol. Every server's answers are compared to onnxruntime's own before the clock starts. Client and server
share the machine's cores. A peer is judged by the best of its ways for each load, so no setting that does not suit it holds it
back.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks.envoy import parse_options
from benchmarks.peers.load import Figures
from benchmarks.peers.servers import MLSERVER, TRITON, Way, start_mlserver, start_ours, start_triton
from benchmarks.processes import ServerProcess, busy_cores, run_for_json
from benchmarks.results import check_output, conclude, report
from benchmarks.rounds import interleave, paired_ratios, spread_of
from benchmarks.stage import Stage, find_images, find_model, say
from benchmarks.targets import Row

OURS = "digitserve"
WAYS = (
    Way(OURS, "as it comes", start_ours),
    Way("MLServer", "one process", partial(start_mlserver, workers=0)),
    Way("MLServer", "one process, adaptive batching", partial(start_mlserver, workers=0, batch=64, delay_s=0.001)),
    Way("MLServer", "two workers", partial(start_mlserver, workers=2)),
    Way("Triton", "one instance", partial(start_triton, instances=1)),
    Way("Triton", "two instances", partial(start_triton, instances=2)),
)
# A crowd of one, of some and of many; and packed images. (in flight, images in a call)
LOADS = ((1, 1), (16, 1), (64, 1), (4, 256))


def load(stage: Stage, server: ServerProcess, in_flight: int, batch: int) -> Figures:
    """Raises BenchError if a single call failed, or an answer was wrong."""
    extent = ("--seconds", str(stage.seconds), "--warmup", str(min(1.0, stage.seconds / 2)))
    words = ("--address", server.address, "--model", str(stage.model), "--images", stage.images, *extent)
    told = run_for_json("benchmarks.peers.load", *words, "--in-flight", str(in_flight), "--batch", str(batch))
    return Figures(**json.loads(told))


def make_rows(runs: dict[tuple[str, str], list[Figures]], in_flight: int, batch: int) -> list[Row]:
    """Ours against the best way of each peer, by the medians of all rounds; then every way by itself."""
    title = f"{in_flight} in flight" if batch == 1 else f"{batch} images x {in_flight} in flight"
    (ours,) = (loads for (peer, _), loads in runs.items() if peer == OURS)
    rows = []
    for peer in dict.fromkeys(peer for peer, _ in runs if peer != OURS):
        way, best = max(
            ((way, loads) for (name, way), loads in runs.items() if name == peer),
            key=lambda one: spread_of([each.images_per_s for each in one[1]]).median,
        )
        ratio = paired_ratios([one.images_per_s for one in ours], [one.images_per_s for one in best])
        rows.append(Row(f"{title}: {OURS} against {peer} ({way})", ratio.median, "x", spread=ratio))
    for (peer, way), loads in runs.items():
        rate, p50 = spread_of([one.images_per_s for one in loads]), spread_of([one.p50_ms for one in loads])
        raw = {"loads": [asdict(one) for one in loads]}
        rows.append(Row(f"{title}, {peer}, {way}", rate.median, "images/s", spread=rate, digits=0, raw=raw))
        rows.append(Row(f"{title}, {peer}, {way}: p50", p50.median, "ms", spread=p50))
    return rows


def run(options: argparse.Namespace) -> None:
    """Measures everything and saves it. Raises BenchError if that can't be done."""
    check_output(options.json)
    model, (images, labelled) = find_model(options.models), find_images(options.data)
    with ExitStack() as stack:
        servers: dict[tuple[str, str], ServerProcess] = {}
        rows = []
        for way in WAYS:
            say(f"starting {way.peer}, {way.title}")
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="digitserve-peer-")))
            server = servers[way.peer, way.title] = stack.enter_context(way.start(model, folder))
            rows.append(Row(f"start to ready, {way.peer}, {way.title}", server.start_s, "s"))
        before = busy_cores(2.0)
        stage = Stage(
            servers[OURS, WAYS[0].title], servers[OURS, WAYS[0].title], model, images, labelled,
            rounds=options.rounds, seconds=options.seconds, processes=1, quick=False, soak=False,
        )  # fmt: skip
        for in_flight, batch in LOADS:
            say(f"{in_flight} in flight, {batch} images a call: all of them in turns")
            measures: dict[tuple[str, str], Callable[[], Figures]] = {
                name: partial(load, stage, server, in_flight, batch) for name, server in servers.items()
            }
            rows += make_rows(interleave(stage.rounds, measures), in_flight, batch)
        for name, server in servers.items():
            rows.append(Row(f"resident memory after that, {', '.join(name)}", server.resident_mb(), "MB", digits=0))
    versions = [*MLSERVER.requirements, *TRITON.requirements]
    print(", ".join(dict.fromkeys(versions)))
    report(rows, (before, busy_cores(2.0)), stage, options.json, peers=versions)


def main(words: list[str] | None = None) -> int:
    options = parse_options(words, "peers", __doc__)
    return conclude("benchmarks.peers", partial(run, options))


if __name__ == "__main__":
    raise SystemExit(main())
