from __future__ import annotations

import pytest

from train.evaluate import Score, wilson_interval
from train.networks import Cost
from train.ranking import COLUMNS, Outcome, Row, summarize, to_markdown


def outcome(seed: int, errors: int, validation: float, minutes: float) -> Outcome:
    return Outcome("gap", seed, validation, Score(10_000, errors, 0.02), best_epoch=3, minutes=minutes)


def row(*errors: int) -> Row:
    outcomes = [outcome(seed, count, 0.99 + seed / 1000, 2.0 + seed) for seed, count in enumerate(errors)]
    return summarize(outcomes, Cost(1_582_112, 29_706), {1: 0.08, 64: 0.0525}, "cpu, 2 threads")


@pytest.mark.parametrize(("errors", "expected"), [((40,), 40), ((50, 30, 41), 41), ((30, 50), 50)])
def test_the_test_set_is_summed_up_by_the_median_run(errors: tuple[int, ...], expected: int) -> None:
    found = row(*errors)
    assert (found.seeds, found.test_errors, found.test_n) == (len(errors), expected, 10_000)
    assert found.test_accuracy == pytest.approx(1 - expected / 10_000)
    assert found.test_interval_95 == wilson_interval(10_000 - expected, 10_000)


def test_validation_and_minutes_are_medians() -> None:
    found = row(50, 30, 41)
    assert (found.validation_accuracy, found.minutes) == pytest.approx((0.991, 3.0))


def test_a_row_reads_well() -> None:
    lines = to_markdown([row(37)]).splitlines()
    assert lines[0] == f"| {' | '.join(COLUMNS)} |"
    assert lines[2] == ("| gap | 99.00% | 99.63% (99.49% to 99.73%) | 29,706 | 1.58 M | 0.080 | 0.052 | 2.0 | cpu, 2 threads |")
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 1}
