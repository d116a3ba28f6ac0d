"""Augmentation on the batch, in torch: each image gets its own rotation, scale, shear, shift, elastic wobble, blur and noise.

All randomness is drawn from one generator on the CPU, so that a run continues exactly from a checkpoint and looks the
same on every device; only the drawn numbers (a few per image) travel to the device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody knows it by
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """How far an image may be moved: the most in either direction, drawn evenly. 0 everywhere changes nothing."""

    rotation_deg: float = 10.0
    scale: float = 0.12  # 0.12: from 1 / 1.12 to 1.12 of its size, each axis on its own
    shear: float = 0.15  # pixels sideways per pixel down
    shift_px: float = 1.5
    elastic_px: float = 0.8  # standard deviation of the wobble at its knots
    elastic_knots: int = 6  # knots a side; between them the wobble is smooth
    thickness: float = 0.0  # 1: up to a whole pixel of ink more, or less, on each side of a stroke
    blur: float = 0.0  # 1: up to the average of each pixel and its eight neighbours
    noise: float = 0.0  # the largest standard deviation, where full ink is 1
    noise_share: float = 0.2  # of the images

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Move the ink of each image: (batch, 1, h, w) float32 in 0..1 -> the same shape and range."""
        batch, _, height, width = images.shape
        theta = self._affine(batch, generator, width).to(images.device, non_blocking=True)
        grid = F.affine_grid(theta, [batch, 1, height, width], align_corners=False)
        if self.elastic_px:
            grid = grid + self._wobble(batch, generator, height, width, images.device)
        moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return self._grain(self._thicken(moved, generator), generator)

    def _thicken(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Another pen: strokes grow or shrink by a share of a pixel, which is a mixture with the dilated or eroded image."""
        if not self.thickness:
            return images
        share = (torch.rand(len(images), 1, 1, 1, generator=generator) * 2 - 1) * self.thickness
        share = share.to(images.device, non_blocking=True)
        thicker = _merge_neighbours(images, torch.maximum)
        thinner = _merge_neighbours(images, torch.minimum)
        return torch.lerp(images, torch.where(share > 0, thicker, thinner), share.abs())

    def _grain(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """What cameras and scanners do to ink: a little out of focus, and now and then noise."""
        batch = len(images)
        if self.blur:
            share = (torch.rand(batch, 1, 1, 1, generator=generator) * self.blur).to(images.device, non_blocking=True)
            images = torch.lerp(images, _merge_neighbours(images, torch.add) / 9, share)
        if self.noise:
            strength = torch.rand(batch, 1, 1, 1, generator=generator) * self.noise
            strength *= torch.rand(batch, 1, 1, 1, generator=generator) < self.noise_share
            noise = torch.randn(images.shape, generator=generator) * strength
            images = (images + noise.to(images.device, non_blocking=True)).clamp_(0, 1)
        return images

    def _affine(self, batch: int, generator: torch.Generator, width: int) -> Tensor:
        """Where each output pixel looks in the input: (batch, 2, 3), in grid_sample's units (-1..1 across the image)."""
        draw = torch.rand(batch, 6, generator=generator) * 2 - 1
        angle = torch.deg2rad(draw[:, 0] * self.rotation_deg)
        wide, high = ((1 + self.scale) ** draw[:, 1:3]).unbind(1)
        shear = draw[:, 3] * self.shear
        cos, sin = angle.cos(), angle.sin()
        shift = draw[:, 4:6] * (self.shift_px * 2 / width)
        top = torch.stack((cos * wide, (cos * shear - sin) * high, shift[:, 0]), 1)
        bottom = torch.stack((sin * wide, (sin * shear + cos) * high, shift[:, 1]), 1)
        return torch.stack((top, bottom), 1)

    def _wobble(self, batch: int, generator: torch.Generator, height: int, width: int, device: torch.device) -> Tensor:
        """A smooth displacement of every place: (batch, h, w, 2), in the units of grid_sample."""
        knots = torch.randn(batch, 2, self.elastic_knots, self.elastic_knots, generator=generator)
        strength = torch.rand(batch, 1, 1, 1, generator=generator) * (self.elastic_px * 2 / width)
        knots = (knots * strength).to(device, non_blocking=True)
        rows, columns = (_curve(places, self.elastic_knots).to(device, non_blocking=True) for places in (height, width))
        return (rows @ knots @ columns.T).permute(0, 2, 3, 1)


def fade(images: Tensor, generator: torch.Generator) -> Tensor:
    """Less ink, and paper that is grey, here more and there less: images (batch, 1, h, w) in 0..1, each in its own way."""
    batch, _, height, width = images.shape
    ink = 1 - 0.85 * torch.rand(batch, 1, 1, 1, generator=generator)
    knots = torch.rand(batch, 1, 3, 3, generator=generator) * torch.rand(batch, 1, 1, 1, generator=generator) * 0.7
    ink, knots = ink.to(images.device), knots.to(images.device)
    veil = F.interpolate(knots, (height, width), mode="bicubic", align_corners=True).clamp_(0, 1)
    return images * ink * (1 - veil) + veil


def _merge_neighbours(images: Tensor, merge: Callable[..., Tensor]) -> Tensor:
    """Each pixel with its eight neighbours, those within the image: (batch, 1, h, w).

    The pooling layers do the same, and a processor needs many times as long for them.

    Args:
        merge: torch.maximum, torch.minimum or torch.add.
    """
    for axis in (-2, -1):
        length = images.shape[axis] - 1
        before, images = images, images.clone()
        for here, there in ((0, 1), (1, 0)):
            part = images.narrow(axis, here, length)
            merge(part, before.narrow(axis, there, length), out=part)
    return images


@cache
def _curve(places: int, knots: int) -> Tensor:
    """What each of `places` takes of each knot of a smooth (bicubic) curve through them: (places, knots)."""
    each = torch.eye(knots).view(knots, 1, knots, 1)
    return F.interpolate(each, (places, 1), mode="bicubic", align_corners=True).view(knots, places).T.contiguous()


# By name, for the command line. Small networks do better with the gentle one (docs/decisions/0001-network.md); the strong one
# holds larger networks back from learning by heart, and shows them pens, cameras and paper that MNIST does not have. The grainy
# one shows them that without moving images further than the gentle one.
AUGMENTATIONS = {
    "gentle": Augmentation(),
    "grainy": Augmentation(thickness=0.5, blur=0.6, noise=0.25),
    "strong": Augmentation(
        rotation_deg=15, scale=0.15, shear=0.2, shift_px=2, elastic_px=1.0, thickness=0.5, blur=0.6, noise=0.25
    ),
}
