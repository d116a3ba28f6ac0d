"""The report that a person reads."""

from __future__ import annotations

from typing import Any

from digitserve.bench.figures import LATE_MS, Distribution, Figures
from digitserve.bench.measurement import Measurement
from digitserve.bench.settings import Settings


def render_report(measurement: Measurement) -> str:
    """Several lines, one subject each; the first two say what was done and where."""
    settings, figures = measurement.settings, measurement.figures
    rows = [
        ("bench", describe_load(settings)),
        ("machine", _machine(measurement.machine)),
        ("throughput", _throughput(figures)),
        ("latency", _distribution(figures.latency_ms) + (" (from the intended start)" if settings.rate else "")),
        *_lag(figures),
        ("queue", _distribution(figures.queue_ms) + " (server)"),
        ("compute", _distribution(figures.compute_ms) + " (server)"),
        ("batches", _batches(figures)),
        *_accuracy(figures),
        ("errors", _errors(figures)),
    ]
    return "\n".join(f"{name:<11}{text}" for name, text in rows)


def describe_load(settings: Settings) -> str:
    """One line: what is sent, how much of it, and where to."""
    kind = f"{settings.mode} x {settings.batch_size}" if settings.mode == "batch" else settings.mode
    load = f"open loop, {settings.rate:g} calls/s" if settings.rate else f"{settings.concurrency} in flight"
    extent = f"{settings.duration_s:g} s" if settings.count is None else f"{settings.count:,} calls"
    processes = "1 process" if settings.processes == 1 else f"{settings.processes} processes"
    return f"{kind}, {load}, {processes}, {extent}, {settings.images} images, {settings.layout}, on {settings.server}"


def _machine(machine: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, {packages}"


def _throughput(figures: Figures) -> str:
    text = f"{figures.calls_per_s:,.0f} calls/s   {figures.images_per_s:,.0f} images/s"
    return f"{text}   ({figures.calls:,} calls in {figures.seconds:.2f} s)"


def _distribution(values: Distribution | None) -> str:
    if values is None:
        return "no call was answered"
    names = (("p50", values.p50), ("p90", values.p90), ("p99", values.p99), ("p99.9", values.p999), ("max", values.max))
    return "   ".join(f"{name} {value:.2f}" for name, value in names) + " ms"


def _lag(figures: Figures) -> list[tuple[str, str]]:
    if figures.lag_ms is None:
        return []
    lag = f"p50 {figures.lag_ms.p50:.2f}   p99 {figures.lag_ms.p99:.2f}   max {figures.lag_ms.max:.2f} ms"
    if figures.kept_up:
        return [("lag", f"{lag} (the client kept up)")]
    hint = f"THE CLIENT COULD NOT KEEP UP (p99 above {LATE_MS:g} ms): lower --rate, or more --processes"
    return [("lag", f"{lag} {hint}")]


def _batches(figures: Figures) -> str:
    if figures.batch_size_mean is None:
        return "no call was answered"
    return f"mean {figures.batch_size_mean:.1f}   max {figures.batch_size_max} images (server, seen from each call)"


def _accuracy(figures: Figures) -> list[tuple[str, str]]:
    if figures.accuracy is None:
        return []
    return [("accuracy", f"{figures.accuracy:.2%} ({figures.correct:,} of {figures.checked:,} answers right)")]


def _errors(figures: Figures) -> str:
    if not figures.failed:
        return "none"
    share = figures.failed / (figures.failed + figures.calls)
    lines = [f"{figures.failed:,} ({share:.2%} of the calls; they count in no other figure)"]
    for code, count in figures.errors.items():
        lines.append(f"{'':<11}{code} x {count:,}: {figures.error_examples.get(code, '')}")
    if figures.gone_at_end:
        lines.append(f"{'':<11}THE SERVER WAS GONE at the end: the figures are of the time before, and of the wait for it")
    return "\n".join(lines)
