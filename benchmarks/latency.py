"""How long a lone call takes beyond what it can't do without: the transport and the model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from digitserve.bench.settings import BenchError

from benchmarks.processes import ServerProcess
from benchmarks.rounds import interleave, spread_of
from benchmarks.stage import Stage, say
from benchmarks.targets import Row

LONE_TARGET_MS = 0.15


def measure_lone(stage: Stage) -> list[Row]:
    """p50 of a lone call, less the echo's p50, less the median of batch 1 on one thread."""
    say("lone calls: the server, the echo server and onnxruntime alone")

    def load(server: ServerProcess) -> float:
        latency_ms = stage.load(server, concurrency=1).latency_ms
        if latency_ms is None:
            raise BenchError("no lone call was answered")
        return latency_ms.p50

    def compute() -> float:
        return float(stage.raw("--batch", "1", "--threads", "1", "--way", "answers")["run_ms"])

    measures: dict[str, Callable[[], float]] = {
        "server": partial(load, stage.server),
        "compute": compute,
        "echo": partial(load, stage.echo),
    }
    runs = interleave(stage.rounds, measures)
    spare = [
        server - echo - compute for server, echo, compute in zip(runs["server"], runs["echo"], runs["compute"], strict=True)
    ]
    extra = spread_of(spare)
    names = {"server": "lone call, p50", "echo": "lone echo, p50", "compute": "batch 1, one thread, onnxruntime alone"}
    told = [Row(title, (one := spread_of(runs[name])).median, "ms", spread=one, digits=3) for name, title in names.items()]
    what = "lone call, p50 beyond echo and compute"
    return [
        Row(what, extra.median, "ms", LONE_TARGET_MS, "at most", spread=extra, digits=3, raw=dict(runs)),
        *told,
    ]
