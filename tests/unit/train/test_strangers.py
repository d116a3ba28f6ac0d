from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from train.data import Dataset, Images
from train.errors import DataError
from train.strangers import (
    DOUBTFUL,
    KINDS,
    LOOK_LIKE_DIGITS,
    count_turns,
    crowd,
    foreign_letters,
    load_strangers,
    make_strangers,
    squiggle,
)


@pytest.fixture(scope="module")
def strangers(digits: Dataset) -> NDArray[np.uint8]:
    return make_strangers(digits.train.images.numpy(), 5 * len(KINDS))


def test_they_are_framed_as_the_characters_are(strangers: NDArray[np.uint8]) -> None:
    assert strangers.shape == (5 * len(KINDS), 28, 28)
    assert strangers.dtype == np.uint8
    assert (strangers.reshape(len(strangers), -1).max(axis=1) > 200).all()


def test_no_two_are_alike_and_the_seed_decides(strangers: NDArray[np.uint8], digits: Dataset) -> None:
    assert len({image.tobytes() for image in strangers}) == len(strangers)
    characters = digits.train.images.numpy()
    assert np.array_equal(make_strangers(characters, 7), strangers[:7])
    assert not np.array_equal(make_strangers(characters, 7, seed=1), strangers[:7])


def test_several_characters_are_several(strangers: NDArray[np.uint8]) -> None:
    for image in strangers[KINDS.index(crowd) :: len(KINDS)]:
        assert np.trim_zeros(image.max(axis=0)).size > 1.2 * np.trim_zeros(image.max(axis=1)).size


def test_they_are_made_once(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = digits.train.images[:14]
    made = load_strangers(few, tmp_path)
    assert made.shape == (14, 28, 28)
    monkeypatch.setattr("train.strangers.make_strangers", lambda *arguments, **named: pytest.fail("made twice"))
    assert torch.equal(load_strangers(few, tmp_path), made)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_letters_that_look_like_digits_are_left_out() -> None:
    names = ("A", "B", "O", "X")
    assert {"B", "O"} <= LOOK_LIKE_DIGITS
    images = torch.arange(8, dtype=torch.uint8).view(8, 1, 1)
    train = Images(images, torch.tensor([0, 1, 2, 3, 3, 2, 1, 0]))
    letters = Dataset(train, train, names)
    assert foreign_letters(letters, side=1).flatten().tolist() == [0, 3, 4, 7]
    with pytest.raises(DataError, match="the images of unnamed have 1 pixels a side, and those to learn 28"):
        foreign_letters(letters, side=28)
    with pytest.raises(DataError, match="unnamed has no character that could not be taken for a digit"):
        foreign_letters(Dataset(train, train, ("B", "O", "Z", "I")), side=1)


def test_a_squiggle_is_neither_slim_nor_plain() -> None:
    """A stroke that could be a 1 or a 7 would teach the network to doubt those."""
    random = np.random.default_rng(0)
    for _ in range(50):
        inked = squiggle(np.empty((0, 28, 28), np.uint8), random) > 100
        width, height = (int(np.ptp(np.flatnonzero(inked.any(axis=axis)))) + 1 for axis in (0, 1))
        assert min(width, height) > 0.3 * max(width, height)
        assert max(width, height) >= 55


def test_turns_are_counted_to_either_side() -> None:
    turn = np.linspace(0, 2 * np.pi, 200)[:, None]
    circle = np.hstack((np.cos(turn), np.sin(turn)))
    eight = np.concatenate((circle, [2, 0] + [-1, 1] * circle))
    assert count_turns(circle) == pytest.approx(1, abs=0.02)
    assert count_turns(eight) == pytest.approx(2, abs=0.05)
    assert count_turns(turn * [1, 2]) == pytest.approx(0, abs=1e-6)


def test_what_is_drawn_can_be_chosen(digits: Dataset, tmp_path: Path) -> None:
    few = digits.train.images[:14]
    usual, squiggles = load_strangers(few, tmp_path), load_strangers(few, tmp_path, (squiggle, squiggle), each=3)
    assert [len(usual), len(squiggles)] == [14, 6]
    assert np.array_equal(squiggles.numpy(), make_strangers(few.numpy(), 6, kinds=(squiggle,)))
    assert not torch.equal(load_strangers(few, tmp_path, DOUBTFUL), usual)
    assert [len(load_strangers(few, tmp_path, share=share)) for share in (0.5, 2.0)] == [7, 28]
