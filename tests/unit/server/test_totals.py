"""The numbers of several processes: counters never fall, gauges are of those who are there."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.metrics import METRICS, Metric
from server.totals import Snapshot, Totals

Kind = Literal["counter", "gauge", "histogram"]


def make_metric(kind: Kind, **more: Any) -> Metric:
    return Metric("things", kind, ("of",), "Things.", lambda seen: (), **more)


def snapshot(**values: Any) -> Snapshot:
    return {"things": {(label,): value for label, value in values.items()}}


def read(totals: Totals, metric: Metric, *present: int) -> dict[str, Any]:
    return {labels[0]: value for labels, value in totals.read(metric, present)}


def test_a_counter_is_the_sum_by_labels_of_all_who_ever_counted() -> None:
    totals, metric = Totals(), make_metric("counter")
    totals.take(1, snapshot(a=1, b=2))
    totals.take(2, snapshot(b=3.5, c=4))
    assert read(totals, metric, 1, 2) == {"a": 1, "b": 5.5, "c": 4}
    assert read(totals, metric, 1) == {"a": 1, "b": 5.5, "c": 4}, "who is not there has counted all the same"
    totals.take(1, snapshot(a=2, b=2))
    totals.bury(1)
    assert read(totals, metric, 2) == {"a": 2, "b": 5.5, "c": 4}
    totals.take(1, snapshot(a=1))
    totals.bury(1)
    totals.bury(1)
    assert read(totals, metric) == {"a": 3, "b": 5.5, "c": 4}


@pytest.mark.parametrize("ends", [(1,), (3, 2), (1, 2, 3)])
def test_no_counter_falls_by_rounding_when_a_process_ends(ends: tuple[int, ...]) -> None:
    cases: list[tuple[Kind, list[Any]]] = [("counter", [0.1, 0.2, 0.3]), ("histogram", [([1], 0.1), ([2], 0.2), ([3], 0.3)])]
    for kind, values in cases:
        totals, metric = Totals(), make_metric(kind, buckets=())
        for process, value in enumerate(values, 1):
            totals.take(process, snapshot(a=value))
        before = read(totals, metric, 1, 2, 3)
        for process in ends:
            totals.bury(process)
        assert read(totals, metric) == before


def test_a_histogram_is_added_bucket_by_bucket() -> None:
    totals, metric = Totals(), make_metric("histogram", buckets=(1.0, 2.0))
    totals.take(1, snapshot(a=[[1, 0, 2], 7.0]))
    totals.take(2, snapshot(a=[[0, 5, 1], 9.5]))
    totals.bury(1)
    totals.take(1, snapshot(a=[[1, 0, 0], 0.5]))
    assert read(totals, metric, 1, 2) == {"a": ([2, 5, 3], 17.0)}


def test_a_gauge_is_of_those_who_are_there() -> None:
    totals = Totals()
    totals.take(1, snapshot(a=1))
    totals.take(2, snapshot(a=5))
    for way, value in ((sum, 6), (max, 5), (min, 1)):
        assert read(totals, make_metric("gauge", over_workers=way), 1, 2) == {"a": value}
    assert read(totals, make_metric("gauge"), 2) == {"a": 5}
    totals.bury(2)
    assert read(totals, make_metric("gauge"), 1, 2) == {"a": 1}
    assert read(totals, make_metric("gauge")) == {}


def test_what_is_told_in_two_parts_holds_together() -> None:
    totals, metric = Totals(), make_metric("counter")
    totals.take(1, snapshot(a=1))
    totals.take(1, {"others": {(): 2}})
    assert read(totals, metric, 1) == {"a": 1}


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9), st.booleans())))
def test_no_counter_falls_whoever_dies(steps: list[tuple[int, int, bool]]) -> None:
    totals, metric, counted, last = Totals(), make_metric("counter"), {1: 0, 2: 0, 3: 0}, 0
    for worker, more, dies in steps:
        counted[worker] += more
        totals.take(worker, snapshot(a=counted[worker]))
        if dies:
            totals.bury(worker)
            counted[worker] = 0
        now = read(totals, metric)["a"]
        assert now == last + more
        last = now


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_what_says_yes_is_not_counted_twice(metric: Metric) -> None:
    says_yes = metric.name.endswith(("_info", "_serving", "_refused_versions", "_predicted_wait_seconds"))
    assert metric.over_workers([1, 1]) == (1 if says_yes else 2)
