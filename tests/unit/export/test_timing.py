from __future__ import annotations

import time
from itertools import count

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from torch import Tensor

from export import timing
from export.timing import CALLS, Spread, describe_cpu, measure, median_ms, spread


def test_each_batch_size_of_each_model_gets_a_time_in_each_round(
    exported: onnx.ModelProto, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "ROUNDS", 4)
    content = exported.SerializeToString()
    found = measure({"one": content, "two": content}, images[:3].numpy())
    assert list(found) == ["one", "two"]
    for times in found.values():
        assert list(times) == [1, 8, 64]
        assert all(values.shape == (4,) and (values > 0).all() for values in times.values())


def test_medians_are_in_milliseconds_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_open", lambda content: content)
    monkeypatch.setattr(timing, "_fastest_us", lambda session, batch: 1000.0 * len(batch))
    assert median_ms({"one": b""}, 28) == {"one": {1: 1.0, 8: 8.0, 64: 64.0}}


def test_models_take_turns_and_nobody_always_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[tuple[bytes, int]] = []

    def note(session: bytes, batch: NDArray[np.uint8]) -> float:
        turns.append((session, len(batch)))
        return 1.0

    monkeypatch.setattr(timing, "ROUNDS", 2)
    monkeypatch.setattr(timing, "_open", lambda content: content)
    monkeypatch.setattr(timing, "_fastest_us", note)
    measure({"a": b"a", "b": b"b"}, np.zeros((5, 8, 8), np.uint8))
    first, second = [(b"b", b"a"), (b"a", b"b")]
    assert turns == [(name, size) for order in (first, second) for size in CALLS for name in order]


def test_the_fastest_call_counts_shared_by_the_images_of_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def run(self, outputs: object, inputs: dict[str, NDArray[np.uint8]]) -> None:
            assert inputs["image"].shape == (8, 28, 28)

    calls = count()
    clock = iter([moment for number in range(CALLS[8]) for moment in (number, number + (0.5 if number == 2 else 0.9))])
    monkeypatch.setattr(time, "perf_counter", lambda: (next(calls), next(clock))[1])
    assert timing._fastest_us(Session(), np.zeros((8, 28, 28), np.uint8)) == pytest.approx(0.5e6 / 8)
    assert next(calls) == 2 * CALLS[8]


def test_the_spread_is_the_median_and_the_quartiles() -> None:
    assert spread(np.array([5.0, 1.0, 2.0, 4.0, 3.0])) == Spread(2.0, 3.0, 4.0)


def test_the_processor_has_a_name() -> None:
    assert describe_cpu()
    assert "\n" not in describe_cpu()
