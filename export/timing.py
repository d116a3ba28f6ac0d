"""How long a network takes in onnxruntime on one thread of this machine's CPU."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median

import numpy as np
import onnx
import onnxruntime

from export.onnx import INPUT

BATCH_SIZES = (1, 64)
ROUNDS = 15  # networks take turns, so that a busy moment of the machine does not fall on one of them alone
CALLS = {1: 20, 64: 3}  # in one turn

Timings = dict[int, float]  # batch size -> milliseconds an image


def time_graphs(graphs: Mapping[str, onnx.ModelProto]) -> dict[str, Timings]:
    """The median time of each graph, in milliseconds an image, at each batch size. Its weights need not be trained."""
    clocks = {name: Clock(graph) for name, graph in graphs.items()}
    for _ in range(ROUNDS):
        for clock in clocks.values():
            clock.take_turn()
    return {name: clock.ms_per_image() for name, clock in clocks.items()}


class Clock:
    """One graph in a session with one thread, and how long each call of it took."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        content = graph.SerializeToString()
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        shape = self.session.get_inputs()[0].shape[1:]
        random = np.random.default_rng(0)
        self.images = {size: random.integers(0, 256, (size, *shape), np.uint8) for size in BATCH_SIZES}
        self.seconds: dict[int, list[float]] = {size: [] for size in BATCH_SIZES}

    def take_turn(self) -> None:
        """Some calls at each batch size; the first warms caches up and does not count."""
        for size, images in self.images.items():
            self._call(images)
            self.seconds[size] += [self._call(images) for _ in range(CALLS[size])]

    def ms_per_image(self) -> Timings:
        return {size: 1000 * median(seconds) / size for size, seconds in self.seconds.items()}

    def _call(self, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
        started = time.perf_counter()
        self.session.run(None, {INPUT: images})
        return time.perf_counter() - started
