"""A checkpoint becomes an ONNX model that is as small as it can be.

The graph's contract: input `image` uint8 [batch, height, width]; outputs `probabilities` float32 [batch, classes] and
`evidence` float32 [batch, classes, h, w], whose mean over places is what softmax takes; as far as the network doubts that there
is a class at all, softmax's share goes to all classes alike. No node of the one output needs the other, so that a server
which is not asked for evidence can do without (server/graph.py). Whatever can be multiplied into a weight beforehand is: the
scaling of pixels to 0..1 into the first convolution, batch norm into each convolution, the calibration temperature and the
linear layer's bias into the evidence.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, cast

import onnx
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.nn.utils.fusion import fuse_conv_bn_eval

from train.model import Convolution, Recognizer, look, spread

OPSET = 18
INPUT, OUTPUTS = "image", ("probabilities", "evidence")


class Served(nn.Module):
    """A recognizer as it is served: pixels (batch, h, w) uint8 to probabilities and evidence, all folded.

    Raises:
        TrainingError: the network has no evidence.
    """

    def __init__(self, model: Recognizer, temperature: float) -> None:
        super().__init__()
        model.network.check_evidence()
        self.features = fold_batch_norm(model.features)
        scale_first_convolution(self.features, 1 / 255)
        self.head = evidence_head(model.classifier, temperature)
        self.doubt = deepcopy(model.doubt)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        images = image.float().unsqueeze(1)
        if self.doubt is None:
            maps = self.features(images)
            return self.answer(maps), self.head(maps)
        maps, means = look(self.features, images)
        return spread(self.answer(maps), self.doubt(means).sigmoid()), self.head(maps)

    def answer(self, maps: Tensor) -> Tensor:
        """The evidence's mean is the evidence of the mean, which is one place instead of all."""
        return cast(Tensor, self.head(avg_pool2d(maps, maps.shape[-1])).flatten(1).softmax(1))


class Answering(nn.Module):
    """A recognizer of any kind, folded as `Served` is: pixels (batch, h, w) uint8 to probabilities alone. Never published."""

    def __init__(self, model: Recognizer) -> None:
        super().__init__()
        self.features = fold_batch_norm(model.features)
        scale_first_convolution(self.features, 1 / 255)
        self.rest = deepcopy(nn.Sequential(model.pool, model.classifier)).eval()

    def forward(self, image: Tensor) -> Tensor:
        return cast(Tensor, self.rest(self.features(image.float().unsqueeze(1))).softmax(1))


def fold_batch_norm(features: nn.Sequential) -> nn.Sequential:
    """A copy with each batch norm multiplied into the convolution before it."""
    folded = deepcopy(features).eval()
    for module in folded.modules():
        if isinstance(module, Convolution):
            conv, norm = module
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            module[0], module[1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return folded


def scale_first_convolution(features: nn.Sequential, factor: float) -> None:
    """Let the first convolution take input that is 1 / factor as large. Exact, since its padding is 0 either way."""
    first = next(module for module in features.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        first.weight.mul_(factor)


def evidence_head(classifier: nn.Linear, temperature: float) -> nn.Conv2d:
    """The linear layer at every place, divided by the temperature."""
    head = nn.Conv2d(classifier.in_features, classifier.out_features, 1)
    with torch.no_grad():
        head.weight.copy_(classifier.weight[:, :, None, None] / temperature)
        head.bias.copy_(classifier.bias / temperature)  # type: ignore[union-attr]
    return head


def to_onnx(model: Recognizer, temperature: float, side: int) -> onnx.ModelProto:
    """Export one network; the batch size is left open, and the weights lie in the file itself.

    Raises:
        TrainingError: the network has no evidence.
    """
    return _export(Served(model, temperature), side, OUTPUTS)


def to_comparable(model: Recognizer, side: int) -> onnx.ModelProto:
    """A graph to time a network by: the one that would be served, or one without evidence where there is none."""
    if model.network.hidden:
        return _export(Answering(model), side, OUTPUTS[:1])
    return to_onnx(model, 1.0, side)


def _export(served: nn.Module, side: int, outputs: Sequence[str]) -> onnx.ModelProto:
    example = torch.zeros(2, side, side, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=65536)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own use of PyTorch
        program = torch.onnx.export(
            served.eval().requires_grad_(False),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
    assert program is not None
    return strip(program.model_proto)


def strip(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take out what is not needed to run it: the exporter notes source paths and stack traces of this machine."""
    graph = model.graph
    items: list[Any] = [*graph.node, *graph.input, *graph.output, *graph.initializer]
    for item in items:
        item.doc_string = ""
        del item.metadata_props[:]
    del graph.value_info[:], graph.metadata_props[:], model.metadata_props[:]
    model.doc_string = graph.doc_string = ""
    model.producer_name, model.producer_version = "digitserve", ""
    graph.name = "recognizer"
    return model
