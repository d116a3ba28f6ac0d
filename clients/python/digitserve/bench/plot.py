"""The plot: how latency is distributed, and how it went over time. matplotlib is optional (the extra `plot`)."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np

from digitserve.bench.measurement import Measurement
from digitserve.bench.report import describe_load
from digitserve.bench.settings import BenchError

FORMATS = (".png", ".svg")
TIME_SLICES = 100


def check_plot(path: Path) -> None:
    """To be called before the run: a plot that can't be drawn is better refused then than after. Raises BenchError."""
    if path.suffix not in FORMATS:
        raise BenchError(f"--plot {path}: the name must end in {' or '.join(FORMATS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise BenchError("--plot needs matplotlib: pip install 'digitserve[plot]'")


def save_plot(measurement: Measurement, path: Path) -> None:
    """Writes a .png or .svg file, whole or not at all. Raises BenchError if no call was answered."""
    from matplotlib.figure import Figure

    if measurement.figures.latency_ms is None:
        raise BenchError("--plot: no call was answered, so there is nothing to draw")
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    figure.suptitle(describe_load(measurement.settings), fontsize=9)
    left, right = figure.subplots(1, 2)
    latency_ms = np.asarray(measurement.recording.latency_s) * 1000
    _draw_percentiles(left, latency_ms)
    _draw_timeline(right, np.asarray(measurement.recording.due_s) - measurement.recording.first_s, latency_ms)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    figure.savefig(draft, format=path.suffix[1:], dpi=140)
    draft.replace(path)


def _draw_percentiles(axes: Any, latency_ms: np.ndarray[Any, Any]) -> None:
    """Latency against "one call in ...", logarithmic: a tail is as wide as the body."""
    one_in = 1 / (1 - np.arange(len(latency_ms)) / len(latency_ms))
    axes.plot(one_in, np.sort(latency_ms), linewidth=1.5)
    ticks = [tick for tick in (1, 2, 10, 100, 1000, 10_000, 100_000) if tick <= len(latency_ms)]
    axes.set_xscale("log")
    axes.set_xticks(ticks, ["min", "p50", "p90", "p99", "p99.9", "p99.99", "p99.999"][: len(ticks)])
    axes.set_xticks([], minor=True)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("latency, ms")
    axes.grid(alpha=0.3)


def _draw_timeline(axes: Any, started_s: np.ndarray[Any, Any], latency_ms: np.ndarray[Any, Any]) -> None:
    edges = np.linspace(0, max(float(started_s.max()), 1e-9), TIME_SLICES + 1)
    slices = np.clip(np.digitize(started_s, edges) - 1, 0, TIME_SLICES - 1)
    filled = [index for index in range(TIME_SLICES) if (slices == index).any()]
    for percentile in (50, 99):
        heights = [float(np.percentile(latency_ms[slices == index], percentile)) for index in filled]
        axes.plot(edges[filled], heights, linewidth=1.2, label=f"p{percentile}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds since the start")
    axes.set_ylabel("latency, ms")
    axes.legend()
    axes.grid(alpha=0.3)
