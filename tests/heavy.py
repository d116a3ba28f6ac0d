"""A model that takes as long as a test wants: some milliseconds an image, or next to none, and more if the image says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.repository import write_model

WIDTH = 1024  # of the square matrices: multiplying two takes some 50 ms on one core


def publish_heavy(root: Path, name: str = "digits", *, least_turns: int = 1) -> Path:
    """A repository whose model multiplies `least_turns` times for each image, and as often again as its first pixel says.

    It answers "short" where that is below 50, and else "long".
    """
    described: dict[str, Any] = {"class_names": ["short", "long"], "threshold": 0.1, "max_batch_size": 4}
    write_model(root, name, content=make_model(least_turns).SerializeToString(), **described)
    return root


def make_pixels(turns: int = 0) -> bytes:
    """An image that asks for so many turns more."""
    return bytes([turns]) + bytes([200]) * 783


def make_model(least_turns: int) -> onnx.ModelProto:
    values = CONSTANTS | {"least": np.array(least_turns, np.int64)}
    graph = helper.make_graph(
        [*count_turns(), *multiply(), *answer()],
        "heavy",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 28, 28])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["batch", 2, 1, 1]),
        ],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


CONSTANTS: dict[str, Any] = {
    "weights": np.eye(WIDTH, dtype=np.float32),
    "matrix": np.ones((WIDTH, WIDTH), np.float32),
    "start": np.array([0, 0], np.int64),
    "stop": np.array([1, 1], np.int64),
    "plane": np.array([1, 2], np.int64),
    "yes": np.array(True),
    "nothing": np.array(0, np.float32),
    "last": np.array([3], np.int64),
    "cells": np.array([2, 3], np.int64),
    "base": np.array([0.5, 0.4], np.float32).reshape(1, 2, 1, 1),
    "slope": np.array([0.0, 0.002], np.float32).reshape(1, 2, 1, 1),
}


def count_turns() -> list[onnx.NodeProto]:
    """`turns`, how often each image wants to be multiplied, and `rounds`, the sum."""
    return [
        helper.make_node("Slice", ["image", "start", "stop", "plane"], ["corner"]),
        helper.make_node("Cast", ["corner"], ["extra"], to=TensorProto.INT64),
        helper.make_node("Add", ["extra", "least"], ["turns"]),
        helper.make_node("ReduceSum", ["turns"], ["rounds"], keepdims=0),
    ]


def multiply() -> list[onnx.NodeProto]:
    """The work, which gives `none`, a zero: what was multiplied must matter, or it would be left out."""
    return [
        helper.make_node("Loop", ["rounds", "yes", "matrix"], ["done"], body=make_turn()),
        helper.make_node("ReduceMax", ["done"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "nothing"], ["none"]),
    ]


def make_turn() -> onnx.GraphProto:
    """One multiplication: what the loop does in each round."""
    return helper.make_graph(
        [
            helper.make_node("MatMul", ["before", "weights"], ["turned"]),
            helper.make_node("Identity", ["go_on"], ["still"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [WIDTH, WIDTH]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("turned", TensorProto.FLOAT, [WIDTH, WIDTH]),
        ],
    )


def answer() -> list[onnx.NodeProto]:
    """The more turns, the more speaks for "long"."""
    return [
        helper.make_node("Unsqueeze", ["turns", "last"], ["deep"]),
        helper.make_node("Cast", ["deep"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "slope"], ["grown"]),
        helper.make_node("Add", ["grown", "base"], ["clear"]),
        helper.make_node("Add", ["clear", "none"], ["evidence"]),
        helper.make_node("ReduceMean", ["evidence", "cells"], ["probabilities"], keepdims=0),
    ]
