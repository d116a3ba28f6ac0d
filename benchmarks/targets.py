"""What was to be reached and what was: one row each, printed as they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from benchmarks.rounds import Spread


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `target` is None for what is only told; `sense` says which side of it is good."""

    what: str
    value: float
    unit: str
    target: float | None = None
    sense: Literal["at least", "at most", "exactly"] = "at least"
    spread: Spread | None = None
    digits: int = 2
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        if self.target is None:
            return None
        if self.sense == "exactly":
            return self.value == self.target
        return self.value >= self.target if self.sense == "at least" else self.value <= self.target

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"reached": self.reached}


HEADINGS = ("what", "measured", "rounds", "target", "")
VERDICTS = {True: "reached", False: "MISSED", None: ""}
SIGNS = {"at least": ">=", "at most": "<=", "exactly": "=="}


def render_table(rows: Iterable[Row]) -> str:
    """Aligned columns: what, measured, lowest to highest round, target, reached or MISSED."""
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _cells(row: Row) -> tuple[str, ...]:
    def number(value: float) -> str:
        return f"{value:,.{row.digits}f}"

    rounds = f"{number(row.spread.low)} .. {number(row.spread.high)}" if row.spread else ""
    target = f"{SIGNS[row.sense]} {number(row.target)}" if row.target is not None else ""
    return row.what, f"{number(row.value)} {row.unit}".rstrip(), rounds, target, VERDICTS[row.reached]
