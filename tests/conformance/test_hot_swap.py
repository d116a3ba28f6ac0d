"""Promise: a new version takes over under load without one failed or wrong answer, and a label moves in under a second."""

from __future__ import annotations

import statistics

import numpy as np
from digitserve.v1 import recognizer_pb2 as pb
from numpy.typing import NDArray

from tests.conformance.conftest import Proof
from tests.e2e.metrics import read_metrics, total
from tests.e2e.test_live_models import Live, images, live, under_load
from tests.pictures import encode_grey

__all__ = ["images", "live"]  # fixtures


def test_hot_swap(live: Live, images: NDArray[np.uint8], whole: bool, proof: Proof) -> None:
    moves, moves_s = 100 if whole else 2, list[float]()
    ask = pb.RecognizeRequest(image=pb.Image(encoded=encode_grey(images[0])))

    def work() -> None:
        live.label(stable="1")
        live.publish("2")
        live.until(lambda: "2" in live.versions())
        for number in range(moves):
            version = "21"[number % 2]
            live.label(stable=version)
            moves_s.append(live.until(lambda: live.stub.Recognize(ask).model.version == version))  # noqa: B023

    load = under_load(live, images, work)
    calls = load.answers.total()
    assert min(load.answers["1"], load.answers["2"]) > 0
    assert total(read_metrics(live.server), "digitserve_drops_total") == 0
    assert statistics.median(moves_s) < 1.0
    took = f"a label has moved after {statistics.median(moves_s):.2f} s ({max(moves_s):.2f} s at most)"
    proof(f"A new version and {moves} moves of a label under load: no call fails or is wrong", f"0 of {calls:,} calls; {took}")
