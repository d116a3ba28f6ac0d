from __future__ import annotations

import onnx
import pytest

import export.timing
from export.timing import BATCH_SIZES, CALLS, ROUNDS, Clock, time_graphs


def test_every_graph_gets_its_milliseconds_an_image(exported: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export.timing, "ROUNDS", 2)
    found = time_graphs({"first": exported, "second": exported})
    assert list(found) == ["first", "second"]
    for timings in found.values():
        assert tuple(timings) == BATCH_SIZES
        assert all(0 < ms < 1000 for ms in timings.values())


def test_it_is_the_median_call_shared_by_the_images_of_its_batch(exported: onnx.ModelProto) -> None:
    clock = Clock(exported)
    clock.seconds = {1: [0.001, 0.002, 9.0], 64: [0.064, 0.128, 0.032]}
    assert clock.ms_per_image() == pytest.approx({1: 2.0, 64: 1.0})


def test_the_first_call_of_a_turn_does_not_count(exported: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = Clock(exported), iter(range(1000))
    monkeypatch.setattr(clock, "_call", lambda images: float(next(calls)))
    clock.take_turn()
    assert clock.seconds[1] == list(range(1, 1 + CALLS[1]))
    assert clock.seconds[64] == list(range(2 + CALLS[1], 2 + CALLS[1] + CALLS[64]))
    assert ROUNDS * min(CALLS.values()) >= 30
