"""Golden images: what model.json shows of a few real images, so that a server can tell whether it computes what was measured.

    "golden": {"frames": "<base64 of zlib of (n, size, size) uint8>", "answers": {"0": 0.9987, "1": 0.9992}}

The n-th frame shows the n-th answer, which has that probability in the graph in float32.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from server.job import Images, Rows

TOLERANCE = 0.05  # of a probability: other precisions and devices stay within a hundredth


class Golden(NamedTuple):
    """(n, size, size) uint8, and for each image the right answer with its probability."""

    images: Images
    answers: tuple[tuple[str, float], ...]


def pack(images: Images, answers: Mapping[str, float]) -> dict[str, Any]:
    """What model.json holds, from (n, size, size) uint8 and n answers."""
    return {"frames": base64.b64encode(zlib.compress(images.tobytes(), 9)).decode(), "answers": dict(answers)}


def unpack(described: object, size: int, class_names: tuple[str, ...]) -> Golden:
    """The opposite of pack(). Raises ValueError."""
    if not isinstance(described, dict) or not isinstance(described.get("answers"), dict):
        raise ValueError("golden must be an object with frames and answers")
    try:
        answers = tuple((name, float(probability)) for name, probability in described["answers"].items())
    except (TypeError, ValueError):
        raise ValueError("golden answers must be a probability for each class") from None
    if unknown := [name for name, _ in answers if name not in class_names]:
        raise ValueError(f"golden answers {unknown[0]!r}, which is not among class_names")
    expected_bytes = len(answers) * size * size
    try:
        packed = base64.b64decode(str(described.get("frames")), validate=True)
        pixels = zlib.decompressobj().decompress(packed, expected_bytes + 1)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"golden frames can't be unpacked: {error}") from None
    if len(pixels) != expected_bytes:
        raise ValueError(f"golden frames are not {len(answers)} images of {size} x {size}")
    return Golden(np.frombuffer(pixels, np.uint8).reshape(-1, size, size), answers)


def compare(golden: Golden, class_names: tuple[str, ...], run: Callable[[Images], Rows], max_batch_size: int) -> str:
    """What `run` answers differently, in words; empty if nothing."""
    for start in range(0, len(golden.answers), max_batch_size):
        rows = run(golden.images[start : start + max_batch_size])[0]
        for (name, expected), row in zip(golden.answers[start:], rows, strict=False):
            found, probability = class_names[int(row.argmax())], float(row.max())
            if found != name or not abs(probability - expected) <= TOLERANCE:
                return f"it takes a golden {name!r} of {expected:.2f} for {found!r} of {probability:.2f}"
    return ""
