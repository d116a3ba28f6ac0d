"""Datasets: where the images lie, and which of them are held out.

MNIST is read through torchvision. A data folder may be read-only and hold only the four published .gz files: they are
then checked and unpacked into the cache folder, without a network. An empty folder is filled by torchvision's
download.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError

import torch
from torch import Tensor
from torchvision.datasets import MNIST
from torchvision.datasets.utils import check_integrity

from train.errors import DataError

ARCHIVES: Mapping[str, str] = dict(MNIST.resources)  # file name -> md5
VALIDATION_SHARE = 12  # one in twelve: 5,000 of MNIST's 60,000


class Images(NamedTuple):
    """Pictures with their classes: images (n, h, w) uint8, light ink on black; labels (n,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> Images:
        return Images(self.images[index], self.labels[index])


class Dataset(NamedTuple):
    """A dataset as published: what may be trained on, and what is looked at once at the end."""

    train: Images
    test: Images
    class_names: tuple[str, ...]


class Split(NamedTuple):
    """Indices into the training images; no index is in both."""

    train: Tensor
    validation: Tensor


def split(count: int, seed: int) -> Split:
    """Hold a random twelfth of `count` images out for validation. The same seed holds out the same images."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held_out = max(1, count // VALIDATION_SHARE)
    return Split(train=order[held_out:].sort().values, validation=order[:held_out].sort().values)


def cache_folder() -> Path:
    """Where downloads and derived images are kept: $XDG_CACHE_HOME/digitserve, else ~/.cache/digitserve."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "digitserve"


def load_mnist(folder: Path | None = None) -> Dataset:
    """Read MNIST from `folder`, else $DIGITSERVE_DATA, else the cache folder, downloading it there when absent.

    Raises:
        DataError: it is not there and can't be downloaded, or a file is damaged.
    """
    root = prepare_mnist(folder or Path(os.environ.get("DIGITSERVE_DATA") or cache_folder()))
    return Dataset(_read(root, train=True), _read(root, train=False), tuple("0123456789"))


def prepare_mnist(root: Path, archives: Mapping[str, str] = ARCHIVES) -> Path:
    """Make MNIST readable for torchvision and return the folder to read it from: `root` itself or the cache folder."""
    raw = root / "MNIST" / "raw"
    if all((raw / Path(name).stem).is_file() for name in archives):
        return root
    if not all((raw / name).is_file() for name in archives):
        _download(root)
        return root
    target = cache_folder() / "MNIST" / "raw"
    for name, md5 in archives.items():
        _unpack(raw / name, md5, target / Path(name).stem)
    return cache_folder()


def _download(root: Path) -> None:
    """Let torchvision fetch the archives and unpack them into `root`."""
    try:
        MNIST(root, download=True)
    except (RuntimeError, URLError, OSError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"no MNIST in {root}, and it could not be downloaded there: {reason[-1]}") from error


def _unpack(archive: Path, md5: str, target: Path) -> None:
    """Unpack one checked .gz file under a temporary name first, so that a half-written file is never read."""
    if target.is_file():
        return
    if not check_integrity(archive, md5):
        raise DataError(f"{archive} is damaged: its md5 is not {md5}")
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(archive, "rb") as source, partial.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(f"cannot unpack {archive} into {target.parent}: {error}") from error


def _read(root: Path, *, train: bool) -> Images:
    try:
        published = MNIST(root, train=train)
        images, labels = published.data, published.targets
        if images.ndim != 3 or len(images) != len(labels) or not len(labels):
            raise ValueError(f"{tuple(images.shape)} images do not go with {len(labels)} labels")
    except (ValueError, AssertionError, RuntimeError, OSError) as error:
        raise DataError(f"MNIST in {root / 'MNIST' / 'raw'} is damaged ({error}): delete it to get it anew") from error
    return Images(images, labels)
