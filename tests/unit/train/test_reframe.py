from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import train.reframe
from server.preprocess import is_framed
from train.data import Dataset
from train.reframe import load_reframed, reframe


def test_copies_look_as_the_server_frames_them(digits: Dataset) -> None:
    images = digits.train.images[:20].numpy()
    copies = np.stack([reframe(image, np.random.default_rng(i)) for i, image in enumerate(images)])
    assert copies.dtype == np.uint8
    assert copies.shape == images.shape
    assert np.mean(is_framed(copies)) >= 0.9
    # Light ink on black, whichever way it was turned on the way.
    assert (copies[:, 0].mean(axis=1) < 32).all()


def test_a_blank_image_stays_what_it_was() -> None:
    blank = np.zeros((28, 28), np.uint8)
    assert not reframe(blank, np.random.default_rng(0)).any()


def test_copies_are_made_once(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = digits.train.images[:10]
    first = load_reframed(images, tmp_path, progress=False)
    monkeypatch.setattr(train.reframe, "reframe", None)
    assert torch.equal(load_reframed(images, tmp_path, progress=False), first)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_other_images_are_other_copies(digits: Dataset, tmp_path: Path) -> None:
    load_reframed(digits.train.images[:4], tmp_path, progress=False)
    load_reframed(digits.train.images[4:8], tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 2


def test_sharing_the_work_out_changes_nothing(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = digits.train.images[:12]
    alone = load_reframed(images, tmp_path / "alone", progress=False)
    monkeypatch.setattr(train.reframe, "CHUNK", 5)
    torch.set_num_threads(2)
    assert torch.equal(load_reframed(images, tmp_path / "shared", progress=False), alone)
