"""Fair comparison on a machine that is never quiet: A B, B A, A B, and the ratios of neighbours.

Two figures taken minutes apart differ by more than what is to be found out. Taken side by side, most of the noise is in both
and leaves with the ratio; what is left shows in the spread of the rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds, and the lowest and the highest."""

    median: float
    low: float
    high: float


def spread_of(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def interleave(rounds: int, measures: dict[Name, Callable[[], Result]]) -> dict[Name, list[Result]]:
    """Takes every measure once a round, in turns forwards and backwards, so that no one always comes first."""
    results: dict[Name, list[Result]] = {name: [] for name in measures}
    for number in range(rounds):
        names = list(measures) if number % 2 == 0 else list(reversed(measures))
        for name in names:
            results[name].append(measures[name]())
    return results


def paired_ratios(over: Sequence[float], under: Sequence[float]) -> Spread:
    """`over` divided by `under`, round by round."""
    return spread_of([a / b for a, b in zip(over, under, strict=True)])
