"""What models cost on one thread of this CPU in onnxruntime, in rounds that they take in turns."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from export.onnx import INPUT, OUTPUTS
from server.graph import keep_only

ROUNDS = 60
CALLS = {1: 20, 8: 6, 64: 3}  # batch size -> calls in one round, of which the fastest counts: the least disturbed
VECTORS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8")  # what decides how fast 8-bit integers are

Rounds = dict[int, NDArray[np.float64]]  # batch size -> microseconds an image, one value for each round


class Spread(NamedTuple):
    """The median, and what a quarter of the rounds lies below and above."""

    low: float
    median: float
    high: float


def measure(models: Mapping[str, bytes], images: NDArray[np.uint8]) -> dict[str, Rounds]:
    """Time serialized models on images (n, h, w), taken again where n is less than a batch. As the server runs them: without
    evidence, which few ask for.

    The models take turns, every other round in the opposite order, so that a busy machine disturbs all of them alike.
    """
    sessions = {name: _open(content) for name, content in models.items()}
    batches = {size: images[np.arange(size) % len(images)] for size in CALLS}
    found: dict[str, dict[int, list[float]]] = {name: {size: [] for size in CALLS} for name in models}
    for number in range(ROUNDS):
        order = list(models) if number % 2 else list(models)[::-1]
        for size, batch in batches.items():
            for name in order:
                found[name][size].append(_fastest_us(sessions[name], batch))
    return {name: {size: np.array(values) for size, values in sizes.items()} for name, sizes in found.items()}


def median_ms(models: Mapping[str, bytes], side: int) -> dict[str, dict[int, float]]:
    """The median time of each serialized model at each batch size, in milliseconds an image; its weights may be untrained."""
    noise = np.random.default_rng(0).integers(0, 256, (max(CALLS), side, side), np.uint8)
    found = measure(models, noise)
    return {name: {size: spread(values).median / 1000 for size, values in sizes.items()} for name, sizes in found.items()}


def spread(values: NDArray[np.float64]) -> Spread:
    return Spread(*(float(value) for value in np.percentile(values, (25, 50, 75))))


def describe_cpu() -> str:
    """The processor's name and its vector instructions, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    vectors = [name for name in VECTORS if name in facts.get("flags", "").split()]
    name = facts.get("model name", platform.machine())
    return f"{name} ({', '.join(vectors)})" if vectors else name


def _open(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = keep_only(content, OUTPUTS[0])
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _fastest_us(session: onnxruntime.InferenceSession, batch: NDArray[np.uint8]) -> float:
    """Microseconds an image in the fastest call of a turn."""
    fastest = float("inf")
    for _ in range(CALLS[len(batch)]):
        started = time.perf_counter()
        session.run(OUTPUTS[:1], {INPUT: batch})
        fastest = min(fastest, time.perf_counter() - started)
    return fastest * 1e6 / len(batch)
