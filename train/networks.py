"""The networks by name, as shapes alone: what `--network` means and what each one costs. What they compute: train/model.py."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, NamedTuple

from train.errors import TrainingError


class Layer(NamedTuple):
    """One step of a network.

    conv        a dense convolution
    separable   a depthwise convolution, then a pointwise one
    residual    two dense convolutions and a shortcut around them
    pooled      a dense convolution without batch norm, then max pooling by `stride`
    """

    kind: Literal["conv", "separable", "residual", "pooled"]
    channels: int
    kernel: int = 3
    stride: int = 1
    padded: bool = True  # conv alone: False loses what a kernel's edge would lie over
    pool: int = 1  # conv alone: max pooling by so much after it

    def shrink(self, side: int) -> tuple[int, int]:
        """How many places a side its (first) convolution computes of maps of `side`, and how many it hands on."""
        inside = side if self.padded else side - self.kernel + 1
        after = -(-inside // self.stride)
        return inside if self.kind == "pooled" else after, -(-after // self.pool)


class Network(NamedTuple):
    """A network's shape.

    Attributes:
        hidden: 0 for global average pooling, else the units of a dense layer that sees every place.
    """

    name: str
    layers: tuple[Layer, ...]
    side: int = 28
    hidden: int = 0

    @property
    def places(self) -> int:
        """The side of the last map, which is also the evidence's."""
        side = self.side
        for layer in self.layers:
            _, side = layer.shrink(side)
        return side

    def at(self, side: int | None) -> Network:
        """The same network for images of another side; None: of its own."""
        return self if side is None else self._replace(side=side)

    def check_evidence(self) -> None:
        """Raises TrainingError unless there are evidence maps."""
        if self.hidden:
            raise TrainingError(f"network {self.name} has no evidence maps: it is for comparison")


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
# For the record: the shape that decision 0001 chose, with twice the channels everywhere. Five in six of its 5.5 million
# multiply-adds are in pointwise convolutions; 103 k weights, 0.4 MB.
WIDE = Network(
    "wide",
    (
        Layer("conv", 32, kernel=5, stride=2),
        Layer("separable", 64),
        Layer("separable", 192, kernel=5, stride=2),
        Layer("separable", 192, kernel=5),
        Layer("separable", 192, kernel=5),
    ),
)
# For characters with more strokes, and for the record: dense convolutions where there are few channels, since onnxruntime and
# PyTorch do twice as many of their multiply-adds in the same time (docs/decisions/0001-network.md), separable ones with large
# kernels where there are many.
MIXED = Network(
    "mixed",
    (
        Layer("conv", 16, kernel=5, stride=2),
        Layer("conv", 32),
        Layer("conv", 32),
        Layer("separable", 128, kernel=5, stride=2),
        Layer("separable", 128, kernel=5),
        Layer("separable", 128, kernel=5),
    ),
)
# The cheapest: network A of decision 0001, 0.9 million multiply-adds. There it made 51 errors in 10,000 after 30 epochs,
# where D made 47 with 1.4 million after 40.
SMALL = Network(
    "small",
    (
        Layer("conv", 16, kernel=5, stride=2),
        Layer("conv", 32, stride=2),
        Layer("separable", 64),
        Layer("separable", 64),
        Layer("separable", 64),
    ),
)
# He et al. 2015, as for CIFAR-10: stages at 28, 14 and 7 places a side. A block with 16 channels at 28x28 alone would cost 3.6
# million multiply-adds; so there are 8, and what that saves goes to a second block at 14x14.
RESNET = Network(
    "resnet",
    (
        Layer("conv", 8),
        Layer("residual", 8),
        Layer("residual", 24, stride=2),
        Layer("residual", 24),
        Layer("residual", 64, stride=2),
    ),
)
# What most tutorials build, for scale: 98 % of its 3.3 million weights lie in the one dense layer.
PLAIN = Network("plain", (Layer("pooled", 32, kernel=5, stride=2), Layer("pooled", 64, kernel=5, stride=2)), hidden=1024)
# For the record, too, and what ships as digits-robust: dense convolutions alone, which CPUs with matrix units (AMX) train
# several times as fast as separable ones, and answer in 8-bit integers in half the time of float32.
DENSE = Network(
    "dense",
    (
        Layer("conv", 16, kernel=5, stride=2),
        Layer("conv", 24),
        Layer("conv", 32),
        Layer("conv", 64, stride=2),
        Layer("conv", 64),
        Layer("conv", 96),
    ),
)
# For the record: as many multiply-adds as `dense`, otherwise spent (docs/decisions/0001-network.md). Two layers look at every
# pixel, maps are halved once, and no edge is padded: what is left at the end are the 4x4 places that see all of the digit.
FINE = Network(
    "fine",
    (
        Layer("conv", 16, padded=False),
        Layer("conv", 16, padded=False, pool=2),
        Layer("conv", 48, padded=False),
        Layer("conv", 64, padded=False),
        Layer("conv", 96, padded=False),
        Layer("conv", 96, padded=False),
    ),
)
# Teachers: six to seven times the cost of `dense`. One leaves 28x28 at once and is deep at 14x14 and 7x7; the other, after
# Simonyan and Zisserman 2014, stays there for three layers. They are unlike each other so that their mistakes are, too.
DEEP = Network(
    "deep",
    (
        Layer("conv", 32, kernel=5, stride=2),
        *(Layer("conv", 64),) * 3,
        Layer("conv", 128, stride=2),
        *(Layer("conv", 128),) * 3,
    ),
)
VGG = Network(
    "vgg",
    (
        *(Layer("conv", 32),) * 3,
        Layer("conv", 64, stride=2),
        *(Layer("conv", 64),) * 2,
        Layer("conv", 128, stride=2),
        *(Layer("conv", 128),) * 2,
    ),
)
ALL = (GAP, MIXED, WIDE, SMALL, RESNET, PLAIN, DENSE, FINE, DEEP, VGG)
NETWORKS: dict[str, Network] = {network.name: network for network in ALL}
DEFAULT_NETWORK = GAP.name


DOUBTERS = 256  # units in each of the two layers that doubt; with 128, `gap` is sure of 6.1 % of unknown strangers, not 5.0
QUARTERED = 14  # places a side from which on a map's quarters count, and not its mean alone: 95 % of letters doubted, not 92


class Cost(NamedTuple):
    """What one image costs: multiply-adds of all convolutions and of the head; trained weights.

    Where there is global average pooling, the classifier is counted at every place, as it is served.
    """

    multiply_adds: int
    parameters: int


def cost(network: Network, classes: int = 10, side: int | None = None) -> Cost:
    """Count a network's cost from its shape alone, with batch norm folded away, for images of `side` or of its own side."""
    multiply_adds = parameters = 0
    inputs, before = 1, network.at(side).side
    for layer in network.layers:
        computed, after = layer.shrink(before)
        for outputs, weights in _convolutions(layer, inputs):
            multiply_adds += weights * computed**2
            parameters += weights + outputs
        inputs, before = layer.channels, after
    head = _head(network, inputs, before**2, classes)
    return Cost(multiply_adds + head.multiply_adds, parameters + head.parameters)


def watched(side: int, image: int) -> bool:
    """Whether maps of `side` count for doubt, which they do up to half of the image's side.

    To read maps as large as the image takes a fifth of the time of a network in 8-bit integers, and they tell of pixels.
    """
    return side <= -(-image // 2)


def doubt_widths(network: Network) -> tuple[int, ...]:
    """Units of each layer that doubts, the first being the means of maps that count: see train/model.py, `look` and Doubt."""
    means, side = list[int](), network.side
    for layer in network.layers:
        _, side = layer.shrink(side)
        if watched(side, network.side):
            means.append(layer.channels * (4 if side >= QUARTERED else 1))
    return sum(means), DOUBTERS, DOUBTERS, 1


def doubt_cost(network: Network, side: int | None = None) -> Cost:
    """What doubt adds to `cost`: larger images have more maps that count by quarters."""
    pairs = list(pairwise(doubt_widths(network.at(side))))
    return Cost(sum(before * after for before, after in pairs), sum((before + 1) * after for before, after in pairs))


def _convolutions(layer: Layer, inputs: int) -> list[tuple[int, int]]:
    """(output channels, weights) of each convolution in one layer."""
    area, outputs = layer.kernel**2, layer.channels
    dense = (outputs, area * inputs * outputs)
    if layer.kind == "separable":
        return [(inputs, area * inputs), (outputs, inputs * outputs)]
    if layer.kind != "residual":
        return [dense]
    convolutions = [dense, (outputs, area * outputs * outputs)]
    same = inputs == outputs and layer.stride == 1
    return convolutions if same else [*convolutions, (outputs, inputs * outputs)]


def _head(network: Network, channels: int, places: int, classes: int) -> Cost:
    """What follows the convolutions; `places` is how many there are."""
    if not network.hidden:
        weights = channels * classes
        return Cost(weights * places, weights + classes)
    weights = channels * places * network.hidden + network.hidden * classes
    return Cost(weights, weights + network.hidden + classes)
