"""What `digitserve recognize` prints: a table, or JSON lines, and a progress bar while it lasts."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, TextIO

from digitserve.errors import DigitserveError
from digitserve.reading import Outcome
from digitserve.results import Character, Recognition

HEADER = ("FILE", "TEXT", "PROBABILITY", "UNSURE")
_BAR_CELLS = 30


class Progress:
    """A bar on standard error, only where a person sees it and there is something to wait for."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._done = 0
        self._is_shown = total > 1 and stream.isatty()

    def step(self) -> None:
        self._done += 1
        if self._is_shown:
            filled = _BAR_CELLS * self._done // self._total
            self._stream.write(f"\r[{'#' * filled:<{_BAR_CELLS}}] {self._done}/{self._total}")
            self._stream.flush()

    def clear(self) -> None:
        """Makes room for a line of output."""
        if self._is_shown and self._done:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


class TableReport:
    """An aligned table, printed at the end, when all widths are known."""

    def __init__(self, total: int) -> None:
        self.failures = 0
        self._progress = Progress(total, sys.stderr)
        self._rows: list[Sequence[str]] = [HEADER]

    def add(self, file: str, outcome: Outcome) -> None:
        self.failures += not isinstance(outcome, Recognition)
        self._rows.append((file, *_cells(outcome)))
        self._progress.step()

    def close(self) -> None:
        """Prints the table."""
        self._progress.clear()
        if len(self._rows) > 1:
            print("\n".join(align(self._rows)))


class JsonReport:
    """One JSON object a line, printed as the answers come."""

    def __init__(self, total: int) -> None:
        self.failures = 0
        self._progress = Progress(total, sys.stderr)

    def add(self, file: str, outcome: Outcome) -> None:
        self.failures += not isinstance(outcome, Recognition)
        self._progress.clear()
        print(json.dumps({"file": file, **_facts(outcome)}, ensure_ascii=False), flush=True)
        self._progress.step()

    def close(self) -> None:
        self._progress.clear()


def align(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of cells as lines with straight columns. A row that is shorter than the others may run over its columns."""
    table = [list(row) for row in rows]
    full = max(map(len, table))
    widths = [max(_width(row[column]) for row in table if len(row) == full or column == 0) for column in range(full)]
    return ["  ".join(_pad(row, widths)).rstrip() for row in table]


def _pad(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=False)]


def _width(cell: str) -> int:
    """In columns of a terminal, where Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in cell)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    if not isinstance(outcome, Recognition):
        return (f"error: {_reason(outcome)}",)
    least = min(outcome.characters, key=lambda character: character.probability, default=None)
    probability = f"{least.probability:.4f}" if least else "-"
    is_unsure = any(character.unsure for character in outcome.characters)
    return (
        outcome.text or "(blank)",
        _list_alternatives(outcome.characters) or probability,
        "unsure" if is_unsure else "",
    )


def _list_alternatives(characters: Iterable[Character]) -> str:
    """With --top-k: 7 0.9991, 1 0.0004; characters apart by a bar."""
    listed = (", ".join(f"{each.label} {each.probability:.4f}" for each in one.alternatives) for one in characters)
    return " | ".join(filter(None, listed))


def _reason(error: DigitserveError | OSError) -> str:
    if isinstance(error, DigitserveError):
        return f"{error.code} {error}"
    return error.strerror or str(error)


def _facts(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Recognition):
        facts = asdict(outcome)
        for character in facts["characters"]:
            del character["evidence"]  # never asked for here
        return {**facts, "model": str(outcome.model)}
    if isinstance(outcome, DigitserveError):
        return {"error": {"code": outcome.code, "message": outcome.message, "field": outcome.field}}
    return {"error": {"code": "UNREADABLE", "message": _reason(outcome), "field": ""}}
