"""Networks. No I/O here: a network is its settings, its weights and nothing else.

The default network is a chain of convolutions, each with batch norm and ReLU, then global average pooling and one
linear layer. Because pooling and the linear layer are both linear they can change places, and the linear layer
applied to every place gives class activation maps for nothing: see `Recognizer.evidence`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn


class Layer(NamedTuple):
    """One step of a network: `conv` is a dense convolution, `separable` a depthwise one followed by a pointwise one."""

    kind: Literal["conv", "separable"]
    channels: int
    kernel: int = 3
    stride: int = 1


class Network(NamedTuple):
    """A network's shape. `places` is the side of the last map, which is also the evidence's."""

    name: str
    layers: tuple[Layer, ...]
    side: int = 28

    @property
    def places(self) -> int:
        side = self.side
        for layer in self.layers:
            side = -(-side // layer.stride)
        return side


# How this one was chosen: docs/decisions/0001-network.md. Channels are multiples of 8 because onnxruntime's CPU kernels work
# on blocks of 8 channels (16 with AVX-512) and pad whatever is left.
GAP = Network(
    "gap",
    (
        Layer("conv", 16, kernel=5, stride=2),
        Layer("separable", 32),
        Layer("separable", 96, kernel=5, stride=2),
        Layer("separable", 96, kernel=5),
        Layer("separable", 96, kernel=5),
    ),
)
NETWORKS: dict[str, Network] = {network.name: network for network in (GAP,)}
DEFAULT_NETWORK = GAP.name


class Convolution(nn.Sequential):
    """Convolution and batch norm. Same-size padding; the bias is batch norm's own."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs))


class Dense(nn.Module):
    """Convolution over space and channels at once."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = Convolution(inputs, outputs, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.conv(x))


class Separable(nn.Module):
    """Depthwise convolution (space), then a pointwise one (channels); a shortcut wherever the shape stays the same."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.depthwise = Convolution(inputs, inputs, kernel, stride, groups=inputs)
        self.pointwise = Convolution(inputs, outputs, 1)
        self.shortcut = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.pointwise(torch.relu_(self.depthwise(x)))
        return torch.relu_(y + x if self.shortcut else y)


class Recognizer(nn.Module):
    """Images (batch, 1, side, side) float32 in 0..1, ink light on black, to logits (batch, classes)."""

    def __init__(self, network: Network, classes: int = 10) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        inputs = 1
        for layer in network.layers:
            block = Dense if layer.kind == "conv" else Separable
            blocks.append(block(inputs, layer.channels, layer.kernel, layer.stride))
            inputs = layer.channels
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.classifier(self.features(images).mean((2, 3))))

    def evidence(self, images: Tensor) -> Tensor:
        """How much each place speaks for each class: (batch, classes, places, places). Its mean is `forward`."""
        features = self.features(images)
        bias = self.classifier.bias.view(1, -1, 1, 1)
        return torch.einsum("bchw,kc->bkhw", features, self.classifier.weight) + bias


class Cost(NamedTuple):
    """What one image costs: multiply-adds of all convolutions and the classifier at every place; trained weights."""

    multiply_adds: int
    parameters: int


def cost(network: Network, classes: int = 10) -> Cost:
    """Count a network's cost from its shape alone, with batch norm folded away."""
    multiply_adds = parameters = 0
    inputs, side = 1, network.side
    for layer in network.layers:
        side = -(-side // layer.stride)
        for outputs, weights in _convolutions(layer, inputs):
            multiply_adds += weights * side * side
            parameters += weights + outputs
        inputs = layer.channels
    head = inputs * classes
    return Cost(multiply_adds + head * side * side, parameters + head + classes)


def _convolutions(layer: Layer, inputs: int) -> list[tuple[int, int]]:
    """(output channels, weights) of each convolution in one layer."""
    area = layer.kernel**2
    if layer.kind == "conv":
        return [(layer.channels, area * inputs * layer.channels)]
    return [(inputs, area * inputs), (layer.channels, inputs * layer.channels)]
