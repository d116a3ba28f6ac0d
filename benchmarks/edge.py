"""What the production edge costs: metrics, JSON logs and tokens all on, and TLS on top, against the server without them."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from digitserve.bench.figures import Figures

from benchmarks.processes import ServerProcess
from benchmarks.rounds import interleave, paired_ratios, spread_of
from benchmarks.stage import Stage, say
from benchmarks.targets import Row
from benchmarks.throughput import IMAGES_A_BATCH, UNARY_TARGETS
from tests.certificates import Authority

IN_FLIGHT = 64
TLS_TARGET = 0.85


class Guarded(NamedTuple):
    """A server that wants a token, and TLS where there are authorities."""

    server: ServerProcess
    token: str
    authorities: str = ""


def measure_edge(stage: Stage) -> list[Row]:
    """Single calls and packed batches on three servers and the echo server, in turns."""
    with ExitStack() as stack:
        on, with_tls = start_guarded(stage, stack)
        say(f"unary calls, {IN_FLIGHT} in flight: the edge off, on, and with TLS")
        unary = interleave(stage.rounds, {
            "echo": lambda: stage.load(stage.echo, concurrency=IN_FLIGHT).calls_per_s,
            "echo that is shown the token": lambda: load_shown(stage, stage.echo, on.token).calls_per_s,
            "off": lambda: stage.load(stage.server, concurrency=IN_FLIGHT).calls_per_s,
            "on": lambda: load_guarded(stage, on, concurrency=IN_FLIGHT).calls_per_s,
            "TLS": lambda: load_guarded(stage, with_tls, concurrency=IN_FLIGHT).calls_per_s,
        })  # fmt: skip
        say("packed batches: the edge off, on, and with TLS")
        brief = replace(stage, rounds=3 * stage.rounds, seconds=stage.seconds / 3)
        batches: dict[str, Any] = {"mode": "batch", "batch_size": IMAGES_A_BATCH, "concurrency": 4}
        packed = interleave(brief.rounds, {
            "off": lambda: brief.load(stage.server, **batches).images_per_s,
            "on": lambda: load_guarded(brief, on, **batches).images_per_s,
            "TLS": lambda: load_guarded(brief, with_tls, **batches).images_per_s,
        })  # fmt: skip
    title = f"unary, {IN_FLIGHT} in flight"
    return [
        compare(f"{title}, metrics, JSON logs and tokens on, against echo", unary, "on", "echo", UNARY_TARGETS[IN_FLIGHT]),
        # What it costs to send and to receive one more line of metadata is gRPC's, and the client's.
        compare(f"{title}, the same against echo that is shown the token", unary, "on", "echo that is shown the token"),
        *tell(title, unary, "calls/s"),
        *tell(f"packed {IMAGES_A_BATCH} x 4 in flight", packed, "images/s"),
    ]


def tell(title: str, rates: dict[str, list[float]], unit: str) -> list[Row]:
    """The ratios of neighbours, and what each did."""
    return [
        compare(f"{title}, metrics, JSON logs and tokens on against off", rates, "on", "off"),
        compare(f"{title}, TLS with all that against without TLS", rates, "TLS", "on", TLS_TARGET),
        *(Row(f"{title}, {name}", spread_of(values).median, unit, spread=spread_of(values), digits=0)
          for name, values in rates.items()),
    ]  # fmt: skip


def compare(what: str, rates: dict[str, list[float]], over: str, under: str, target: float | None = None) -> Row:
    ratio = paired_ratios(rates[over], rates[under])
    return Row(what, ratio.median, "x", target, spread=ratio, raw=dict(rates))


def start_guarded(stage: Stage, stack: ExitStack) -> tuple[Guarded, Guarded]:
    """The server with everything on, and the same with TLS."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="digitserve-")))
    token = secrets.token_urlsafe()
    tokens = folder / "tokens"
    tokens.write_text(f"benchmark sha256:{hashlib.sha256(token.encode()).hexdigest()}\n", encoding="utf-8")
    authority = Authority(folder)
    certificate, key = authority.sign_new("server")
    seen = (*stage.server.command[2:], "--metrics-port", "0", "--log-format", "json", "--tokens", str(tokens))
    encrypted = (*seen, "--tls-certificate", str(certificate), "--tls-key", str(key))
    on, with_tls = (stack.enter_context(ServerProcess(*command)) for command in (seen, encrypted))
    return Guarded(on, token), Guarded(with_tls, token, str(authority.path))


def load_shown(stage: Stage, server: ServerProcess, token: str) -> Figures:
    """Single calls on a server that does not look at the token."""
    return load_guarded(stage, Guarded(server, token), concurrency=IN_FLIGHT)


def load_guarded(stage: Stage, guarded: Guarded, **settings: Any) -> Figures:
    """As `Stage.load`, showing the token."""
    with shown(guarded.token):
        return stage.load(guarded.server, tls_authorities=guarded.authorities, **settings)


@contextmanager
def shown(token: str) -> Iterator[None]:
    """The token is where the benchmark client looks for one."""
    os.environ["DIGITSERVE_TOKEN"] = token
    try:
        yield
    finally:
        del os.environ["DIGITSERVE_TOKEN"]
