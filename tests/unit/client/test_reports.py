from __future__ import annotations

from digitserve.reports import align


def test_columns_are_straight() -> None:
    assert align([("A", "B"), ("long", "x"), ("y", "z")]) == ["A     B", "long  x", "y     z"]


def test_a_shorter_row_does_not_widen_what_it_runs_over() -> None:
    assert align([("A", "B", "C"), ("f", "1", "2"), ("g", "error: of some length")]) == [
        "A  B  C",
        "f  1  2",
        "g  error: of some length",
    ]


def test_chinese_characters_take_two_columns() -> None:
    assert align([("A", "B"), ("十", "x")]) == ["A   B", "十  x"]
