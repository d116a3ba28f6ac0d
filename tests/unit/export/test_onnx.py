from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

import export.onnx
from export.onnx import OPSET, fold_batch_norm, scale_first_convolution, to_comparable, to_onnx
from export.verify import Graph, verify
from server.graph import keep_only
from tests.unit.export.conftest import TEMPERATURE
from train.errors import TrainingError
from train.evaluate import as_input
from train.model import Recognizer
from train.networks import PLAIN, RESNET

UINT8, FLOAT = onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT


def signature(values: object) -> list[tuple[str, int, list[str | int]]]:
    return [
        (value.name, value.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim])
        for value in values  # type: ignore[attr-defined]
    ]


def test_the_contract_of_the_graph(exported: onnx.ModelProto) -> None:
    assert signature(exported.graph.input) == [("image", UINT8, ["batch", 28, 28])]
    assert signature(exported.graph.output) == [
        ("probabilities", FLOAT, ["batch", 10]),
        ("evidence", FLOAT, ["batch", 10, 7, 7]),
    ]
    assert [(opset.domain, opset.version) for opset in exported.opset_import] == [("", OPSET)]


def test_only_work_is_left_in_the_graph(exported: onnx.ModelProto) -> None:
    """No batch norm, no scaling, no copies: microseconds of every call."""
    kinds = [node.op_type for node in exported.graph.node]
    assert kinds == [
        *["Cast", "Unsqueeze"],
        *["Conv", "Relu"],
        *["Conv", "Relu", "Conv", "Relu"],
        *["Conv", "Relu", "Conv", "Add", "Relu"],
        *["AveragePool", "Conv", "Reshape", "Softmax"],
        *["Conv"],
    ]


def test_the_answer_needs_no_evidence(exported: onnx.ModelProto, images: Tensor) -> None:
    """So that a server which is not asked for it does not compute it."""
    alone = onnx.load_from_string(keep_only(exported.SerializeToString(), "probabilities"))
    lost = [node.op_type for node in exported.graph.node if node.name not in {kept.name for kept in alone.graph.node}]
    assert lost == ["Conv"]
    evidence = next(node for node in exported.graph.node if "evidence" in node.output)
    assert sum(evidence.input[1] in node.input for node in exported.graph.node) == 2, "the same weights twice, stored once"


def test_doubt_adds_means_of_every_layer_and_three_small_ones(exported: onnx.ModelProto, doubted: onnx.ModelProto) -> None:
    assert signature(doubted.graph.output) == signature(exported.graph.output)
    found, before = (Counter(node.op_type for node in graph.graph.node) for graph in (doubted, exported))
    assert before < found
    assert found - before == {
        "AveragePool": 2,  # the answer is read from the means of the last layer, too
        "Concat": 2,
        "Reshape": 2,
        "Gemm": 3,
        "Relu": 2,
        "Sigmoid": 1,
        "Sub": 1,
        "Mul": 2,
        "Add": 1,
    }


def test_what_is_doubted_is_spread_over_all_classes(
    exported: onnx.ModelProto, doubted: onnx.ModelProto, doubting: Recognizer, images: Tensor
) -> None:
    verify(doubting, TEMPERATURE, doubted, images)
    plain, evidence = Graph(exported).run(images)
    found, same = Graph(doubted).run(images)
    np.testing.assert_allclose(same, evidence, atol=1e-5)
    assert np.array_equal(found.argmax(axis=1), plain.argmax(axis=1))
    assert (found.max(axis=1) < plain.max(axis=1)).all()
    assert np.ptp(found.max(axis=1) / plain.max(axis=1)) > 0.001


def test_one_file_without_a_trace_of_the_machine(exported: onnx.ModelProto) -> None:
    content = exported.SerializeToString()
    assert not any(tensor.external_data for tensor in exported.graph.initializer)
    for trace in (str(Path(__file__).parents[3]), "site-packages", ".py", "torch"):
        assert trace.encode() not in content


def test_probabilities_are_the_softmax_of_the_mean_evidence(exported: onnx.ModelProto, images: Tensor) -> None:
    probabilities, evidence = Graph(exported).run(images)
    logits = torch.from_numpy(evidence.mean(axis=(2, 3)))
    np.testing.assert_allclose(probabilities, logits.softmax(1).numpy(), atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_the_batch_size_changes_nothing(exported: onnx.ModelProto, images: Tensor, size: int) -> None:
    graph = Graph(exported)
    whole, part = graph.run(images), graph.run(images[:size])
    np.testing.assert_allclose(part[0], whole[0][:size], atol=1e-5)
    assert part[1].shape == (size, 10, 7, 7)


def test_folding_changes_no_answer_and_not_the_model(model: Recognizer, images: Tensor) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded = fold_batch_norm(model.features)
    scale_first_convolution(folded, 1 / 255)
    with torch.no_grad():
        found, wanted = folded(images.float().unsqueeze(1)), model.features(as_input(images))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.fixture(scope="module")
def plain() -> Recognizer:
    return Recognizer(PLAIN).eval()


def test_a_network_without_evidence_is_never_served(plain: Recognizer) -> None:
    with pytest.raises(TrainingError, match=r"^network plain has no evidence maps: it is for comparison$"):
        to_onnx(plain, 1.0, side=28)


def test_a_network_without_evidence_can_be_timed(plain: Recognizer, images: Tensor) -> None:
    graph = to_comparable(plain, side=28)
    assert signature(graph.graph.input) == [("image", UINT8, ["batch", 28, 28])]
    assert signature(graph.graph.output) == [("probabilities", FLOAT, ["batch", 10])]
    session = Graph(graph).session
    with torch.no_grad():
        wanted = plain(as_input(images)).softmax(1).numpy()
    np.testing.assert_allclose(session.run(None, {"image": images.numpy()})[0], wanted, atol=1e-5)


def test_what_is_timed_is_what_would_be_served(
    model: Recognizer, exported: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []

    def recorded(*arguments: object) -> onnx.ModelProto:
        asked.append(arguments)
        return exported

    monkeypatch.setattr(export.onnx, "to_onnx", recorded)
    assert to_comparable(model, side=28) is exported
    assert asked == [(model, 1.0, 28)]


def test_shortcuts_of_all_kinds_are_exported_faithfully_at_another_side() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network, images = Recognizer(RESNET, classes=15), torch.randint(0, 256, (9, 40, 40), dtype=torch.uint8)
        network.train()(as_input(images))  # so that batch norm has statistics of its own
    verify(network.eval(), 0.8, to_onnx(network, 0.8, side=40), images)
