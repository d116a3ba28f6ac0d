from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import Tensor

import export.quantize as quantize
from export.quantize import METHODS, choose_calibration, left_in_float, to_best_int8, to_float16, to_int8
from export.verify import Graph, check_contract
from train.data import Images
from train.evaluate import Score


@pytest.fixture(scope="module")
def half(exported: onnx.ModelProto) -> onnx.ModelProto:
    return to_float16(exported)


@pytest.fixture(scope="module")
def integers(exported: onnx.ModelProto, images: Tensor) -> onnx.ModelProto:
    return to_int8(exported, images.numpy(), "MinMax")


def probabilities(graph: onnx.ModelProto, images: Tensor) -> NDArray[np.float32]:
    return Graph(graph).run(images)[0]


def kinds(graph: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in graph.graph.node)


def test_half_precision_keeps_the_contract_and_nearly_the_answers(
    exported: onnx.ModelProto, half: onnx.ModelProto, images: Tensor
) -> None:
    onnx.checker.check_model(half, full_check=True)
    check_contract(Graph(half), side=28, classes=10)
    found, wanted = probabilities(half, images), probabilities(exported, images)
    np.testing.assert_allclose(found, wanted, atol=0.02)
    assert not np.array_equal(found, wanted)


def test_half_precision_has_every_weight_in_float16_and_casts_after_its_heads(
    exported: onnx.ModelProto, half: onnx.ModelProto
) -> None:
    types = {tensor.data_type for tensor in half.graph.initializer}
    assert types == {TensorProto.FLOAT16, TensorProto.INT64}
    assert kinds(half) - kinds(exported) == {"Cast": 2}


def test_half_precision_leaves_softmax_whole(half: onnx.ModelProto, images: Tensor) -> None:
    found, evidence = Graph(half).run(images)
    np.testing.assert_allclose(found, torch.from_numpy(evidence.mean(axis=(2, 3))).softmax(1).numpy(), atol=1e-5)
    assert not np.array_equal(found, found.astype(np.float16))


def test_half_precision_doubts_in_float32(doubted: onnx.ModelProto, images: Tensor) -> None:
    half = to_float16(doubted)
    onnx.checker.check_model(half, full_check=True)
    assert kinds(half) - kinds(doubted) == {"Cast": 3}
    found, wanted = probabilities(half, images), probabilities(doubted, images)
    np.testing.assert_allclose(found, wanted, atol=0.02)
    assert not np.array_equal(found, wanted)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_integers_doubt_in_float32_what_they_saw_in_integers(doubted: onnx.ModelProto, images: Tensor) -> None:
    integers = to_int8(doubted, images.numpy(), "MinMax")
    onnx.checker.check_model(integers, full_check=True)
    found, wanted = probabilities(integers, images), probabilities(doubted, images)
    assert np.abs(found - wanted).mean() < 0.05
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    written = {node.output[0]: node.op_type for node in integers.graph.node}
    assert all(written.get(node.input[0]) != "DequantizeLinear" for node in integers.graph.node if node.op_type == "Softmax")
    joined = [written[name] for node in integers.graph.node if node.op_type == "Concat" for name in node.input]
    assert joined.count("DequantizeLinear") == len(joined)


def test_converting_leaves_the_original_alone(exported: onnx.ModelProto, images: Tensor) -> None:
    before = exported.SerializeToString(deterministic=True)
    to_float16(exported)
    to_int8(exported, images.numpy(), METHODS[0])
    assert exported.SerializeToString(deterministic=True) == before


def test_a_graph_of_another_kind_is_refused(half: onnx.ModelProto) -> None:
    with pytest.raises(ValueError, match="the graph has 0 nodes that could be evidence's Conv, not one"):
        to_float16(half)


def test_integers_keep_the_contract_and_nearly_the_answers(
    exported: onnx.ModelProto, integers: onnx.ModelProto, images: Tensor
) -> None:
    onnx.checker.check_model(integers, full_check=True)
    check_contract(Graph(integers), side=28, classes=10)
    found, wanted = probabilities(integers, images), probabilities(exported, images)
    assert np.abs(found - wanted).mean() < 0.05
    assert not np.array_equal(found, wanted)


def test_dense_convolutions_between_the_ends_are_in_integers_with_seven_bits(
    exported: onnx.ModelProto, integers: onnx.ModelProto
) -> None:
    """AVX2 adds two products in 16 bits: 2 x 255 x 64 fits, 2 x 255 x 127 does not."""
    weights = {tensor.name: tensor for tensor in integers.graph.initializer}
    quantized = {
        node.output[0]: weights.get(node.input[0]) for node in integers.graph.node if node.op_type == "DequantizeLinear"
    }
    convolutions = [node for node in integers.graph.node if node.op_type == "Conv"]
    found = [quantized.get(node.input[1]) for node in convolutions]
    assert [tensor is not None for tensor in found] == [False, False, True, False, True, False, False]
    values = [numpy_helper.to_array(tensor) for tensor in found if tensor is not None]
    assert {value.dtype for value in values} == {np.dtype(np.int8)}
    assert max(int(np.abs(value.astype(int)).max()) for value in values) == 64
    assert [node.name in left_in_float(exported) for node in exported.graph.node if node.op_type == "Conv"] == [
        *[True, True, False, True, False, True, True]
    ]


def test_the_answer_is_read_from_means_that_are_not_rounded(
    integers: onnx.ModelProto, doubted: onnx.ModelProto, images: Tensor
) -> None:
    """The mean of so many places knows more than 8 bits hold. What doubts can do with less."""
    for graph in (integers.graph, to_int8(doubted, images.numpy(), "MinMax").graph):
        written = {node.output[0]: node.op_type for node in graph.node}
        evidence = next(node for node in graph.node if "evidence" in node.output)
        heads = [node for node in graph.node if node.op_type == "Conv" and node.input[1] == evidence.input[1]]
        assert [written[node.input[0]] for node in heads if node is not evidence] == ["AveragePool"]


def test_the_same_images_give_the_same_file_without_a_word_or_a_trace(
    exported: onnx.ModelProto, images: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("Entropy", "Percentile"):
        files = {to_int8(exported, images.numpy(), method).SerializeToString(deterministic=True) for _ in range(2)}
        (content,) = files
        assert b"onnx.quantize" not in content
        assert b"/tmp" not in content
    assert capsys.readouterr() == ("", "")


def test_calibration_takes_some_training_images_always_the_same() -> None:
    train = torch.arange(3000, dtype=torch.int64).view(3000, 1, 1)
    chosen = choose_calibration(train).ravel().tolist()
    assert chosen == choose_calibration(train).ravel().tolist()
    assert len(set(chosen)) == 512
    assert min(chosen) < 300
    assert max(chosen) > 2700
    assert len(choose_calibration(train[:7])) == 7


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(5, 0.1), (3, 0.3), (4, 0.1)], 1),  # the fewest errors, whatever the loss
        ([(3, 0.2), (3, 0.1), (9, 0.0)], 1),  # then the least loss
        ([(3, 0.1), (3, 0.1), (3, 0.1)], 0),
    ],
)
def test_validation_chooses_the_method(monkeypatch: pytest.MonkeyPatch, scores: list[tuple[int, float]], best: int) -> None:
    validation = Images(torch.zeros(10, 8, 8, dtype=torch.uint8), torch.zeros(10, dtype=torch.int64))

    class Scored:
        def __init__(self, number: int) -> None:
            self.number = number

        def score(self, images: Tensor, labels: Tensor) -> Score:
            assert images is validation.images
            assert labels is validation.labels
            return Score(10, *scores[self.number])

    monkeypatch.setattr(quantize, "to_int8", lambda model, images, method: METHODS.index(method))
    monkeypatch.setattr(quantize, "Graph", Scored)
    train = torch.zeros(20, 8, 8, dtype=torch.uint8)
    found: tuple[object, str] = to_best_int8(onnx.ModelProto(), train, validation)
    assert found == (best, METHODS[best])
