"""`python -m benchmarks.framing`: how long the framing of a picture takes, on one thread and without a server."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from digitserve.bench.images import draw_strokes
from digitserve.bench.machine import describe_machine
from numpy.typing import NDArray
from PIL import Image

from benchmarks.processes import busy_cores
from benchmarks.results import conclude, describe_others
from benchmarks.rounds import interleave, spread_of
from benchmarks.targets import Row, render_table
from server.preprocess import Ink, frame

Grey = NDArray[np.uint8]
INK, PAPER = 30, 235
DRAWING, SCAN, PHOTO = 128, 192, 1200  # pixels a side: what the page sends, what is looked at, what a camera takes


def parse_options(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.framing", description=__doc__)
    add = parser.add_argument
    add("--pictures", type=int, default=100, metavar="N", help="of each kind, each framed once a round; default: %(default)s")
    add("--rounds", type=int, default=5, help="default: %(default)s")
    options = parser.parse_args(words)
    if options.pictures < 1 or options.rounds < 1:
        parser.error("--pictures and --rounds must be at least 1")
    return options


def main(words: list[str] | None = None) -> int:
    options = parse_options(words)
    return conclude("benchmarks.framing", partial(run, options))


def run(options: argparse.Namespace) -> None:
    before = busy_cores(1.0)
    rows = measure(draw_strokes(options.pictures, seed=0), options.rounds)
    machine, busy = describe_machine(), describe_others((before, busy_cores(1.0)))
    print(f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}\n{options.rounds} rounds, medians; {busy}\n")
    print(render_table(rows))


def measure(strokes: Grey, rounds: int) -> list[Row]:
    """Milliseconds a picture, of (N, 28, 28) drawn characters: each kind in turns with the others."""
    random = np.random.default_rng(0)
    drawings = [paint(one, DRAWING) for one in strokes]
    scans = [paint(one, SCAN) for one in strokes]
    kinds: dict[str, Callable[[], float]] = {
        f"drawing, {DRAWING} px, ink known": partial(time_framing, drawings, Ink.DARK),
        f"drawing, {DRAWING} px": partial(time_framing, drawings, Ink.AUTO),
        f"salt and pepper, {SCAN} px": partial(time_framing, [pepper(one, random) for one in scans], Ink.AUTO),
        f"ruled paper, {SCAN} px": partial(time_framing, [rule(one) for one in scans], Ink.AUTO),
        f"photo in uneven light, {PHOTO} px": partial(time_framing, [shade(paint(one, PHOTO)) for one in strokes], Ink.AUTO),
    }
    runs = interleave(rounds, kinds)
    return [Row(kind, spread_of(runs[kind]).median, "ms", spread=spread_of(runs[kind])) for kind in kinds]


def time_framing(pictures: list[Grey], ink: Ink) -> float:
    """The median over the pictures, in milliseconds."""
    return statistics.median(time_once(partial(frame, one, ink=ink)) for one in pictures)


def time_once(work: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    work()
    return (time.perf_counter() - started_at) * 1e3


def paint(strokes: Grey, side: int) -> Grey:
    """Dark ink on paper, (side, side)."""
    share = np.asarray(Image.fromarray(strokes).resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255
    return (PAPER + (INK - PAPER) * share).astype(np.uint8)


def pepper(picture: Grey, random: np.random.Generator) -> Grey:
    """3 % of the pixels are black or white."""
    spoilt = np.where(random.random(picture.shape) < 0.5, 0, 255)
    return np.where(random.random(picture.shape) < 0.03, spoilt, picture).astype(np.uint8)


def rule(picture: Grey) -> Grey:
    """A grey line in every twentieth row."""
    ruled = picture.copy()
    ruled[10::20] = np.minimum(ruled[10::20], 170)
    return ruled


def shade(picture: Grey) -> Grey:
    """Half as bright on the right."""
    return (picture * np.linspace(1, 0.5, picture.shape[1])).astype(np.uint8)


if __name__ == "__main__":
    raise SystemExit(main())
