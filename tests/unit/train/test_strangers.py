from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from train.data import Dataset, Images
from train.strangers import KINDS, LOOK_LIKE_DIGITS, crowd, foreign_letters, load_strangers, make_strangers


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
    monkeypatch.setattr("train.strangers.make_strangers", lambda *arguments: pytest.fail("made twice"))
    assert torch.equal(load_strangers(few, tmp_path), made)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_letters_that_look_like_digits_are_left_out() -> None:
    names = ("A", "B", "O", "X")
    assert {"B", "O"} <= LOOK_LIKE_DIGITS
    images = torch.arange(8, dtype=torch.uint8).view(8, 1, 1)
    train = Images(images, torch.tensor([0, 1, 2, 3, 3, 2, 1, 0]))
    letters = Dataset(train, train, names)
    assert foreign_letters(letters).flatten().tolist() == [0, 3, 4, 7]
