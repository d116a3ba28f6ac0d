"""From the server's messages to results, once and checked: nothing of protobuf reaches the caller."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digitserve.errors import Internal
from digitserve.images import FRAME_SIZE
from digitserve.results import (
    Alternative,
    BatchRecognition,
    Box,
    Character,
    Evidence,
    Model,
    ModelVersion,
    Recognition,
    Timing,
)
from digitserve.tray import Letter
from digitserve.v1 import recognizer_pb2 as pb

_WHOLE_FRAME = Box(0, 0, FRAME_SIZE, FRAME_SIZE)


def recognition_from(message: pb.RecognizeResponse) -> Recognition:
    return Recognition(
        text=message.text,
        characters=tuple(map(_character_from, message.characters)),
        model=_model_version_from(message.model),
        timing=_timing_from(message.timing),
    )


def _character_from(message: pb.Character) -> Character:
    return Character(
        label=message.label,
        probability=message.probability,
        unsure=message.unsure,
        alternatives=tuple(Alternative(each.label, each.probability) for each in message.alternatives),
        box=Box(message.box.left, message.box.top, message.box.width, message.box.height),
        evidence=_evidence_from(message.evidence) if message.HasField("evidence") else None,
    )


def _evidence_from(message: pb.Evidence) -> Evidence:
    try:
        values = np.array(message.values, np.float32).reshape(message.height, message.width)
        frame = np.frombuffer(message.frame, np.uint8)
        side = round(len(frame) ** 0.5)
        return Evidence(values, frame.reshape(side, side))
    except ValueError as error:
        raise Internal(f"the evidence in the server's answer has the wrong size: {error}") from None


def _model_version_from(message: pb.ModelVersion) -> ModelVersion:
    return ModelVersion(message.name, message.version)


def _timing_from(message: pb.Timing) -> Timing:
    return Timing(message.queue_ms, message.compute_ms, message.batch_size)


def model_from(message: pb.Model) -> Model:
    return Model(
        name=message.name,
        version=message.version,
        labels=tuple(message.labels),
        class_names=tuple(message.class_names),
        input_height=message.input_height,
        input_width=message.input_width,
        accuracy=message.accuracy,
        accuracy_n=message.accuracy_n,
        threshold=message.threshold,
        execution_provider=message.execution_provider,
        max_batch_size=message.max_batch_size,
        description=message.description,
    )


def batch_from(message: pb.RecognizeBatchResponse, count: int, *, probabilities: bool) -> BatchRecognition:
    """Reads the answer to `count` images.

    Raises:
        Internal: the answer holds another number of rows than that.
    """
    names = tuple(message.class_names)
    classes = np.array(message.classes, np.int32)
    table = _table(message.probabilities, "<f4", count, len(names)) if probabilities else None
    boxes = _table(np.array(message.boxes, np.int32).tobytes(), "i4", count, 4) if message.boxes else None
    if len(classes) != count or len(message.unsure) != count:
        raise Internal(f"asked about {count} images, but the server answered {len(classes)}")
    if count and not -1 <= classes.min() <= classes.max() < len(names):
        raise Internal(f"the server answered a class outside its own {len(names)} class names")
    return BatchRecognition(
        labels=_labels(classes.tolist(), names),
        classes=classes,
        unsure=np.array(message.unsure, np.bool_),
        probabilities=table,
        boxes=boxes,
        class_names=names,
        model=_model_version_from(message.model),
        timing=_timing_from(message.timing),
    )


def find_takeover(parts: Sequence[BatchRecognition]) -> str:
    """The name that pins a model to its version that answered last; "" if one version answered all parts."""
    return "" if len({part.model for part in parts}) == 1 else str(parts[-1].model)


def joined(parts: Sequence[BatchRecognition], height: int, width: int) -> BatchRecognition:
    """The answer to a batch that was sent in parts, in order; its timing is the longest of them.

    Args:
        height: of each image, in pixels; likewise `width`.

    Raises:
        Internal: another model, or version of it, answered some of the parts.
    """
    first = parts[0]
    for other in parts:
        if (other.model, other.class_names) != (first.model, first.class_names):
            raise Internal(f"the model changed from {first.model} to {other.model} while the batch was read: send it again")
    return BatchRecognition(
        labels=list(chain.from_iterable(part.labels for part in parts)),
        classes=np.concatenate([part.classes for part in parts]),
        unsure=np.concatenate([part.unsure for part in parts]),
        probabilities=_joined_tables([part.probabilities for part in parts]),
        boxes=_joined_tables(_boxes_alike(parts, height, width)),
        class_names=first.class_names,
        model=first.model,
        timing=_longest([part.timing for part in parts]),
    )


def _joined_tables(tables: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    known = [table for table in tables if table is not None]
    return np.concatenate(known) if known else None


def _boxes_alike(parts: Sequence[BatchRecognition], height: int, width: int) -> list[NDArray[np.int32] | None]:
    """A part whose images all came framed has no boxes. Beside one that has, its boxes are the whole images, as in one call."""
    if all(part.boxes is None for part in parts):
        return [None]
    whole = np.array([[0, 0, width, height]], np.int32)
    return [whole.repeat(len(part), axis=0) if part.boxes is None else part.boxes for part in parts]


def _longest(timings: Sequence[Timing]) -> Timing:
    return Timing(
        queue_ms=max(timing.queue_ms for timing in timings),
        compute_ms=max(timing.compute_ms for timing in timings),
        batch_size=max(timing.batch_size for timing in timings),
    )


def _labels(classes: Sequence[int], names: Sequence[str]) -> list[str]:
    by_class = {-1: "", **dict(enumerate(names))}
    return [by_class[index] for index in classes]


def _table(data: bytes, dtype: str, rows: int, columns: int) -> NDArray[Any]:
    if len(data) != 4 * rows * columns:
        raise Internal(f"the server's answer holds {len(data)} bytes where {rows} x {columns} numbers belong")
    return np.frombuffer(data, dtype).reshape(rows, columns)


def rows_for(van: Sequence[Letter[Any]], message: pb.RecognizeBatchResponse) -> list[Recognition]:
    """One answer for each letter of a van, the same as if each had been asked for alone.

    Everything is turned into Python's own numbers at once, a whole batch at a time: this is the cost of each image.
    """
    batch = batch_from(message, len(van), probabilities=True)
    assert batch.probabilities is not None
    best = batch.probabilities[np.arange(len(batch)), batch.classes].tolist()
    boxes = [_WHOLE_FRAME] * len(batch) if batch.boxes is None else [Box(*box) for box in batch.boxes.tolist()]
    top_ks = [letter.top_k for letter in van]
    alternatives = _alternatives(batch, batch.probabilities, top_ks) if any(top_ks) else [()] * len(batch)
    model, timing = batch.model, batch.timing
    return [
        Recognition(label, (Character(label, probability, unsure, others, box),), model, timing)
        for label, probability, unsure, others, box in zip(
            batch.labels, best, batch.unsure.tolist(), alternatives, boxes, strict=True
        )
    ]


def _alternatives(
    batch: BatchRecognition, probabilities: NDArray[np.float32], top_ks: Sequence[int]
) -> list[tuple[Alternative, ...]]:
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : max(top_ks)]
    sorted_rows = np.take_along_axis(probabilities, order, axis=1).tolist()
    names = batch.class_names
    return [
        tuple(Alternative(names[index], value) for index, value in zip(indexes[:top_k], values, strict=False)) if label else ()
        for label, indexes, values, top_k in zip(batch.labels, order.tolist(), sorted_rows, top_ks, strict=True)
    ]
