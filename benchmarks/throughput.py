"""How much comes through: single calls against the transport's ceiling, packed batches against the model's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from benchmarks.processes import ServerProcess
from benchmarks.raw import USUAL_WAYS, WAYS
from benchmarks.rounds import interleave, paired_ratios, spread_of
from benchmarks.stage import Stage, say
from benchmarks.targets import Row

UNARY_TARGETS = {1: None, 4: None, 8: None, 16: 0.65, 64: 0.85, 256: None}
PACKED_TARGET = 0.92
COALESCED_TARGET = 5000.0
IMAGES_A_BATCH = 256
CROWD, CALLERS = 64, 8


def measure_unary(stage: Stage) -> list[Row]:
    """Recognize against the echo server: the same load, the same messages, side by side."""
    return [row for in_flight, target in UNARY_TARGETS.items() for row in _unary_at(stage, in_flight, target)]


def load_unary(stage: Stage, server: ServerProcess, in_flight: int) -> tuple[float, float]:
    """Calls a second, and the processor time of one, in milliseconds."""
    before_s = server.cpu_s()
    figures = stage.load(server, concurrency=in_flight, processes=min(stage.processes, in_flight))
    # Processor time covers the warm-up, too: it is shared out over the time, not over the counted calls.
    cpu_ms = (server.cpu_s() - before_s) / (figures.seconds + min(1.0, stage.seconds / 2)) * 1000
    return figures.calls_per_s, cpu_ms / figures.calls_per_s


def _unary_at(stage: Stage, in_flight: int, target: float | None) -> list[Row]:
    say(f"unary calls, {in_flight} in flight: the server and the echo server")
    servers = {"server": stage.server, "echo": stage.echo}
    runs = interleave(stage.rounds, {name: partial(load_unary, stage, one, in_flight) for name, one in servers.items()})
    rates = {name: [rate for rate, _ in results] for name, results in runs.items()}
    ratio = paired_ratios(rates["server"], rates["echo"])
    raw = {"calls_per_s": rates, "cpu_ms_per_call": {name: [cpu for _, cpu in results] for name, results in runs.items()}}
    calls = spread_of(rates["server"])
    cpu = {name: spread_of(values) for name, values in raw["cpu_ms_per_call"].items()}
    return [
        Row(f"unary, {in_flight} in flight, against echo", ratio.median, "x", target, spread=ratio, raw=raw),
        Row(f"unary, {in_flight} in flight", calls.median, "calls/s", spread=calls, digits=0),
        *(Row(f"unary, {in_flight} in flight, CPU a call, {name}", one.median, "ms", spread=one, digits=3)
          for name, one in cpu.items()),
    ]  # fmt: skip


def measure_streams(stage: Stage) -> list[Row]:
    """RecognizeStream against the echo server: one stream, with so many requests unanswered."""
    say(f"one stream, {CROWD} requests in flight: the server and the echo server")
    servers = {"server": stage.server, "echo": stage.echo}

    def load(server: ServerProcess) -> float:
        return stage.load(server, mode="stream", concurrency=CROWD).calls_per_s

    rates = interleave(stage.rounds, {name: partial(load, one) for name, one in servers.items()})
    ratio, served = paired_ratios(rates["server"], rates["echo"]), spread_of(rates["server"])
    title = f"one stream, {CROWD} in flight"
    return [
        Row(f"{title}, against echo", ratio.median, "x", spread=ratio, raw=dict(rates)),
        Row(title, served.median, "requests/s", spread=served, digits=0),
    ]


def measure_workers(stage: Stage) -> list[Row]:
    """Recognize on one server process and on two, side by side. Callers are several processes: a connection has one worker."""
    say(f"unary calls, {CROWD} in flight: one worker and two")
    callers = replace(stage, processes=max(stage.processes, CALLERS))
    with ServerProcess(*stage.server.command[2:], "--workers", "2") as two:
        servers = {"1 worker": stage.server, "2 workers": two}
        runs = interleave(stage.rounds, {name: partial(load_unary, callers, one, CROWD) for name, one in servers.items()})
    rates = {name: [rate for rate, _ in results] for name, results in runs.items()}
    ratio = paired_ratios(rates["2 workers"], rates["1 worker"])
    title, spreads = f"unary, {CROWD} in flight", {name: spread_of(values) for name, values in rates.items()}
    return [
        Row(f"{title}, 2 workers against 1", ratio.median, "x", spread=ratio, raw={"calls_per_s": rates}),
        *(Row(f"{title}, {name}", one.median, "calls/s", spread=one, digits=0) for name, one in spreads.items()),
    ]


def measure_packed(stage: Stage) -> list[Row]:
    """RecognizeBatch of 256 images, 4 in flight, against onnxruntime alone with all cores.

    The ceiling is the better of its two usual ways, by the medians of all rounds: the better one of each round would be the
    luckier one. The rounds are short and many, since what disturbs a machine's memory comes and goes within seconds.
    """
    say("packed batches: the server and onnxruntime alone")
    brief = replace(stage, rounds=3 * stage.rounds, seconds=stage.seconds / 3)

    def load() -> float:
        figures = brief.load(stage.server, mode="batch", batch_size=IMAGES_A_BATCH, concurrency=4)
        return figures.images_per_s

    def run_raw(way: str) -> float:
        options = ("--batch", str(IMAGES_A_BATCH), "--threads", str(stage.cores), "--way", way)
        return float(brief.raw(*options)["images_per_s"])

    measures: dict[str, Callable[[], float]] = {way: partial(run_raw, way) for way in WAYS}
    runs = interleave(brief.rounds, {"server": load} | measures)
    ratios = {way: paired_ratios(runs["server"], runs[way]) for way in WAYS}
    ratio = min((ratios[way] for way in USUAL_WAYS), key=lambda one: one.median)
    served = spread_of(runs["server"])
    title = f"packed {IMAGES_A_BATCH} x 4 in flight"
    rows = [
        Row(f"{title}, against the better onnxruntime", ratio.median, "x", PACKED_TARGET, spread=ratio, raw=dict(runs)),
        Row(title, served.median, "images/s", spread=served, digits=0),
    ]
    for way in WAYS:
        rate = spread_of(runs[way])
        rows.append(Row(f"onnxruntime alone, {way}", rate.median, "images/s", spread=rate, digits=0))
        rows.append(Row(f"{title}, against {way}", ratios[way].median, "x", spread=ratios[way]))
    return rows


def measure_coalesced(stage: Stage) -> list[Row]:
    """64 single images in flight through one AsyncClient, which sends them together."""
    say("single images through one AsyncClient")
    rates = [stage.load(stage.server, mode="client", concurrency=64).images_per_s for _ in range(stage.rounds)]
    spread = spread_of(rates)
    what = "64 single images in flight, one AsyncClient"
    return [Row(what, spread.median, "images/s", COALESCED_TARGET, spread=spread, digits=0, raw={"images_per_s": rates})]
