"""From the server's messages to results, once and checked: nothing of protobuf reaches the caller."""

from __future__ import annotations

from collections.abc import Sequence
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
