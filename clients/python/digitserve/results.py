"""What the calls return: plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """The model that gave an answer."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the server's time went: waiting in its batcher, and the batch of `batch_size` images on its device."""

    queue_ms: float
    compute_ms: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in the image's own pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Alternative:
    """One label that a character could be, with its probability, 0..1."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """A class activation map, and the frame that it lies over.

    Attributes:
        values: (h, w) float32, how much each place spoke for the label (above 0) or against it (below 0).
        frame: (28, 28) uint8 for a digit: what the network saw.
    """

    values: NDArray[np.float32]
    frame: NDArray[np.uint8]

    def __repr__(self) -> str:
        return f"Evidence(values={self.values.shape}, frame={self.frame.shape})"


@dataclass(frozen=True, slots=True, repr=False)
class Character:
    """One character of an image.

    Attributes:
        label: the class name; "" where there is no character (a blank image).
        probability: the model's probability of the label, 0..1; 0 where there is no character.
        unsure: below the model's published threshold, or no character at all.
        alternatives: the `top_k` best labels, best first, the answer itself included.
        box: where it was found; the whole image if it came framed.
        evidence: only with `explain`.
    """

    label: str
    probability: float
    unsure: bool
    alternatives: tuple[Alternative, ...]
    box: Box
    evidence: Evidence | None = None

    def __repr__(self) -> str:
        doubt = ", unsure" if self.unsure else ""
        return f"Character({self.label!r}, {self.probability:.4f}{doubt})"


@dataclass(frozen=True, slots=True, repr=False)
class Recognition:
    """The answer to one image: its text, and each character in reading order."""

    text: str
    characters: tuple[Character, ...]
    model: ModelVersion
    timing: Timing

    def __repr__(self) -> str:
        return f"Recognition({self.text!r}, {list(self.characters)!r}, model={str(self.model)!r})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BatchRecognition:
    """The answer to N packed images.

    Attributes:
        labels: N class names; "" where there is no character (a blank image).
        classes: (N,) int32, indexes into `class_names`; -1 where there is no character.
        unsure: (N,) bool.
        probabilities: (N, classes) float32 if they were asked for, else None. The row of a blank image is all zeros.
        boxes: (N, 4) int32, left, top, width, height of each character; None if all images were framed already.
        timing: of its slowest and its largest batch on the server: the longest wait, the longest computing, the most images.
            They may belong to different batches, and for many images their sum is far less than the time that passed.
    """

    labels: list[str]
    classes: NDArray[np.int32]
    unsure: NDArray[np.bool_]
    probabilities: NDArray[np.float32] | None
    boxes: NDArray[np.int32] | None
    class_names: tuple[str, ...]
    model: ModelVersion
    timing: Timing

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"BatchRecognition({len(self)} images, {int(self.unsure.sum())} unsure, model={str(self.model)!r})"


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the server serves.

    Attributes:
        labels: names for this version, such as "stable".
        accuracy: on the `accuracy_n` images of its test set, 0..1.
        threshold: below this probability an answer is `unsure`.
        execution_provider: "CUDAExecutionProvider" or "CPUExecutionProvider".
    """

    name: str
    version: str
    labels: tuple[str, ...]
    class_names: tuple[str, ...] = field(repr=False)
    input_height: int
    input_width: int
    accuracy: float
    accuracy_n: int
    threshold: float
    execution_provider: str
    max_batch_size: int
    description: str
