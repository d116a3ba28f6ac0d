from __future__ import annotations

from collections import Counter
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from torch import Tensor

import export.storage as storage
from export.publish import PublishError
from export.storage import halve_weights, serialize
from export.verify import Graph, check_contract
from server.graph import keep_only


@pytest.fixture
def cramped(exported: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The model in a file that may not be as large as it is."""
    monkeypatch.setattr(storage, "MAX_FILE_BYTES", len(exported.SerializeToString()) - 1)
    monkeypatch.setattr(storage, "LARGE", 64)  # the network is small
    content, note = serialize(exported)
    assert note == ", large weights kept in float16"
    return content


def test_what_fits_is_written_as_it_is(exported: onnx.ModelProto) -> None:
    content, note = serialize(exported)
    assert onnx.load_from_string(content) == exported
    assert note == ""


def test_what_does_not_fit_has_every_large_weight_in_half_precision(exported: onnx.ModelProto, cramped: bytes) -> None:
    before = {one.name: numpy_helper.to_array(one) for one in exported.graph.initializer}
    found = {one.name: numpy_helper.to_array(one) for one in onnx.load_from_string(cramped).graph.initializer}
    assert found.keys() == before.keys()
    for name, values in before.items():
        large = values.dtype == np.float32 and values.size >= 64
        np.testing.assert_array_equal(found[name], values.astype(np.float16) if large else values)
    assert len(cramped) < len(exported.SerializeToString())


def test_it_keeps_the_contract_and_nearly_the_answers(exported: onnx.ModelProto, cramped: bytes, images: Tensor) -> None:
    graph = Graph(cramped)
    check_contract(graph, side=28, classes=10)
    for found, before in zip(graph.run(images), Graph(exported).run(images), strict=True):
        np.testing.assert_allclose(found, before, atol=2e-3 * np.abs(before).max())
    probabilities = graph.run(images)[0]
    np.testing.assert_allclose(Graph(exported).run(images)[0].argmax(1), probabilities.argmax(1))


def test_the_graph_that_runs_is_the_same(exported: onnx.ModelProto, cramped: bytes, tmp_path: Path) -> None:
    found, before = (operations(content, tmp_path) for content in (cramped, exported.SerializeToString()))
    assert found == before


def test_without_evidence_too(cramped: bytes, images: Tensor) -> None:
    session = onnxruntime.InferenceSession(keep_only(cramped, "probabilities"), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"image": images.numpy()})[0], Graph(cramped).run(images)[0])


def test_a_weight_that_half_precision_cannot_hold_is_named(exported: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "LARGE", 64)
    model = deepcopy(exported)
    tensor = next(one for one in model.graph.initializer if np.prod(one.dims) >= storage.LARGE)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1e9), tensor.name))
    with pytest.raises(PublishError, match=f"weights of {tensor.name} are too large for half precision"):
        halve_weights(model)


def operations(content: bytes, folder: Path) -> Counter[str]:
    """What onnxruntime runs, once it has made of the graph what it could."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
