"""The variants of a model: the same network in another precision, each verified against float32 or left out.

fp32 is always there. fp16 is for CUDA. Which one a server should take is decided by what was measured, on the CPU here;
no GPU has measured anything yet, so that CUDA takes fp32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
import onnxruntime

from export.quantize import to_best_int8, to_float16
from export.storage import serialize
from export.timing import Rounds, Spread, describe_cpu, spread
from export.verify import Graph, VerificationError, check_contract
from server.repository import MODEL, PLAIN
from server.session import CPU, name_device
from train.data import Dataset
from train.datasets import with_validation
from train.evaluate import Score

FILES = {PLAIN: MODEL, "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}
ALLOWED_LOSS = 0.0005  # of accuracy on the test set: 0.05 points
GAIN = 0.95  # faster is what takes less than this share of fp32's time, in three of four rounds
DECISIVE = (1, 64)  # batch sizes to be faster at, both: those of a lone caller and of a busy server
UNMEASURED = {
    "cpu": "not measured: fp32 until a processor without VNNI has",
    "cuda": "not measured: fp32 until a GPU has",
}

Measured = Mapping[str, Rounds]  # variant -> its rounds


@dataclass(frozen=True)
class Variant:
    """One file to publish, with its score on the test set. `method` says in words how it was made."""

    content: bytes
    score: Score
    method: str


@dataclass
class Made:
    """What is to be published, fp32 first, and for each variant that is not, the reason."""

    variants: dict[str, Variant]
    left_out: dict[str, str] = field(default_factory=dict)

    def contents(self) -> dict[str, bytes]:
        return {name: variant.content for name, variant in self.variants.items()}


def make_variants(exported: onnx.ModelProto, plain: Score, wanted: Sequence[str], data: Dataset) -> Made:
    """Make those of fp16 and int8 that are wanted; what fails or is less accurate by more than 0.05 points is left out.

    Args:
        exported: the graph in float32.
        plain: the score of the file that is made of it, on the test set.

    Raises:
        VerificationError: that file is too much less accurate than the graph.
    """
    content, note = serialize(exported)
    if note:
        verify_variant(content, exported, Graph(exported).score(data.test.images, data.test.labels), data)
    made = Made({PLAIN: Variant(content, plain, f"as trained{note}")})
    for name in FILES:
        if name == PLAIN:
            continue
        if name not in wanted:
            made.left_out[name] = "not asked for"
            continue
        try:
            made.variants[name] = _make(name, exported, plain, data)
        except VerificationError as error:
            made.left_out[name] = str(error)
        except Exception as error:  # onnxruntime's tools raise whatever they like; fp32 is published all the same
            made.left_out[name] = f"onnxruntime can't make it: {' '.join(str(error).split())}"
    return made


def _make(name: str, exported: onnx.ModelProto, plain: Score, data: Dataset) -> Variant:
    if name == "fp16":
        graph, method = to_float16(exported), "float16, softmax in float32"
    else:
        parts = with_validation(data)
        assert parts.validation is not None
        graph, calibration = to_best_int8(exported, parts.train.images, parts.validation)
        method = f"8-bit dense convolutions but the first and the last, calibrated by {calibration}"
    content, note = serialize(graph)
    return Variant(content, verify_variant(content, exported, plain, data), f"{method}{note}")


def verify_variant(content: bytes, exported: onnx.ModelProto, plain: Score, data: Dataset) -> Score:
    """The variant's score on the test set, in onnxruntime on the CPU.

    Raises:
        VerificationError: it breaks the graph's contract, or is less accurate than it may be.
    """
    graph, few = Graph(content), data.test.images[:3]
    check_contract(graph, side=data.side, classes=len(data.class_names))
    shapes = [[rows.shape for rows in one.run(few)] for one in (graph, Graph(exported))]
    if shapes[0] != shapes[1]:
        raise VerificationError(f"it answers with arrays of {shapes[0]}, not {shapes[1]}")
    found = graph.score(data.test.images, data.test.labels)
    if found.errors - plain.errors > ALLOWED_LOSS * found.n:
        lost = 100 * (plain.accuracy - found.accuracy)
        raise VerificationError(
            f"its accuracy of {found.accuracy:.2%} on the test set is {lost:.2f} points below fp32;"
            f" {100 * ALLOWED_LOSS:.2f} are allowed"
        )
    return found


def choose_for_cpu(measured: Measured) -> str:
    """The fastest variant at batch 1 of those that are really faster than fp32 at every decisive batch size; else fp32."""
    faster = [name for name in measured if all(_ratio(measured, name, size).high < GAIN for size in DECISIVE)]
    return min(faster, key=lambda name: spread(measured[name][1]).median, default=PLAIN)


def describe_variants(made: Made, measured: Measured) -> dict[str, Any]:
    """What the card says of variants: files, accuracy, times, and which one to take where."""
    rounds, here = len(measured[PLAIN][1]), name_device(CPU)
    return {
        "variants": {name: _describe(name, variant, measured) for name, variant in made.variants.items()},
        "variants_left_out": made.left_out,
        "best": {"cpu": PLAIN, "cuda": PLAIN} | {here: choose_for_cpu(measured)},
        "measured": UNMEASURED
        | {here: f"{describe_cpu()}, 1 thread, onnxruntime {onnxruntime.__version__}, medians of {rounds} rounds in turns"},
    }


def _describe(name: str, variant: Variant, measured: Measured) -> dict[str, Any]:
    sizes = list(measured[name])
    return {
        "file": FILES[name],
        "sha256": hashlib.sha256(variant.content).hexdigest(),
        "size_bytes": len(variant.content),
        "method": variant.method,
        "accuracy": variant.score.accuracy,
        "errors": variant.score.errors,
        "us_per_image": {str(size): round(spread(measured[name][size]).median, 1) for size in sizes},
        "of_fp32": {str(size): [round(share, 2) for share in _ratio(measured, name, size)] for size in sizes},
    }


def table(made: Made, measured: Measured) -> str:
    """Markdown: a row for each variant, with the middle half of its rounds as multiples of fp32's time."""
    sizes = list(measured[PLAIN])
    columns = ["variant", "kB", "test errors", "accuracy", *(f"us an image, batch {size}" for size in sizes)]
    rows = [columns, ["---"] * len(columns)]
    for name, variant in made.variants.items():
        times = [_describe_time(measured, name, size) for size in sizes]
        score = variant.score
        rows.append([name, f"{len(variant.content) / 1000:.0f}", str(score.errors), f"{score.accuracy:.2%}", *times])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _describe_time(measured: Measured, name: str, size: int) -> str:
    us = f"{spread(measured[name][size]).median:.1f}"
    low, median, high = _ratio(measured, name, size)
    return us if name == PLAIN else f"{us}, {median:.2f} x ({low:.2f} .. {high:.2f})"


def _ratio(measured: Measured, name: str, size: int) -> Spread:
    """How long a variant takes as a share of fp32's time in the same round."""
    return spread(measured[name][size] / measured[PLAIN][size])
