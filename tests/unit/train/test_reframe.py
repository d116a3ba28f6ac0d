from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import PIL
import pytest
import torch

import train.reframe
from server.preprocess import is_framed
from train.data import Dataset
from train.reframe import SOURCES, load_reframed, reframe


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


def test_another_shape_of_the_same_bytes_is_other_copies(tmp_path: Path) -> None:
    for shape in ((4, 28, 28), (1, 56, 56)):
        assert load_reframed(torch.zeros(shape, dtype=torch.uint8), tmp_path, progress=False).shape == shape


@pytest.mark.parametrize("library", [np, PIL], ids=["numpy", "Pillow"])
def test_another_library_makes_other_copies(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: Any
) -> None:
    load_reframed(digits.train.images[:4], tmp_path, progress=False)
    monkeypatch.setattr(library, "__version__", "0")
    load_reframed(digits.train.images[:4], tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("place", range(len(SOURCES)), ids=[Path(source).name for source in SOURCES])
def test_other_code_makes_other_copies(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    load_reframed(digits.train.images[:4], tmp_path / "cache", progress=False)
    changed = tmp_path / "changed.py"
    changed.write_bytes(Path(SOURCES[place]).read_bytes() + b"# changed")
    monkeypatch.setattr(train.reframe, "SOURCES", (*SOURCES[:place], str(changed), *SOURCES[place + 1 :]))
    load_reframed(digits.train.images[:4], tmp_path / "cache", progress=False)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_the_code_that_decides_is_the_code_that_runs(digits: Dataset) -> None:
    """Whatever module of ours a copy passes through must be in the fingerprint, and nothing else need be."""
    seen: set[str] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        seen.add(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        for number, image in enumerate(digits.train.images[:20].numpy()):
            reframe(image, np.random.default_rng(number))
    finally:
        sys.setprofile(before)
    root = Path(train.reframe.__file__).parents[1]
    ours = {path for path in seen if Path(path).parent in (root / "train", root / "server")}
    assert ours == set(SOURCES)


def test_sharing_the_work_out_changes_nothing(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = digits.train.images[:12]
    alone = load_reframed(images, tmp_path / "alone", progress=False)
    monkeypatch.setattr(train.reframe, "CHUNK", 5)
    torch.set_num_threads(2)
    assert torch.equal(load_reframed(images, tmp_path / "shared", progress=False), alone)
