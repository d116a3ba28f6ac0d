"""A model in half precision, for CUDA, and in 8-bit integers, calibrated on training images."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from torch import Tensor

from export.onnx import INPUT, OUTPUTS, strip
from export.verify import Graph
from train.data import Images

CALIBRATION_IMAGES, CALIBRATION_SEED = 512, 0
METHODS = ("MinMax", "Entropy", "Percentile")  # of onnxruntime, to choose the range of each activation
QUANTIZED = ("Conv", "Add", "AveragePool", "Concat")


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with all its convolutions in float16; both heads leave them as float32, and so does all that follows.

    Pixels are whole numbers up to 255, which float16 holds exactly. One cast after each head is all that is added, and one
    before the layers that doubt: onnxruntime's own converter adds six, and rounds the probabilities to float16 on the way.

    Raises:
        ValueError: the graph is none of ours.
    """
    half = deepcopy(model)
    graph = half.graph
    first = _only(graph, "image's Cast", lambda node: node.op_type == "Cast" and INPUT in node.input)
    first.attribute[0].i = TensorProto.FLOAT16
    convolved = {name for node in graph.node if node.op_type == "Conv" for name in node.input}
    for tensor in graph.initializer:
        if tensor.name in convolved:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for node in [
        *find_heads(graph),
        *[node for node in graph.node if node.op_type == "Concat"][-1:],
    ]:  # the last one joins all means
        _widen(graph, node)
    return half


def _widen(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Let whatever reads what this node writes find it in float32."""
    name = node.output[0]
    node.output[0] = f"{name}_half"
    cast = helper.make_node("Cast", list(node.output), [name], name=f"cast_{name}", to=TensorProto.FLOAT)
    graph.node.insert(list(graph.node).index(node) + 1, cast)


def _only(graph: onnx.GraphProto, what: str, fits: Callable[[onnx.NodeProto], bool]) -> onnx.NodeProto:
    found = [node for node in graph.node if fits(node)]
    if len(found) != 1:
        raise ValueError(f"the graph has {len(found)} nodes that could be {what}, not one")
    return found[0]


def find_heads(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The convolutions that make evidence: of the mean, which is the answer, and of all places.

    Raises:
        ValueError: the graph is none of ours.
    """
    places = _only(graph, "evidence's Conv", lambda node: node.op_type == "Conv" and OUTPUTS[1] in node.output)
    return [node for node in graph.node if node.op_type == "Conv" and node.input[1] == places.input[1]]


def to_best_int8(model: onnx.ModelProto, train: Tensor, validation: Images) -> tuple[onnx.ModelProto, str]:
    """The graph in 8-bit integers by the method with the fewest errors on validation images, then with the least loss.

    Args:
        train: (n, h, w) uint8; some of them are taken to see how large activations become.
    """
    images = choose_calibration(train)
    graphs = {method: to_int8(model, images, method) for method in METHODS}
    scores = {method: Graph(graph).score(validation.images, validation.labels) for method, graph in graphs.items()}
    best = min(METHODS, key=lambda method: (scores[method].errors, scores[method].loss))
    return graphs[best], best


def choose_calibration(train: Tensor) -> NDArray[np.uint8]:
    """At most 512 of the training images, always the same ones."""
    order = np.random.default_rng(CALIBRATION_SEED).permutation(len(train))[:CALIBRATION_IMAGES]
    return np.asarray(train.numpy()[np.sort(order)])


def to_int8(model: onnx.ModelProto, images: NDArray[np.uint8], method: str) -> onnx.ModelProto:
    """Static quantization with pairs of QuantizeLinear and DequantizeLinear around dense convolutions, additions and means.

    Activations are unsigned and weights signed, which onnxruntime multiplies fastest on x86. Weights use 7 of their 8 bits, as
    AVX2 adds two products in 16 bits and would cut the sum off.
    """
    model = deepcopy(model)  # it is emptied on the way
    _part_means(model.graph)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "model.onnx"
        quantize_static(
            model,
            path,
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=left_in_float(model),
            calibrate_method=CalibrationMethod[method],
        )
        return strip(onnx.load(path))


def _part_means(graph: onnx.GraphProto) -> None:
    """Let the answer be read from means of its own: those that doubts are made of, too, are rounded for all who read them."""
    for head in find_heads(graph):
        means = next(node for node in graph.node if head.input[0] in node.output)
        if means.op_type == "AveragePool" and sum(means.output[0] in node.input for node in graph.node) > 1:
            own = deepcopy(means)
            own.name, own.output[0] = f"{means.name}_answer", f"{means.output[0]}_answer"
            head.input[0] = own.output[0]
            graph.node.insert(list(graph.node).index(means) + 1, own)


def left_in_float(model: onnx.ModelProto) -> list[str]:
    """What is slower in integers: the first convolution, and the depthwise ones. And what costs accuracy: the first one, too,
    the heads, the means that the answer is read from, and what adds to probabilities."""
    graph = model.graph
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    heads = find_heads(graph)
    read = {head.input[0] for head in heads}
    means = [node for node in graph.node if node.op_type == "AveragePool" and read & set(node.output)]
    last = [node for node in graph.node if OUTPUTS[0] in node.output]
    depthwise = [node for node in convolutions if _groups(node) > 1]
    return list(dict.fromkeys(node.name for node in (convolutions[0], *depthwise, *heads, *means, *last)))


def _groups(convolution: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in convolution.attribute if attribute.name == "group"), 1)


class _Reader:
    """Hands calibration images out one by one: histograms take batches of one size only, and any number must do."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        image = next(self._images, None)
        return None if image is None else {INPUT: image[None]}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime's tools print their progress and advise steps that this graph does not need."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
