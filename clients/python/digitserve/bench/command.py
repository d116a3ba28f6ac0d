"""The command `digitserve bench`: its options, and what happens in which order."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from digitserve.bench.connection import read_token
from digitserve.bench.measurement import measure
from digitserve.bench.plot import check_plot, save_plot
from digitserve.bench.report import describe_load, render_report
from digitserve.bench.settings import ENCODINGS, LAYOUTS, MODES, BenchError, Settings

DEFAULTS = Settings()
STANDARD_OUTPUT = Path("-")
MODE_HELP = """single: Recognize. stream: RecognizeStream, one stream a process. batch: RecognizeBatch. client:
digitserve.AsyncClient and whatever it does with calls made at the same time. Default: %(default)s"""
IMAGES_HELP = """synthetic, a folder that holds MNIST, or an .npz with `images` and `labels`; where the labels are
known, the answers are checked. Default: %(default)s"""
DURATION_HELP = "for so long calls are started; those under way then are waited for. Default: %(default)s"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `digitserve bench` to `parser`."""
    parser.description = (
        "Loads a server and reports throughput, latency percentiles, errors by status and the server's own timings. "
        "Exit status: 0 if most calls were answered, 1 if not or if the server was gone at the end, 2 for options that "
        "contradict each other."
    )
    parser.set_defaults(**DEFAULTS.as_dict())
    _add_target(parser)
    _add_load(parser)
    _add_images(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="save settings, machine and figures; - is standard output")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="save a plot, .png or .svg (needs matplotlib)")


def _add_target(parser: argparse.ArgumentParser) -> None:
    add, server = parser.add_argument, os.environ.get("DIGITSERVE_SERVER") or DEFAULTS.server
    add("--server", default=server, metavar="H:P", help="default: $DIGITSERVE_SERVER, or localhost:50051")
    add("--tls-authorities", metavar="FILE", help="use TLS: PEM file of whom the server's certificate comes from")
    add("--model", default=DEFAULTS.model, help="name, name:version or name@label; default: digits")
    add("--timeout", dest="timeout_s", type=float, metavar="SECONDS", help="each call's deadline; default: %(default)s")


def _add_load(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--mode", choices=MODES, help=MODE_HELP)
    add("--batch-size", type=int, metavar="N", help="images in a call of --mode batch; default: %(default)s")
    loop = parser.add_mutually_exclusive_group().add_argument
    loop("--concurrency", type=int, metavar="N", help="closed loop: calls always in flight; default: %(default)s")
    loop("--rate", type=float, metavar="R", help="open loop: calls a second, Poisson; latency from the intended start")
    add("--processes", type=int, metavar="P", help="load processes, sharing the load; default: %(default)s")
    extent = parser.add_mutually_exclusive_group().add_argument
    extent("--duration", dest="duration_s", type=float, metavar="SECONDS", help=DURATION_HELP)
    extent("--count", type=int, metavar="N", help="make N calls instead")
    add("--warmup", dest="warmup_s", type=float, metavar="SECONDS", help="same load, not counted; default: %(default)s")


def _add_images(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--images", metavar="SOURCE", help=IMAGES_HELP)
    add("--layout", choices=LAYOUTS, help="default: %(default)s")
    add("--encoding", choices=ENCODINGS, help="default: %(default)s")
    add("--seed", type=int, metavar="N", help="of the arrivals and the synthetic images; default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Runs the benchmark that the options describe and prints its report. Returns the exit status."""
    try:
        settings = Settings(**{name: getattr(args, name) for name in DEFAULTS.as_dict()})
        _check_outputs(args)
        read_token()
    except BenchError as error:
        print(f"digitserve bench: {error}", file=sys.stderr)
        return 2
    try:
        return _run(settings, args)
    except BenchError as error:
        print(f"digitserve bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("digitserve bench: interrupted, nothing saved", file=sys.stderr)
        return 130


def _run(settings: Settings, args: argparse.Namespace) -> int:
    print(f"running: {describe_load(settings)}", file=sys.stderr)
    measurement = measure(settings)
    print(render_report(measurement), file=sys.stderr if args.json == STANDARD_OUTPUT else sys.stdout)
    if args.json == STANDARD_OUTPUT:
        print(json.dumps(measurement.as_dict(), indent=2))
    elif args.json:
        save_json(measurement.as_dict(), args.json)
    if args.plot:
        save_plot(measurement, args.plot)
    figures = measurement.figures
    return 0 if figures.calls > figures.failed and not figures.gone_at_end else 1


def _check_outputs(args: argparse.Namespace) -> None:
    for option, path in (("--json", args.json), ("--plot", args.plot)):
        if path and not path.absolute().parent.is_dir():
            raise BenchError(f"{option} {path}: there is no folder {path.parent}")
    if args.plot:
        check_plot(args.plot)


def save_json(result: dict[str, Any], path: Path) -> None:
    """Writes `result`, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)
