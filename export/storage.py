"""A file that would be larger than a published one may be keeps its weights in half precision. Computed is what was computed.

Half of the digits of a weight say nothing that the test set could tell (docs/decisions/0025-weights-in-half-precision.md), but
they are half of the file.
"""

from __future__ import annotations

from copy import deepcopy
from math import prod
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.publish import MAX_FILE_BYTES, PublishError

LARGE = 1024  # values; what is smaller, biases above all, is not worth a node


class File(NamedTuple):
    """A model as it is written, and what was done to it for that: nothing, or some words to add to how it was made."""

    content: bytes
    note: str


def serialize(model: onnx.ModelProto) -> File:
    """The model as it is, or with its weights in half precision where it would be too large."""
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    if len(content) <= MAX_FILE_BYTES:
        return File(content, "")
    return File(halve_weights(model).SerializeToString(deterministic=True), ", large weights kept in float16")


def halve_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with each large float32 weight as float16, and a Cast after it that onnxruntime computes once, on loading.

    Raises:
        PublishError: a weight is too large for half precision.
    """
    halved = deepcopy(model)
    graph = halved.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or prod(tensor.dims) < LARGE:
            continue
        with np.errstate(over="ignore"):
            values = numpy_helper.to_array(tensor).astype(np.float16)
        if not np.isfinite(values).all():
            raise PublishError(f"weights of {tensor.name} are too large for half precision")
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        wide = f"{tensor.name}_float"
        for node in graph.node:
            node.input[:] = [wide if name == tensor.name else name for name in node.input]
        casts.append(helper.make_node("Cast", [tensor.name], [wide], name=f"cast_{wide}", to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)
    onnx.checker.check_model(halved, full_check=True)
    return halved
