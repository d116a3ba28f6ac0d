"""What is left of a model that is to compute one output alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from server.graph import keep_only
from server.session import CpuSession
from tests.unit.server.graphs import write_graph


def make_model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """Of numbers `x` it makes `left` and `right`."""
    told = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in ("x", "left", "right")}
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    graph = helper.make_graph(nodes, "two", [told["x"]], [told["left"], told["right"]], [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10, producer_name="a test")
    model.metadata_props.add(key="who", value="anybody")
    onnx.checker.check_model(model)
    return model


def both_sides() -> onnx.ModelProto:
    """Both go through `shared`; `right` through two nodes more."""
    return make_model(
        helper.make_node("Neg", ["x"], ["shared"]),
        helper.make_node("Abs", ["shared"], ["far"]),
        helper.make_node("Add", ["shared", "one"], ["left"]),
        helper.make_node("Sqrt", ["far"], ["right"]),
    )


def test_only_what_leads_to_the_output_is_left() -> None:
    model = both_sides()
    left = onnx.load_from_string(keep_only(model.SerializeToString(), "left"))
    assert [output.name for output in left.graph.output] == ["left"]
    assert [node.op_type for node in left.graph.node] == ["Neg", "Add"]
    right = onnx.load_from_string(keep_only(model.SerializeToString(), "right"))
    assert [output.name for output in right.graph.output] == ["right"]
    assert [node.op_type for node in right.graph.node] == ["Neg", "Abs", "Sqrt"]


def test_all_else_is_as_it_was() -> None:
    model = both_sides()
    left = onnx.load_from_string(keep_only(model.SerializeToString(), "left"))
    del model.graph.output[1], model.graph.node[3], model.graph.node[1]
    assert left == model
    session = ort.InferenceSession(left.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": np.array([1, -3], np.float32)})[0], [0, 4])


def test_nodes_may_lie_in_any_order() -> None:
    """ONNX forbids it, onnxruntime does not."""
    model = both_sides()
    nodes = [*model.graph.node][::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    left = onnx.load_from_string(keep_only(model.SerializeToString(), "left"))
    assert [node.op_type for node in left.graph.node] == ["Add", "Neg"]


def test_a_model_that_cannot_do_without_is_served_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One whose weights lie in a second file, which is only found beside the first."""
    model = onnx.load(write_graph(tmp_path))
    for tensor in (one for one in model.graph.initializer if one.data_type == TensorProto.FLOAT):
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))  # as bytes, which may lie apart
    path = tmp_path / "apart.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="apart.weights", size_threshold=0)
    runner = CpuSession(path)
    assert [output.name for output in runner._session.get_outputs()] == ["probabilities", "evidence"]
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        f"{path} is served with evidence for all, which is slower"
    ]
    images = np.full((2, 8, 8), 3, np.uint8)
    np.testing.assert_array_equal(runner.run(images)[0], runner.run(images, True)[0])
    np.testing.assert_array_equal(runner.run(images[:1])[0], runner.run(images, True)[0][:1])


def test_a_model_with_branches_is_left_alone() -> None:
    """What a branch reads from outside is not among its node's inputs, and would be thrown out."""
    told = helper.make_tensor_value_info("branched", TensorProto.FLOAT, ["batch"])
    branch = helper.make_graph([helper.make_node("Abs", ["hidden"], ["branched"])], "branch", [], [told])
    always = helper.make_tensor("always", TensorProto.BOOL, [], [True])
    model = make_model(
        helper.make_node("Neg", ["x"], ["hidden"]),
        helper.make_node("Constant", [], ["condition"], value=always),
        helper.make_node("If", ["condition"], ["left"], then_branch=branch, else_branch=branch),
        helper.make_node("Abs", ["x"], ["right"]),
    )
    content = model.SerializeToString()
    assert keep_only(content, "left") == content


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(DecodeError):
        keep_only(b"nothing of the kind", "left")


def test_the_cpu_computes_no_evidence_that_nobody_asked_for(tmp_path: Path) -> None:
    """Its answers are the same; that the graph is the smaller one is asked of onnxruntime itself."""
    runner = CpuSession(write_graph(tmp_path))
    assert [output.name for output in runner._session.get_outputs()] == ["probabilities"]
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    alone, (explained, evidence) = runner.run(images), runner.run(images, True)
    assert len(alone) == 1
    np.testing.assert_array_equal(alone[0], explained)
    assert evidence.shape == (3, 3, 2, 2)
