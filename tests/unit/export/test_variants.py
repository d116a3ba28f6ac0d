from __future__ import annotations

import hashlib
from copy import deepcopy
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

import export.variants as variants
from export.storage import File
from export.timing import Rounds
from export.variants import FILES, Made, choose_for_cpu, describe_variants, make_variants, table, verify_variant
from export.verify import Graph, VerificationError
from train.data import Dataset, Images
from train.evaluate import Score
from train.model import Recognizer


@pytest.fixture(scope="module")
def data(exported: onnx.ModelProto, images: Tensor) -> Dataset:
    """Images whose labels are the network's own answers: it makes no error, and whatever changes an answer makes one."""
    answers = torch.from_numpy(Graph(exported).run(images)[0].argmax(1))
    part = Images(images, answers)
    return Dataset(part, part, tuple("0123456789"), validation=part)


@pytest.fixture(scope="module")
def plain(exported: onnx.ModelProto, data: Dataset) -> Score:
    return Graph(exported).score(data.test.images, data.test.labels)


@pytest.fixture(scope="module")
def made(exported: onnx.ModelProto, plain: Score, data: Dataset) -> Made:
    return make_variants(exported, plain, ["fp32", "fp16"], data)


def turned(exported: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that answers with another class."""
    copy = deepcopy(exported)
    head = next(tensor for tensor in copy.graph.initializer if tensor.name == "head.bias")
    head.CopyFrom(
        numpy_helper.from_array(np.roll(numpy_helper.to_array(head), 1) + np.eye(10, dtype=np.float32)[3] * 99, head.name)
    )
    return copy


def times(batch_1: float, batch_64: float, *, noise: float = 0.0) -> Rounds:
    """Eight rounds around these times, half of them slower by `noise`."""
    factors = np.array([1.0, 1.0 + noise] * 4)
    return {1: batch_1 * factors, 8: batch_64 * factors, 64: batch_64 * factors}


PLAIN_TIMES = times(100, 50)


def test_what_is_wanted_and_as_accurate_is_made(made: Made, plain: Score) -> None:
    assert list(made.variants) == ["fp32", "fp16"]
    assert made.left_out == {"int8": "not asked for"}
    assert made.variants["fp32"].score is plain
    assert len(made.variants["fp16"].content) < 0.75 * len(made.variants["fp32"].content)


def test_what_is_less_accurate_is_left_out_and_fp32_is_not(
    exported: onnx.ModelProto, plain: Score, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "to_float16", turned)
    monkeypatch.setattr(variants, "to_best_int8", lambda *given: (exported, "as it was"))
    made = make_variants(exported, plain, list(FILES), data)
    assert list(made.variants) == ["fp32", "int8"]
    assert made.left_out["fp16"].startswith("its accuracy of ")
    assert made.left_out["fp16"].endswith(" points below fp32; 0.05 are allowed")


def test_a_file_that_loses_too_much_by_being_small_is_not_published(
    exported: onnx.ModelProto, plain: Score, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "serialize", lambda model: File(turned(model).SerializeToString(), ", made small"))
    with pytest.raises(VerificationError, match="points below fp32"):
        make_variants(exported, plain, ["fp32"], data)


def test_how_it_was_made_to_fit_is_said(
    exported: onnx.ModelProto, plain: Score, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "serialize", lambda model: File(model.SerializeToString(), ", made small"))
    made = make_variants(exported, plain, ["fp32", "fp16"], data)
    assert [made.variants[name].method for name in ("fp32", "fp16")] == [
        "as trained, made small",
        "float16, softmax in float32, made small",
    ]


def test_tools_that_fail_are_one_line_and_fp32_is_published(
    exported: onnx.ModelProto, plain: Score, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> onnx.ModelProto:
        raise RuntimeError("no kernel\n  for that")

    monkeypatch.setattr(variants, "to_float16", fail)
    made = make_variants(exported, plain, ["fp16"], data)
    assert list(made.variants) == ["fp32"]
    assert made.left_out["fp16"] == "onnxruntime can't make it: no kernel for that"


@pytest.mark.parametrize(("errors", "n", "allowed"), [(5, 10_000, True), (6, 10_000, False), (1, 2000, True), (1, 1999, False)])
def test_five_errors_more_in_ten_thousand_are_allowed(
    exported: onnx.ModelProto, data: Dataset, monkeypatch: pytest.MonkeyPatch, errors: int, n: int, allowed: bool
) -> None:
    monkeypatch.setattr(Graph, "score", lambda *given: Score(n, 37 + errors, 0.1))
    content = exported.SerializeToString()
    if allowed:
        assert verify_variant(content, exported, Score(n, 37, 0.1), data).errors == 37 + errors
    else:
        with pytest.raises(VerificationError, match="below fp32"):
            verify_variant(content, exported, Score(n, 37, 0.1), data)


def test_what_breaks_the_contract_is_refused(exported: onnx.ModelProto, plain: Score, data: Dataset) -> None:
    renamed = deepcopy(exported)
    renamed.graph.node[0].input[0] = renamed.graph.input[0].name = "picture"
    with pytest.raises(VerificationError, match="the graph's inputs are"):
        verify_variant(renamed.SerializeToString(), exported, plain, data)
    smaller = deepcopy(exported)
    conv = next(node for node in smaller.graph.node if "evidence" in node.output)
    for attribute in conv.attribute:
        if attribute.name == "strides":
            attribute.ints[:] = [2, 2]
    del smaller.graph.output[1].type.tensor_type.shape.dim[2:]
    for name in ("h", "w"):
        smaller.graph.output[1].type.tensor_type.shape.dim.add().dim_param = name
    with pytest.raises(VerificationError, match="it answers with arrays of"):
        verify_variant(smaller.SerializeToString(), exported, plain, data)


@pytest.mark.parametrize(
    ("measured", "best"),
    [
        ({}, "fp32"),
        ({"int8": times(60, 30)}, "int8"),
        ({"int8": times(60, 55)}, "fp32"),  # faster at batch 1 only
        ({"int8": times(110, 30)}, "fp32"),  # at batch 64 only
        ({"int8": times(97, 48)}, "fp32"),  # hardly
        ({"int8": times(60, 30, noise=1.0)}, "fp32"),  # not in three of four rounds
        ({"int8": times(60, 30, noise=0.2)}, "int8"),
        ({"fp16": times(50, 40), "int8": times(60, 30)}, "fp16"),  # both are faster: the one that is at batch 1
    ],
)
def test_best_on_the_cpu_is_what_is_really_faster(measured: dict[str, Rounds], best: str) -> None:
    assert choose_for_cpu({"fp32": PLAIN_TIMES, **measured}) == best


@pytest.mark.parametrize(
    ("here", "best"),
    [("cpu", {"cpu": "fp16", "cuda": "fp32"}), ("cpu-vnni", {"cpu": "fp32", "cpu-vnni": "fp16", "cuda": "fp32"})],
)
def test_the_card_says_what_there_is_and_which_to_take(
    made: Made, monkeypatch: pytest.MonkeyPatch, here: str, best: dict[str, str]
) -> None:
    monkeypatch.setattr(variants, "name_device", lambda provider: here)
    card = describe_variants(made, {"fp32": PLAIN_TIMES, "fp16": times(50, 25)})
    assert card["best"] == best
    assert [device for device, words in card["measured"].items() if "not measured" in words] == [
        device for device in best if device != here
    ]
    assert card["variants_left_out"] == {"int8": "not asked for"}
    half: dict[str, Any] = card["variants"]["fp16"]
    content = made.variants["fp16"].content
    assert (half["file"], half["size_bytes"]) == ("model.fp16.onnx", len(content))
    assert half["sha256"] == hashlib.sha256(content).hexdigest()
    assert (half["accuracy"], half["errors"]) == (1.0, 0)
    assert half["us_per_image"] == {"1": 50.0, "8": 25.0, "64": 25.0}
    assert half["of_fp32"] == {"1": [0.5, 0.5, 0.5], "8": [0.5, 0.5, 0.5], "64": [0.5, 0.5, 0.5]}


def test_the_table_has_a_row_for_each(made: Made) -> None:
    lines = table(made, {"fp32": PLAIN_TIMES, "fp16": times(150, 50, noise=0.5)}).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert [line.split("|")[1].strip() for line in lines] == ["variant", "---", "fp32", "fp16"]
    assert "| 100.0 | 50.0 | 50.0 |" in lines[2]
    assert "187.5, 1.88 x (1.50 .. 2.25)" in lines[3]


def test_a_network_that_is_served_can_have_all_variants(model: Recognizer, exported: onnx.ModelProto, data: Dataset) -> None:
    """None of the tools fails on our graph: what is left out, if anything, is so for its accuracy."""
    plain = Graph(exported).score(data.test.images, data.test.labels)
    made = make_variants(exported, plain, list(FILES), data)
    assert set(made.variants) | set(made.left_out) == set(FILES)
    assert all("points below fp32" in reason for reason in made.left_out.values())
