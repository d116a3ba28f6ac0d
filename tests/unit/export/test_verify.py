from __future__ import annotations

from copy import deepcopy

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from torch import Tensor

from export.verify import TOLERANCE, Graph, VerificationError, check_contract, verify
from train.data import Images
from train.evaluate import as_input, score
from train.model import Recognizer

from .conftest import TEMPERATURE


def tampered(exported: onnx.ModelProto, *, weight: int, by: float) -> onnx.ModelProto:
    """A copy in which one weight tensor is a little larger."""
    copy = deepcopy(exported)
    tensors = [tensor for tensor in copy.graph.initializer if len(tensor.dims) == 4]
    values = numpy_helper.to_array(tensors[weight]) * np.float32(by)
    tensors[weight].CopyFrom(numpy_helper.from_array(values, tensors[weight].name))
    return copy


def test_a_faithful_export_passes(model: Recognizer, exported: onnx.ModelProto, images: Tensor) -> None:
    found = verify(model, TEMPERATURE, exported, images)
    assert 0 < max(found.probabilities, found.evidence) < TOLERANCE


@pytest.mark.parametrize("weight", [0, 2, -1])
def test_a_tampered_weight_is_refused(model: Recognizer, exported: onnx.ModelProto, images: Tensor, weight: int) -> None:
    with pytest.raises(VerificationError, match="differ at batch 1"):
        verify(model, TEMPERATURE, tampered(exported, weight=weight, by=1.01), images)


def test_another_temperature_is_refused(model: Recognizer, exported: onnx.ModelProto, images: Tensor) -> None:
    with pytest.raises(VerificationError, match="differ"):
        verify(model, TEMPERATURE * 1.01, exported, images)


def test_weights_that_are_not_numbers_are_refused(model: Recognizer, exported: onnx.ModelProto, images: Tensor) -> None:
    with pytest.raises(VerificationError, match="differ"):
        verify(model, TEMPERATURE, tampered(exported, weight=-1, by=float("nan")), images)


def test_a_fixed_batch_size_is_refused(exported: onnx.ModelProto) -> None:
    copy = deepcopy(exported)
    for value in (*copy.graph.input, *copy.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(VerificationError, match="image has a fixed batch size of 2"):
        check_contract(Graph(copy), side=28, classes=10)


@pytest.mark.parametrize(("side", "classes", "what"), [(32, 10, "inputs"), (28, 26, "outputs")])
def test_another_shape_is_refused(exported: onnx.ModelProto, side: int, classes: int, what: str) -> None:
    with pytest.raises(VerificationError, match=what):
        check_contract(Graph(exported), side=side, classes=classes)


def test_the_score_is_that_of_torch(model: Recognizer, exported: onnx.ModelProto, images: Tensor) -> None:
    labels = Images(images, model(as_input(images)).argmax(1)).labels
    labels[:3] = (labels[:3] + 1) % 10
    found = Graph(exported).score(images, labels, batch_size=7)
    wanted = score(model(as_input(images)).detach() / TEMPERATURE, labels)
    assert (found.n, found.errors) == (wanted.n, 3)
    assert found.loss == pytest.approx(wanted.loss, rel=1e-4)
