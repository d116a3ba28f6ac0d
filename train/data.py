"""What a dataset is, and which of its images are held out. Where the images come from: train/datasets.py."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

VALIDATION_SHARE = 12  # one in twelve: 5,000 of MNIST's 60,000
VALIDATION_SEED = 0  # whatever a run's seed: runs can be compared, and no teacher has learned what its student is judged by


class Images(NamedTuple):
    """Pictures with their classes: images (n, side, side) uint8, light ink on black, framed; labels (n,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> Images:
        return Images(self.images[index], self.labels[index])


class Origin(NamedTuple):
    """Where a dataset comes from, in words for the model's card. `split`: who decided what is trained on and what is not."""

    name: str
    title: str = ""
    source: str = ""
    licence: str = ""
    split: str = ""


class Dataset(NamedTuple):
    """A dataset: what may be trained on, and what is looked at once at the end.

    `validation` is None where a random share of `train` is to be held out, see split(); it is given where chance would leak,
    as between the images of one writer.
    """

    train: Images
    test: Images
    class_names: tuple[str, ...]
    validation: Images | None = None
    origin: Origin = Origin("unnamed")

    @property
    def side(self) -> int:
        """The side of each image, in pixels."""
        return self.train.images.shape[-1]


def checksums(dataset: Dataset) -> dict[str, str]:
    """SHA-256 of each part of a dataset: its images, then its labels."""
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    return {name: _checksum(part) for name, part in parts.items() if part is not None}


def _checksum(part: Images) -> str:
    digest = hashlib.sha256(part.images.contiguous().numpy().tobytes())
    digest.update(part.labels.numpy().tobytes())
    return digest.hexdigest()


class Split(NamedTuple):
    """Indices into the training images; no index is in both."""

    train: Tensor
    validation: Tensor


def split(count: int) -> Split:
    """Hold a random twelfth of `count` images out for validation: always the same ones, whatever the run's seed."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(VALIDATION_SEED))
    held_out = max(1, count // VALIDATION_SHARE)
    return Split(train=order[held_out:].sort().values, validation=order[:held_out].sort().values)


def data_folder(folder: Path | None = None) -> Path:
    """`folder`, else $DIGITSERVE_DATA, else the cache folder."""
    return folder or Path(os.environ.get("DIGITSERVE_DATA") or cache_folder())


def cache_folder() -> Path:
    """Where downloads and derived images are kept: $XDG_CACHE_HOME/digitserve, else ~/.cache/digitserve."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "digitserve"
