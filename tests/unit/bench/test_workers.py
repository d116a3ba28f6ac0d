"""What a second worker gains: ratios are taken round by round, and an idle worker is seen."""

from __future__ import annotations

import pytest

from benchmarks.workers import ALONE, EACH, SHARED, Load, make_rows, share_of_busier


@pytest.mark.parametrize(
    ("cpu_s", "share"), [([1.0, 1.0], 0.5), ([0.0, 3.0], 1.0), ([1.0, 3.0], 0.75), ([], 1.0), ([0.0, 0.0], 1.0)]
)
def test_an_even_share_is_half(cpu_s: list[float], share: float) -> None:
    assert share_of_busier(cpu_s) == share


def test_two_workers_are_compared_with_one_of_the_same_round() -> None:
    runs = {
        ALONE: [Load(100.0, 2.0, 1.0), Load(10.0, 20.0, 1.0), Load(50.0, 4.0, 1.0)],
        SHARED: [Load(100.0, 2.0, 1.0), Load(10.0, 20.0, 0.9), Load(50.0, 4.0, 1.0)],
        EACH: [Load(200.0, 1.0, 0.5), Load(15.0, 10.0, 0.6), Load(50.0, 4.0, 0.5)],
    }
    rows = {row.what: row for row in make_rows(runs, 64)}
    gain = rows[f"64 in flight, {EACH} against 1: calls/s"]
    assert gain.spread is not None
    assert (gain.value, gain.spread.low, gain.spread.high) == (1.5, 1.0, 2.0)
    assert rows[f"64 in flight, {EACH} against 1: p50"].value == 0.5
    assert rows[f"64 in flight, {SHARED} against 1: calls/s"].value == 1.0
    assert rows[f"64 in flight, {EACH}: share of the busier"].value == 0.5
    assert rows[f"64 in flight, {ALONE}"].value == 50.0
    assert rows[f"64 in flight, {ALONE}: p50"].value == 4.0
    assert [row for row in rows.values() if row.reached is not None] == [], "nothing is promised"
