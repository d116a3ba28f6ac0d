"""Networks as modules. No I/O here: a network is its shape (train/networks.py), its weights and nothing else.

The default network is a chain of convolutions, each with batch norm and ReLU, then global average pooling and one
linear layer. Because pooling and the linear layer are both linear they can change places, and the linear layer
applied to every place gives class activation maps for nothing: see `Recognizer.evidence`. All networks but `plain`
end like that, and take images of any side; `plain` is there to compare with.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from train.errors import SettingsError
from train.networks import DEFAULT_NETWORK, NETWORKS, QUARTERED, Cost, Layer, Network, cost, doubt_widths, watched

__all__ = ["DEFAULT_NETWORK", "NETWORKS", "Cost", "Doubt", "Layer", "Network", "Recognizer", "cost", "look", "spread"]


class Convolution(nn.Sequential):
    """Convolution and batch norm. Same-size padding unless `padded` is False; the bias is batch norm's own."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, padded: bool = True) -> None:
        padding = kernel // 2 if padded else 0
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=padding, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs))


class Dense(nn.Module):
    """Convolution over space and channels at once; max pooling after it where the layer wants that."""

    def __init__(self, inputs: int, layer: Layer) -> None:
        super().__init__()
        self.conv = Convolution(inputs, layer.channels, layer.kernel, layer.stride, padded=layer.padded)
        self.pool = nn.MaxPool2d(layer.pool, ceil_mode=True) if layer.pool > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.pool(torch.relu_(self.conv(x))))


class Separable(nn.Module):
    """Depthwise convolution (space), then a pointwise one (channels); a shortcut wherever the shape stays the same."""

    def __init__(self, inputs: int, layer: Layer) -> None:
        super().__init__()
        self.depthwise = Convolution(inputs, inputs, layer.kernel, layer.stride, groups=inputs)
        self.pointwise = Convolution(inputs, layer.channels, 1)
        self.shortcut = inputs == layer.channels and layer.stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.pointwise(torch.relu_(self.depthwise(x)))
        return torch.relu_(y + x if self.shortcut else y)


class Residual(nn.Module):
    """Two convolutions around which the input goes as it is, or through a pointwise convolution where the shape changes."""

    def __init__(self, inputs: int, layer: Layer) -> None:
        super().__init__()
        outputs = layer.channels
        self.first = Convolution(inputs, outputs, layer.kernel, layer.stride)
        self.second = Convolution(outputs, outputs, layer.kernel)
        same = inputs == outputs and layer.stride == 1
        self.shortcut = nn.Identity() if same else Convolution(inputs, outputs, 1, layer.stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.second(torch.relu_(self.first(x))) + self.shortcut(x))


class Pooled(nn.Sequential):
    """Convolution with a bias, ReLU, max pooling. An odd side is rounded up, as strides do it."""

    def __init__(self, inputs: int, layer: Layer) -> None:
        conv = nn.Conv2d(inputs, layer.channels, layer.kernel, padding=layer.kernel // 2)
        super().__init__(conv, nn.ReLU(), nn.MaxPool2d(layer.stride, ceil_mode=True))


BLOCKS: dict[str, type[Dense | Separable | Residual | Pooled]] = {
    "conv": Dense,
    "separable": Separable,
    "residual": Residual,
    "pooled": Pooled,
}


class Dropout(nn.Module):
    """Dropout whose masks follow from a number among the weights: a run continues exactly from a checkpoint."""

    draw: Tensor

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        self.share = share
        self.register_buffer("draw", torch.randint(2**62, ()))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        generator = torch.Generator().manual_seed(int(self.draw))
        self.draw += 1
        kept = torch.rand(x.shape, generator=generator) >= self.share
        return x * kept.to(x.device) / (1 - self.share)


class Average(nn.Module):
    """Global average pooling: (batch, channels, h, w) to (batch, channels)."""

    def forward(self, features: Tensor) -> Tensor:
        # The places as one axis, the channels last, as they lie in memory: over two axes, the gradient would lie otherwise,
        # and a processor take ten times as long to bring both together.
        return features.permute(0, 2, 3, 1).flatten(1, 2).mean(1)


class Hidden(nn.Module):
    """A dense layer that sees every place: (batch, channels, places, places) to (batch, units)."""

    def __init__(self, network: Network, inputs: int) -> None:
        super().__init__()
        self.network = network
        self.dense = nn.Linear(inputs * network.places**2, network.hidden)
        self.dropout = Dropout()

    def forward(self, features: Tensor) -> Tensor:
        if features.shape[2:] != (self.network.places, self.network.places):
            side = self.network.side
            raise SettingsError(f"network {self.network.name} was built for images of {side}x{side} and can take no others")
        return cast(Tensor, self.dropout(torch.relu_(self.dense(features.flatten(1)))))


class Doubt(nn.Module):
    """Whether an image shows none of the classes: from the means that `look` took to one logit (batch, 1), high where so.

    What a network answers rests on its last maps, where all that does not tell one class from another is lost. Whether there
    is a class at all shows in every layer: how much ink, how many edges, corners and ends.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        first, *rest = (nn.Linear(before, after) for before, after in pairwise(doubt_widths(network)))
        self.layers = nn.Sequential(first, *(part for layer in rest for part in (nn.ReLU(), layer)))

    def forward(self, means: Tensor) -> Tensor:
        return cast(Tensor, self.layers(means))


def look(features: nn.Sequential, images: Tensor) -> tuple[Tensor, Tensor]:
    """Images (batch, 1, side, side) through all layers: the last maps, and the means (batch, n) of all those that count.

    Of a large map, the means of its quarters: where something is tells more than that it is. Which ones are large, and which
    too large to count: see train/networks.py, `watched` and QUARTERED.
    """
    maps, means = images, dict[bool, list[Tensor]]()
    for layer in features:
        maps = layer(maps)
        side = maps.shape[-1]
        if not watched(side, images.shape[-1]):
            continue
        quartered = side >= QUARTERED
        pooled = avg_pool2d(maps, -(-side // 2), side // 2) if quartered else avg_pool2d(maps, side)
        means.setdefault(quartered, []).append(pooled)
    return maps, torch.cat([torch.cat(alike, 1).flatten(1) for alike in means.values()], 1)


def spread(probabilities: Tensor, doubt: Tensor) -> Tensor:
    """Probabilities (batch, classes) where a share (batch, 1) of them is doubted: that goes to all classes alike.

    But for a hundredth of it, so that the likeliest class stays the likeliest however great the doubt.
    """
    return probabilities + 0.99 * doubt * (1 / probabilities.shape[1] - probabilities)


class Recognizer(nn.Module):
    """Images (batch, 1, side, side) float32 in 0..1, ink light on black, to logits (batch, classes).

    `side` matters to a network with a dense layer alone, which takes no other images than those it was built for; it is
    the network's own where it is None.
    """

    def __init__(self, network: Network, classes: int = 10, side: int | None = None) -> None:
        super().__init__()
        self.network = network.at(side)
        blocks: list[nn.Module] = []
        inputs = 1
        for layer in network.layers:
            blocks.append(BLOCKS[layer.kind](inputs, layer))
            inputs = layer.channels
        self.features = nn.Sequential(*blocks)
        self.pool = Hidden(self.network, inputs) if network.hidden else Average()
        self.classifier = nn.Linear(network.hidden or inputs, classes)
        self.doubt: Doubt | None = None  # learned last, when nothing else changes any more: train/doubt.py

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.classifier(self.pool(self.features(images))))

    def answer(self, images: Tensor, temperature: float) -> Tensor:
        """Probabilities (batch, classes): calibrated, and spread over all classes as far as it is doubted that there is any."""
        if self.doubt is None:
            return cast(Tensor, self(images) / temperature).softmax(1)
        maps, means = look(self.features, images)
        return spread((self.classifier(self.pool(maps)) / temperature).softmax(1), self.doubt(means).sigmoid())

    def evidence(self, images: Tensor) -> Tensor:
        """How much each place speaks for each class: (batch, classes, places, places). Its mean is `forward`.

        Raises:
            TrainingError: the network has no such maps.
        """
        self.network.check_evidence()
        features = self.features(images)
        bias = self.classifier.bias.view(1, -1, 1, 1)
        return torch.einsum("bchw,kc->bkhw", features, self.classifier.weight) + bias
