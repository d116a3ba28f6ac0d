from __future__ import annotations

import numpy as np
import pytest

from tests.unit.train.printed import print_digits
from train.corruptions import CORRUPTIONS, STRANGERS, Corruption, Grey, corrupt, draw_strangers
from train.metrics import enlarge

NAMES = [one.name for one in CORRUPTIONS]


@pytest.fixture(scope="module")
def images() -> Grey:
    return print_digits(6, seed=3).images.numpy()


def effect(name: str) -> Corruption:
    return CORRUPTIONS[NAMES.index(name)]


def ink(images: Grey) -> float:
    return float(images.sum(dtype=np.int64))


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=NAMES)
def test_a_corruption_is_pure_and_seeded(corruption: Corruption, images: Grey) -> None:
    before = images.copy()
    first = corrupt(images, corruption, seed=1)
    assert first.shape == images.shape
    assert first.dtype == np.uint8
    assert (images == before).all(), "the original was changed"
    assert (first == corrupt(images, corruption, seed=1)).all()
    assert (first != images).any(axis=(1, 2)).all(), "an image was left as it was"
    assert (first[:3] == corrupt(images[:3], corruption, seed=1)).all(), "an image depends on its neighbours"


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=NAMES)
def test_a_drawing_suffers_what_its_frame_would(corruption: Corruption, images: Grey) -> None:
    """Noise of single pixels aside: averaged down again, a corrupted drawing is about a corrupted frame."""
    small = corrupt(images, corruption).astype(float)
    large = corrupt(enlarge(images), corruption)
    assert large.shape == (len(images), 280, 280)
    reduced = large.reshape(len(images), 28, 10, 28, 10).mean(axis=(2, 4))
    assert abs(small.mean() - reduced.mean()) < 9


@pytest.mark.parametrize("name", ["shot noise", "salt and pepper", "fog", "shear", "off-centre shift", "dotted line"])
def test_another_seed_is_another_corruption(name: str, images: Grey) -> None:
    assert (corrupt(images, effect(name), seed=1) != corrupt(images, effect(name), seed=2)).any()


def test_a_pen_gets_thinner_and_thicker(images: Grey) -> None:
    assert ink(corrupt(images, effect("stroke erosion"))) < 0.75 * ink(images)
    assert ink(corrupt(images, effect("stroke dilation"))) > 1.3 * ink(images)


def test_a_small_character_has_less_ink(images: Grey) -> None:
    assert ink(corrupt(images, effect("scale"))) == pytest.approx(0.65**2 * ink(images), rel=0.1)


def test_blur_and_turning_keep_the_ink(images: Grey) -> None:
    for name in ("blur", "rotation"):
        assert ink(corrupt(images, effect(name))) == pytest.approx(ink(images), rel=0.1)


def test_a_shift_is_four_pixels() -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 12:16, 12:16] = 255
    moved = corrupt(image, effect("off-centre shift"), seed=5)[0]
    centre = (np.indices(moved.shape) * moved).sum(axis=(1, 2)) / moved.sum(dtype=np.int64)
    assert np.linalg.norm(centre - 13.5) == pytest.approx(4, abs=0.2)


def test_a_light_is_uneven_from_side_to_side() -> None:
    lit = corrupt(np.zeros((1, 28, 28), np.uint8), effect("uneven light"))[0]
    assert int(lit.max()) - int(lit.min()) > 90
    assert abs(np.diff(lit.astype(int), axis=0)).max() < 12


@pytest.mark.parametrize("name", STRANGERS)
def test_strangers_are_seeded_pictures(name: str, images: Grey) -> None:
    first, again = ([*draw_strangers(STRANGERS[name], images, 2)] for _ in range(2))
    assert all(picture.ndim == 2 and picture.dtype == np.uint8 and picture.std() > 0 for picture in first)
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    assert first[0].shape != first[1].shape or (first[0] != first[1]).any()


def test_a_longer_scribble_has_more_ink(images: Grey) -> None:
    short, long = (sum(map(ink, draw_strangers(STRANGERS[name], images, 8))) for name in ("short scribbles", "long scribbles"))
    assert long > 2 * short
