from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from train.augment import Augmentation, _curve, _merge_neighbours, fade
from train.data import Dataset
from train.evaluate import as_input

STILL = Augmentation(rotation_deg=0, scale=0, shear=0, shift_px=0, elastic_px=0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def batch(digits: Dataset) -> Tensor:
    return as_input(digits.train.images[:20])


def test_shape_type_and_range_stay(batch: Tensor) -> None:
    moved = Augmentation()(batch, generator())
    assert moved.shape == batch.shape
    assert moved.dtype == torch.float32
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_nothing_asked_nothing_moved(batch: Tensor) -> None:
    assert torch.allclose(STILL(batch, generator()), batch, atol=1e-5)


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(rotation_deg=15, scale=0, shear=0, shift_px=0, elastic_px=0),
        Augmentation(rotation_deg=0, scale=0.2, shear=0, shift_px=0, elastic_px=0),
        Augmentation(rotation_deg=0, scale=0, shear=0.2, shift_px=0, elastic_px=0),
        Augmentation(rotation_deg=0, scale=0, shear=0, shift_px=2, elastic_px=0),
        Augmentation(rotation_deg=0, scale=0, shear=0, shift_px=0, elastic_px=1),
        replace(STILL, thickness=0.5),
        replace(STILL, blur=1.0),
        replace(STILL, noise=0.3, noise_share=1.0),
    ],
    ids=["rotation", "scale", "shear", "shift", "elastic", "thickness", "blur", "noise"],
)
def test_each_image_moves_by_itself(batch: Tensor, augmentation: Augmentation) -> None:
    same = batch[:1].expand(8, -1, -1, -1)
    moved = augmentation(same, generator())
    for row in range(1, 8):
        assert not torch.allclose(moved[row], moved[0], atol=1e-3)


def test_noise_is_for_a_share_of_the_images(batch: Tensor) -> None:
    many = batch[:1].expand(400, -1, -1, -1)
    touched = (replace(STILL, noise=0.3, noise_share=0.25)(many, generator()) - many).abs().amax((1, 2, 3)) > 1e-3
    assert 60 < int(touched.sum()) < 140


def test_another_pen_is_thicker_or_thinner_by_at_most_a_pixel_a_side() -> None:
    stroke = torch.zeros(400, 1, 28, 28)
    stroke[:, :, 4:24, 12:15] = 1  # three pixels wide
    widths = replace(STILL, thickness=1.0)(stroke, generator())[:, 0, 14].sum(1)
    assert 1 <= widths.min() < 1.1
    assert 4.9 < widths.max() <= 5 + 1e-5
    assert 100 < int((widths > 3).sum()) < 300


def test_blur_spreads_the_ink_and_keeps_its_amount(batch: Tensor) -> None:
    blurred = replace(STILL, blur=1.0)(batch, generator())
    assert torch.allclose(blurred.sum((1, 2, 3)), batch.sum((1, 2, 3)), rtol=0.02)
    assert (blurred.amax((1, 2, 3)) <= batch.amax((1, 2, 3)) + 1e-6).all()


def test_the_digit_is_still_the_digit(batch: Tensor) -> None:
    """The ink neither leaves the frame nor fades: its amount stays, and so does most of its place."""
    moved = Augmentation(shift_px=1)(batch, generator())
    ink, moved_ink = batch.sum((1, 2, 3)), moved.sum((1, 2, 3))
    assert ((moved_ink / ink) > 0.6).all()
    assert ((moved_ink / ink) < 1.6).all()
    blurred, moved_blurred = (torch.nn.functional.avg_pool2d(x, 7) for x in (batch, moved))
    likeness = torch.nn.functional.cosine_similarity(blurred.flatten(1), moved_blurred.flatten(1))
    assert likeness.min() > 0.8


def test_shift_is_in_pixels() -> None:
    dot = torch.zeros(200, 1, 28, 28)
    dot[:, :, 14, 14] = 1
    moved = Augmentation(rotation_deg=0, scale=0, shear=0, shift_px=3, elastic_px=0)(dot, generator())
    rows = moved.sum(3).squeeze(1) @ torch.arange(28.0) / moved.sum((1, 2, 3))
    assert (rows - 14).abs().max() == pytest.approx(3, abs=0.2)


def test_the_generator_decides(batch: Tensor) -> None:
    first, again, other = (Augmentation()(batch, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_neighbours_are_merged_as_pooling_does_it() -> None:
    images = torch.rand(3, 1, 5, 7, generator=generator())
    pool = torch.nn.functional
    assert torch.equal(_merge_neighbours(images, torch.maximum), pool.max_pool2d(images, 3, 1, 1))
    assert torch.equal(_merge_neighbours(images, torch.minimum), -pool.max_pool2d(-images, 3, 1, 1))
    assert torch.allclose(_merge_neighbours(images, torch.add) / 9, pool.avg_pool2d(images, 3, 1, 1))


def test_the_wobble_is_a_smooth_surface_through_its_knots() -> None:
    knots = torch.randn(2, 2, 6, 6, generator=generator())
    surface = torch.nn.functional.interpolate(knots, (28, 20), mode="bicubic", align_corners=True)
    assert torch.allclose(_curve(28, 6) @ knots @ _curve(20, 6).T, surface, atol=1e-5)


def test_fading_takes_ink_and_greys_paper() -> None:
    images = torch.zeros(200, 1, 28, 28)
    images[:, :, 10:18, 10:18] = 1
    faded = fade(images, torch.Generator().manual_seed(0))
    assert torch.equal(faded, fade(images, torch.Generator().manual_seed(0)))
    assert 0 <= float(faded.min()) <= float(faded.max()) <= 1
    ink, paper = faded[:, 0, 14, 14], faded[:, 0, 2, 2]
    assert (ink > paper - 0.7).all()
    assert float(ink.min()) < 0.4 < 0.9 < float(ink.max())
    assert float(paper.min()) < 0.05
    assert float(paper.max()) > 0.4
