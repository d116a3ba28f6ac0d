"""Everything that a run sends, and what should come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from digitserve.bench.images import LabelledImages
from digitserve.bench.messages import batch_rows, build_messages
from digitserve.bench.settings import BenchError, Settings


@dataclass(frozen=True, slots=True)
class Workload:
    """What is sent, and what should come back: `texts` and `classes` are None where the right answers are unknown."""

    messages: list[bytes]
    images: LabelledImages
    texts: list[str] | None
    classes: list[list[int]] | None


def prepare_workload(settings: Settings, images: LabelledImages, class_names: Sequence[str]) -> Workload:
    """Builds every request of the run. A model of another alphabet than the labels' is not asked for the right answers.

    Raises BenchError if a label is none of the classes.
    """
    messages = build_messages(settings, images) if settings.mode != "client" else []
    meant = images.class_names or class_names
    if images.labels is None or not set(meant) <= set(class_names):
        return Workload(messages, images, None, None)
    if images.labels.min() < 0 or images.labels.max() >= len(meant):
        raise BenchError(f"labels go up to {images.labels.max()}, but the model knows {len(meant)} classes")
    texts = [meant[label] for label in images.labels]
    rows = batch_rows(settings, len(images)) if settings.mode == "batch" else []
    return Workload(messages, images, texts, [[class_names.index(texts[index]) for index in row] for row in rows])
