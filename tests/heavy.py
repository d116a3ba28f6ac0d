"""A model that takes as long as a test wants: by itself some milliseconds an image, and more for what its first pixel says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 1024  # of the square matrices: multiplying two takes some 50 ms on one core


def publish_heavy(root: Path) -> Path:
    """A repository whose digits model multiplies once for each image, and as often again as its first pixel says.

    It answers "short" where that is below 50, and else "long".
    """
    folder = root / "digits" / "1"
    folder.mkdir(parents=True)
    content = make_graph().SerializeToString()
    folder.joinpath("model.onnx").write_bytes(content)
    described = {
        "name": "digits",
        "version": "1",
        "class_names": ["short", "long"],
        "input": {"height": 28, "width": 28},
        "threshold": 0.1,
        "max_batch_size": 4,
        "metrics": {"accuracy": 0.5, "n": 2},
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    folder.joinpath("model.json").write_text(json.dumps(described), encoding="utf-8")
    return root


def make_graph() -> onnx.ModelProto:
    matrix = helper.make_tensor_value_info("turned", TensorProto.FLOAT, [WIDTH, WIDTH])
    body = helper.make_graph(
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
        [helper.make_tensor_value_info("still", TensorProto.BOOL, []), matrix],
    )
    nodes = [
        helper.make_node("Slice", ["image", "start", "stop", "plane"], ["corner"]),
        helper.make_node("Cast", ["corner"], ["extra"], to=TensorProto.INT64),
        helper.make_node("Add", ["extra", "one"], ["turns"]),
        helper.make_node("ReduceSum", ["turns"], ["rounds"], keepdims=0),
        helper.make_node("Loop", ["rounds", "yes", "matrix"], ["done"], body=body),
        # What was multiplied must matter, or it would be left out.
        helper.make_node("ReduceMax", ["done"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "nothing"], ["none"]),
        helper.make_node("Unsqueeze", ["turns", "last"], ["deep"]),
        helper.make_node("Cast", ["deep"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "slope"], ["grown"]),
        helper.make_node("Add", ["grown", "base"], ["clear"]),
        helper.make_node("Add", ["clear", "none"], ["evidence"]),
        helper.make_node("ReduceMean", ["evidence", "cells"], ["probabilities"], keepdims=0),
    ]
    values: dict[str, Any] = {
        "weights": np.eye(WIDTH, dtype=np.float32),
        "matrix": np.ones((WIDTH, WIDTH), np.float32),
        "start": np.array([0, 0], np.int64),
        "stop": np.array([1, 1], np.int64),
        "plane": np.array([1, 2], np.int64),
        "one": np.array(1, np.int64),
        "yes": np.array(True),
        "nothing": np.array(0, np.float32),
        "last": np.array([3], np.int64),
        "cells": np.array([2, 3], np.int64),
        "base": np.array([0.5, 0.4], np.float32).reshape(1, 2, 1, 1),
        "slope": np.array([0.0, 0.002], np.float32).reshape(1, 2, 1, 1),
    }
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(
        nodes,
        "heavy",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 28, 28])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["batch", 2, 1, 1]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model
