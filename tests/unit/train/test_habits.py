from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from train.data import Dataset
from train.datasets import add_extra
from train.habits import COUNT, FORMS, Stroke, draw_digit, four, load_habits, one, seven


@pytest.fixture(scope="module")
def habits() -> Dataset:
    return load_habits()


def test_they_are_framed_and_named_as_digits_are(habits: Dataset) -> None:
    assert (len(habits.train) + len(habits.test), habits.side) == (COUNT, 28)
    assert habits.class_names == ("1", "4", "7")
    for images in (habits.train.images, habits.test.images):
        assert images.dtype == torch.uint8
        assert int(images.flatten(1).amax(1).min()) > 200


def test_no_two_are_alike_and_they_are_the_same_ones_every_time(habits: Dataset) -> None:
    images = torch.cat((habits.train.images, habits.test.images))
    assert len({image.tobytes() for image in images.numpy()}) == COUNT
    again = load_habits()
    assert torch.equal(again.train.images, habits.train.images)
    assert torch.equal(again.test.labels, habits.test.labels)


def test_they_go_among_the_training_digits(habits: Dataset, digits: Dataset) -> None:
    more = add_extra(digits, habits)
    assert len(more.train) - len(digits.train) > COUNT - len(digits.train) / 2  # less what is held out of the digits
    assert torch.equal(more.test.images, digits.test.images)


def is_wide(strokes: list[Stroke]) -> bool:
    """Whether what is on top, left of the stem's head, is a bar rather than a flag."""
    *_, head, _ = strokes[0]
    return head[0] - strokes[0][-3][0] > 0.4


@pytest.mark.parametrize(("form", "wide"), [(one, False), (seven, True)])
def test_a_flag_is_short_and_a_bar_is_long(form: Callable[[np.random.Generator], list[Stroke]], wide: bool) -> None:
    random = np.random.default_rng(1)
    assert {is_wide(form(random)) for _ in range(200)} == {wide}


def test_some_sevens_are_crossed_some_ones_stand_on_a_base_and_some_fours_are_open() -> None:
    random = np.random.default_rng(1)
    assert {len(seven(random)) for _ in range(20)} == {1, 2}
    assert {len(one(random)) for _ in range(20)} == {1, 2}
    starts = [(across[0], stem[0]) for across, stem in (four(random) for _ in range(20))]
    assert {start == top for start, top in starts} == {True, False}


@pytest.mark.parametrize("form", [form for _, form in FORMS])
def test_every_one_is_drawn_in_the_frame(form: Callable[[np.random.Generator], list[Stroke]]) -> None:
    pixels = draw_digit(form, np.random.default_rng(2))
    assert pixels.shape == (28, 28)
    assert not pixels[:2].any()
