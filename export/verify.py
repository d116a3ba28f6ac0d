"""torch and onnxruntime must agree, or nothing is published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.onnx import INPUT, OUTPUTS
from train.errors import TrainingError
from train.evaluate import Score, as_input, score
from train.model import Recognizer

BATCH_SIZES = (1, 2, 7, 256)
TOLERANCE = 1e-4

Floats = NDArray[np.float32]


class VerificationError(TrainingError):
    """The exported model is not the trained one, or breaks the graph's contract."""


@dataclass(frozen=True)
class Difference:
    """The largest difference seen; the evidence's is relative to the evidence's own largest value."""

    probabilities: float
    evidence: float


class Graph:
    """An ONNX model in onnxruntime on the CPU."""

    def __init__(self, model: onnx.ModelProto | bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        content = model if isinstance(model, bytes) else model.SerializeToString()
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(self, images: Tensor) -> tuple[Floats, Floats]:
        """Images (n, h, w) uint8 to probabilities (n, classes) and evidence (n, classes, places, places)."""
        probabilities, evidence = self.session.run(list(OUTPUTS), {INPUT: images.numpy()})
        return np.asarray(probabilities), np.asarray(evidence)

    def score(self, images: Tensor, labels: Tensor, batch_size: int = 250) -> Score:
        """Accuracy as it is served; the loss is the cross entropy of the calibrated probabilities."""
        rows = [torch.from_numpy(self.run(part)[0]) for part in torch.split(images, batch_size)]
        return score(torch.cat(rows).clamp_min(1e-12).log(), labels)


def verify(model: Recognizer, temperature: float, exported: onnx.ModelProto, images: Tensor) -> Difference:
    """Compare on real images (n, h, w) uint8 at every batch size, taking them in turn where there are too few.

    The torch side is the network as it was trained, with nothing folded: what export folds is what is tested here.

    Raises:
        VerificationError: names, types or shapes are wrong, or a difference is above the tolerance.
    """
    graph = Graph(exported)
    check_contract(graph, side=images.shape[-1], classes=model.classifier.out_features)
    worst = Difference(0.0, 0.0)
    for size in BATCH_SIZES:
        found = _compare(model, temperature, graph, images[torch.arange(size) % len(images)])
        worst = Difference(max(worst.probabilities, found.probabilities), max(worst.evidence, found.evidence))
        if not max(found.probabilities, found.evidence) <= TOLERANCE:
            raise VerificationError(
                f"torch and onnxruntime differ at batch {size}: probabilities by {found.probabilities:.2g},"
                f" evidence by {found.evidence:.2g} of its scale; {TOLERANCE:g} is allowed"
            )
    return worst


def check_contract(graph: Graph, *, side: int, classes: int) -> None:
    """Names, types and shapes, with the batch size left open."""
    inputs = [(value.name, value.type, value.shape[1:]) for value in graph.session.get_inputs()]
    outputs = [(value.name, value.type, value.shape[1:2]) for value in graph.session.get_outputs()]
    _expect("inputs", inputs, [(INPUT, "tensor(uint8)", [side, side])])
    _expect("outputs", outputs, [(name, "tensor(float)", [classes]) for name in OUTPUTS])
    for value in (*graph.session.get_inputs(), *graph.session.get_outputs()):
        if isinstance(value.shape[0], int):
            raise VerificationError(f"{value.name} has a fixed batch size of {value.shape[0]}")


def _expect(what: str, found: Sequence[object], wanted: Sequence[object]) -> None:
    if list(found) != list(wanted):
        raise VerificationError(f"the graph's {what} are {found}, not {wanted}")


@torch.inference_mode()
def _compare(model: Recognizer, temperature: float, graph: Graph, images: Tensor) -> Difference:
    model.eval()
    wanted_probabilities = model.answer(as_input(images), temperature).numpy()
    wanted_evidence = (model.evidence(as_input(images)) / temperature).numpy()
    probabilities, evidence = graph.run(images)
    _expect("shapes", [probabilities.shape, evidence.shape], [wanted_probabilities.shape, wanted_evidence.shape])
    scale = float(np.abs(wanted_evidence).max()) or 1.0
    return Difference(
        probabilities=float(np.abs(probabilities - wanted_probabilities).max()),
        evidence=float(np.abs(evidence - wanted_evidence).max()) / scale,
    )
