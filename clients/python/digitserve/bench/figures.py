"""From raw figures to the few that say something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from digitserve.bench.recording import Recording
from digitserve.bench.settings import Settings

PER_MILLE = (500, 900, 990, 999)
LATE_MS = 5.0  # a client whose p99 lag is above this was itself part of what it measured


@dataclass(frozen=True, slots=True)
class Distribution:
    """Percentiles by nearest rank: each is a value that was really measured."""

    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One run in figures. Times are milliseconds of answered calls; what was not measured is None.

    `gone_at_end` says that no server was there any more when the run ended: what was measured is the time before it went.
    `lag_ms` is how late the client itself sent (open loop only), `kept_up` whether that was little enough.
    `queue_ms`, `compute_ms` and the batch sizes are the server's own words. `accuracy` is over the `checked` images.
    """

    calls: int
    failed: int
    errors: dict[str, int]
    error_examples: dict[str, str]
    gone_at_end: bool
    images: int
    seconds: float
    calls_per_s: float
    images_per_s: float
    latency_ms: Distribution | None
    lag_ms: Distribution | None
    kept_up: bool | None
    queue_ms: Distribution | None
    compute_ms: Distribution | None
    batch_size_mean: float | None
    batch_size_max: int | None
    accuracy: float | None
    checked: int
    correct: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarize(recording: Recording, settings: Settings) -> Figures:
    """All the figures of one run. Throughput counts answered calls between the first start and the last answer."""
    answered, failed = len(recording.latency_s), recording.errors.total()
    seconds = recording.last_s - recording.first_s if answered + failed else 0.0
    lag = distribute(recording.lag_s, 1000.0) if settings.rate is not None else None
    sizes = np.asarray(recording.batch_size)
    return Figures(
        calls=answered,
        failed=failed,
        errors=dict(recording.errors.most_common()),
        error_examples=recording.error_examples,
        gone_at_end=recording.gone_s > recording.answered_s,
        images=recording.images,
        seconds=seconds,
        calls_per_s=answered / seconds if seconds else 0.0,
        images_per_s=recording.images / seconds if seconds else 0.0,
        latency_ms=distribute(recording.latency_s, 1000.0),
        lag_ms=lag,
        kept_up=lag.p99 <= LATE_MS if lag else None,
        queue_ms=distribute(recording.queue_ms),
        compute_ms=distribute(recording.compute_ms),
        batch_size_mean=float(sizes.mean()) if sizes.size else None,
        batch_size_max=int(sizes.max()) if sizes.size else None,
        accuracy=recording.correct / recording.checked if recording.checked else None,
        checked=recording.checked,
        correct=recording.correct,
    )


def distribute(values: Sequence[float], scale: float = 1.0) -> Distribution | None:
    """The distribution of `values` times `scale`, or None of nothing."""
    if not len(values):
        return None
    ordered: npt.NDArray[np.float64] = np.sort(np.asarray(values, dtype=np.float64)) * scale
    # Nearest rank in whole per mille: 99.9 % of 1,000 values is the 999th, which floating point would miss.
    p50, p90, p99, p999 = (float(ordered[-(-per_mille * len(ordered) // 1000) - 1]) for per_mille in PER_MILLE)
    return Distribution(float(ordered.mean()), p50, p90, p99, p999, float(ordered[-1]))
