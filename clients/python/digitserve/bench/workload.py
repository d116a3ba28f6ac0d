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
    """Builds every request of the run. Raises BenchError if a label is not one of the model's classes."""
    messages = build_messages(settings, images) if settings.mode != "client" else []
    if images.labels is None:
        return Workload(messages, images, None, None)
    if images.labels.min() < 0 or images.labels.max() >= len(class_names):
        raise BenchError(f"labels go up to {images.labels.max()}, but the model knows {len(class_names)} classes")
    texts = [class_names[label] for label in images.labels]
    rows = batch_rows(settings, len(images)) if settings.mode == "batch" else []
    return Workload(messages, images, texts, [images.labels[row].tolist() for row in rows])
