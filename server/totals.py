"""The numbers of several server processes, made one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Any, TypeAlias

from server.histogram import Labels
from server.metrics import Metric, Values

Snapshot: TypeAlias = Mapping[str, Mapping[Labels, Any]]  # the values of each metric, by its name


class Totals:
    """What several processes have counted. No counter ever falls: what those have counted who are gone stays in it."""

    def __init__(self) -> None:
        self._seen: dict[int, Snapshot] = {}
        self._gone: dict[str, dict[Labels, Any]] = defaultdict(dict)

    def take(self, process: int, snapshot: Snapshot) -> None:
        """What a process tells now; of metrics that are not in it, what it has told before goes on to hold."""
        self._seen[process] = {**self._seen.get(process, {}), **snapshot}

    def bury(self, process: int) -> None:
        """The process has ended. Another one may come under its number."""
        for name, values in self._seen.pop(process, {}).items():
            gone = self._gone[name]
            for labels, value in values.items():
                gone[labels] = _add([gone[labels], value] if labels in gone else [value])

    def read(self, metric: Metric, present: Collection[int]) -> Values:
        """The metric over all processes; a gauge over those alone that are present."""
        gauge = metric.kind == "gauge"
        told = [snapshot for process, snapshot in self._seen.items() if process in present or not gauge]
        found: dict[Labels, list[Any]] = defaultdict(list)
        for snapshot in told if gauge else [*told, self._gone]:
            for labels, value in snapshot.get(metric.name, {}).items():
                found[labels].append(value)
        for labels, values in found.items():
            yield labels, metric.over_workers(values) if gauge else _round(_add(values))


def _add(values: list[Any]) -> Any:
    """The sum of numbers, or of what Histogram.read() returns. Exact: rounded at each step it would depend on the order, and
    could fall."""
    if isinstance(values[0], int | float | Fraction):
        return sum(Fraction(value) if isinstance(value, float) else value for value in values)
    counts, sums = zip(*values, strict=True)
    return [sum(column) for column in zip(*counts, strict=True)], _add(list(sums))


def _round(value: Any) -> Any:
    """What _add() returns, as it is told."""
    if isinstance(value, tuple):
        return value[0], float(value[1])
    return float(value) if isinstance(value, Fraction) else value
