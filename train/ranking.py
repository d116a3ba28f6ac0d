"""The table that `python -m train compare` makes: what each network reached and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, median_high

from train.evaluate import Score, wilson_interval
from train.networks import Cost

COLUMNS = (
    "network",
    "validation",
    "test (95 % interval)",
    "parameters",
    "multiply-adds",
    "ms an image, batch 1",
    "ms an image, batch 64",
    "minutes of training",
    "trained on",
)

Timings = dict[int, float]  # batch size -> milliseconds an image in onnxruntime


@dataclass(frozen=True)
class Outcome:
    """What one run came to: among the images held out, and on the test set with the weights that these chose."""

    network: str
    seed: int
    validation_accuracy: float
    test: Score
    best_epoch: int
    minutes: float


@dataclass(frozen=True)
class Row:
    """One network: medians over its seeds; of two middle runs, the worse one's test errors. The interval is for n images."""

    network: str
    seeds: int
    validation_accuracy: float
    test_n: int
    test_errors: int
    test_accuracy: float
    test_interval_95: tuple[float, float]
    parameters: int
    multiply_adds: int
    ms_per_image: Timings
    minutes: float
    device: str

    def cells(self) -> tuple[str, ...]:
        """As many as COLUMNS."""
        low, high = self.test_interval_95
        return (
            self.network,
            f"{self.validation_accuracy:.2%}",
            f"{self.test_accuracy:.2%} ({low:.2%} to {high:.2%})",
            f"{self.parameters:,}",
            f"{self.multiply_adds / 1e6:.2f} M",
            f"{self.ms_per_image[1]:.3f}",
            f"{self.ms_per_image[64]:.3f}",
            f"{self.minutes:.1f}",
            self.device,
        )


def summarize(outcomes: Sequence[Outcome], spent: Cost, ms_per_image: Timings, device: str) -> Row:
    """The row of one network, from at least one run of it."""
    n, errors = outcomes[0].test.n, median_high(outcome.test.errors for outcome in outcomes)
    return Row(
        network=outcomes[0].network,
        seeds=len(outcomes),
        validation_accuracy=median(outcome.validation_accuracy for outcome in outcomes),
        test_n=n,
        test_errors=errors,
        test_accuracy=1 - errors / n,
        test_interval_95=wilson_interval(n - errors, n),
        parameters=spent.parameters,
        multiply_adds=spent.multiply_adds,
        ms_per_image=ms_per_image,
        minutes=median(outcome.minutes for outcome in outcomes),
        device=device,
    )


def to_markdown(rows: Sequence[Row]) -> str:
    """The table without a heading; numbers are flush right."""
    rule = ("---", *["---:"] * (len(COLUMNS) - 2), "---")
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (COLUMNS, rule, *(row.cells() for row in rows)))
