from __future__ import annotations

import json

import pytest
from digitserve.bench.answers import Answer
from digitserve.bench.figures import distribute, summarize
from digitserve.bench.recording import Recording, merge_recordings
from digitserve.bench.settings import Settings


def record(latencies_ms: list[float], *, start_s: float = 0.0, answer: Answer | None = None) -> Recording:
    recording = Recording()
    for latency_ms in latencies_ms:
        done_s = start_s + latency_ms / 1000
        recording.add(start_s, start_s, done_s, answer or Answer("OK", 1, None, 1.0, 2.0, 8))
    return recording


def test_percentiles_are_values_that_were_measured() -> None:
    values = distribute([float(number) for number in range(1000, 0, -1)])
    assert values is not None
    assert (values.p50, values.p90, values.p99, values.p999, values.max) == (500, 900, 990, 999, 1000)
    assert values.mean == pytest.approx(500.5)


def test_one_value_is_all_its_percentiles() -> None:
    values = distribute([0.002], 1000.0)
    assert values is not None
    assert {values.p50, values.p999, values.max, values.mean} == {2.0}


def test_of_nothing_there_is_no_distribution() -> None:
    assert distribute([]) is None


def test_processes_merge_as_raw_figures_not_as_averages() -> None:
    fast, slow = record([1.0] * 98, start_s=5.0), record([100.0] * 2, start_s=5.5)
    figures = summarize(merge_recordings([fast, slow]), Settings())
    assert figures.latency_ms is not None
    assert figures.latency_ms.p50 == pytest.approx(1.0)
    assert figures.latency_ms.p99 == pytest.approx(100.0)
    assert figures.calls == 100
    assert figures.seconds == pytest.approx(0.6)  # from the first start of any to the last answer of any
    assert figures.calls_per_s == pytest.approx(100 / 0.6)


@pytest.mark.parametrize(("went_s", "gone"), [(0.5, False), (9.0, True)])
def test_a_server_is_gone_if_it_went_after_the_last_answer_of_any_process(went_s: float, gone: bool) -> None:
    other = record([1.0])
    other.add(0.0, 0.0, went_s, Answer("UNAVAILABLE"))
    last = record([1.0], start_s=5.0)
    assert summarize(merge_recordings([other, last]), Settings()).gone_at_end is gone
    assert summarize(merge_recordings([last, other]), Settings()).gone_at_end is gone


def test_errors_are_counted_by_status_and_keep_out_of_the_latencies() -> None:
    recording = record([1.0, 2.0])
    recording.add(0.0, 0.0, 9.0, Answer("UNAVAILABLE", message="draining"))
    recording.add(0.0, 0.0, 9.0, Answer("UNAVAILABLE", message="later words"))
    recording.add(0.0, 0.0, 9.0, Answer("DEADLINE_EXCEEDED"))
    figures = summarize(merge_recordings([recording, record([3.0])]), Settings())
    assert figures.errors == {"UNAVAILABLE": 2, "DEADLINE_EXCEEDED": 1}
    assert figures.error_examples["UNAVAILABLE"] == "draining"
    assert (figures.calls, figures.failed) == (3, 3)
    assert figures.latency_ms is not None
    assert figures.latency_ms.max == pytest.approx(3.0)


def test_accuracy_is_over_the_images_whose_label_is_known() -> None:
    recording = record([1.0], answer=Answer("OK", 4, 3))
    recording.add(0.0, 0.0, 1.0, Answer("OK", 4, None))
    figures = summarize(recording, Settings())
    assert figures.accuracy == 0.75
    assert (figures.images, figures.checked, figures.correct) == (8, 4, 3)


def test_without_labels_there_is_no_accuracy() -> None:
    assert summarize(record([1.0]), Settings()).accuracy is None


def test_a_run_without_an_answer_has_no_figures_but_its_errors() -> None:
    figures = summarize(record([1.0], answer=Answer("UNAVAILABLE")), Settings())
    assert (figures.latency_ms, figures.queue_ms, figures.batch_size_max) == (None, None, None)
    assert (figures.calls_per_s, figures.errors) == (0.0, {"UNAVAILABLE": 1})


@pytest.mark.parametrize(("lag_s", "kept_up"), [(0.001, True), (0.02, False)])
def test_an_open_loop_says_whether_the_client_kept_up(lag_s: float, kept_up: bool) -> None:
    recording = Recording()
    recording.add(0.0, lag_s, lag_s + 0.001, Answer("OK", 1))
    figures = summarize(recording, Settings(rate=10))
    assert figures.kept_up is kept_up
    assert figures.lag_ms is not None
    assert figures.lag_ms.max == pytest.approx(lag_s * 1000)


def test_figures_are_plain_json() -> None:
    text = json.dumps(summarize(record([1.0]), Settings()).as_dict(), allow_nan=False)
    assert json.loads(text)["latency_ms"]["p50"] == pytest.approx(1.0)
