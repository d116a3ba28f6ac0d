from __future__ import annotations

import json

import pytest

from benchmarks.rounds import Spread, interleave, paired_ratios
from benchmarks.targets import Row, render_table


def test_rounds_alternate_their_order_and_keep_results_apart() -> None:
    order: list[str] = []

    def take(name: str) -> int:
        order.append(name)
        return len(order)

    results = interleave(3, {"a": lambda: take("a"), "b": lambda: take("b")})
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert results == {"a": [1, 4, 5], "b": [2, 3, 6]}


def test_a_ratio_pairs_neighbours_so_that_a_drift_of_both_cancels() -> None:
    assert paired_ratios([90.0, 45.0, 180.0], [100.0, 50.0, 200.0]) == Spread(0.9, 0.9, 0.9)


def test_a_ratio_shows_its_worst_and_its_best_round() -> None:
    assert paired_ratios([1.0, 3.0, 2.0], [2.0, 2.0, 2.0]) == Spread(1.0, 0.5, 1.5)


@pytest.mark.parametrize(
    ("row", "reached"),
    [
        (Row("rate", 0.9, "x", 0.85), True),
        (Row("rate", 0.8, "x", 0.85), False),
        (Row("time", 0.1, "ms", 0.15, "at most"), True),
        (Row("time", 0.2, "ms", 0.15, "at most"), False),
        (Row("accuracy", 99.6, "%", 99.6, "exactly"), True),
        (Row("accuracy", 99.61, "%", 99.6, "exactly"), False),
        (Row("rate", 0.8, "x"), None),
        (Row("broken", float("nan"), "x", 0.85), False),
    ],
)
def test_a_target_is_reached_missed_or_not_set(row: Row, reached: bool | None) -> None:
    assert row.reached is reached
    assert json.loads(json.dumps(row.as_dict()))["reached"] is reached


def test_the_table_says_missed_aloud_and_lines_up() -> None:
    rows = [
        Row("unary", 0.8049, "x", 0.85, spread=Spread(0.8, 0.7, 0.9)),
        Row("resident memory", 120.4, "MB", 350, "at most", digits=0),
        Row("told", 12345.6, "images/s", digits=0),
    ]
    heading, rule, first, second, third = render_table(rows).splitlines()
    assert first.split() == ["unary", "0.80", "x", "0.70", "..", "0.90", ">=", "0.85", "MISSED"]
    assert second.split() == ["resident", "memory", "120", "MB", "<=", "350", "reached"]
    assert third.split() == ["told", "12,346", "images/s"]
    assert heading.index("measured") == first.index("0.80") == third.index("12,346")
    assert len(rule) == max(map(len, (heading, first, second, third)))
