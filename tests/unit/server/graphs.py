"""A tiny model with the graph contract, as an ONNX file and in numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from server.job import Images, Rows


class SumModel:
    """Each class's value is the sum of the image's pixels: no model at all, but each row shows its image."""

    classes = 3

    @staticmethod
    def run(images: Images, explain: bool = True) -> Rows:
        sums = images.reshape(len(images), -1).sum(axis=1, dtype=np.float32)
        probabilities = np.repeat(sums[:, None], SumModel.classes, axis=1)
        evidence = np.zeros((len(images), SumModel.classes, 2, 2), np.float32)
        return (probabilities, evidence) if explain else (probabilities,)


def write_graph(folder: Path, side: int = 8, brightest: int = 255) -> Path:
    """The same as model.onnx for images of `side` x `side`; it fails on one with a pixel above `brightest`."""
    classes = SumModel.classes
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("repeats", TensorProto.INT64, [2], [1, classes]),
        helper.make_tensor("zero", TensorProto.FLOAT, [1, classes, 1, 1], [0.0] * classes),
        helper.make_tensor("tall", TensorProto.INT64, [4], [1, 1, 2, 2]),
        helper.make_tensor("deep", TensorProto.INT64, [2], [2, 3]),
        helper.make_tensor("table", TensorProto.FLOAT, [brightest + 1], [1.0] * (brightest + 1)),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["pixels", "axes"], ["sum_alone"], keepdims=0),
        helper.make_node("ReduceMax", ["image", "axes"], ["level"], keepdims=0),
        helper.make_node("Cast", ["level"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["factor"]),
        helper.make_node("Mul", ["sum_alone", "factor"], ["sum"]),
        helper.make_node("Unsqueeze", ["sum", "one"], ["column"]),
        helper.make_node("Tile", ["column", "repeats"], ["probabilities"]),
        helper.make_node("Unsqueeze", ["probabilities", "deep"], ["cells"]),
        helper.make_node("Mul", ["cells", "zero"], ["nothing"]),
        helper.make_node("Tile", ["nothing", "tall"], ["evidence"]),
    ]
    constants.append(helper.make_tensor("one", TensorProto.INT64, [1], [1]))
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", side, side])
    outputs = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes]),
        helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["batch", classes, 2, 2]),
    ]
    graph = helper.make_graph(nodes, "sums", [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path
