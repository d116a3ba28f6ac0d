"""Handwritten letters of EMNIST: A to Z with upper and lower case as one class, framed as the server frames.

EMNIST lays its letters out in its own way: the box is centred, not the mass, and the strokes are blurred. Of 80,022 letters the
server would take none for framed, and so would frame each before it reads it. What is trained on must be what is served.
"""

from __future__ import annotations

import string
import zipfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import EMNIST

from server.preprocess import SIZE
from train.archive import read_archive
from train.data import Dataset, Images, Origin, cache_folder, data_folder
from train.errors import DataError
from train.framing import Grey, frame_all
from train.strata import hold_out

CLASS_NAMES = tuple(string.ascii_uppercase)
ARCHIVE = Path("EMNIST", "emnist_letters.npz")  # in the data folder
TEST_SHARE = 10  # one in ten of the archive's letters of each class
SPLIT_SEED = 0  # never changed: another seed would let a model be tested with what an older one was trained on
ORIGIN = Origin(
    name="emnist-letters",
    title="EMNIST letters",
    source="https://www.nist.gov/itl/products-and-services/emnist-dataset (Cohen et al. 2017; NIST Special Database 19)",
    licence="public domain (work of the US government), as usually stated",
)
PUBLISHED_SPLIT = "as published (letters); one in twelve of the training letters held out for validation"
OWN_SPLIT = (
    f"our own, of a part of EMNIST: one in {TEST_SHARE} letters of each class to test, drawn with seed {SPLIT_SEED}; neither "
    "by writer nor the published test letters, so figures can't be compared with published ones; one in twelve of the rest "
    "for validation"
)


def load_letters(folder: Path | None = None) -> Dataset:
    """Read EMNIST's letters from `folder`, else $DIGITSERVE_DATA, else the cache folder: (n, 28, 28), 26 classes.

    The archive emnist_letters.npz is taken where there is one; else torchvision's files, downloaded when absent.

    Raises:
        DataError: it is not there and can't be downloaded, or a file is damaged.
    """
    root = data_folder(folder)
    if (root / ARCHIVE).is_file():
        letters = _framed(*_read_part(root / ARCHIVE))
        parts = hold_out(letters.labels, TEST_SHARE, SPLIT_SEED)
        train, test = letters.take(parts.train), letters.take(parts.validation)
        return Dataset(train, test, CLASS_NAMES, origin=ORIGIN._replace(split=OWN_SPLIT))
    train, test = (_framed(*_read_published(root, train=train)) for train in (True, False))
    return Dataset(train, test, CLASS_NAMES, origin=ORIGIN._replace(split=PUBLISHED_SPLIT))


def _framed(images: Grey, labels: Tensor) -> Images:
    frames = frame_all(images, SIZE, cache_folder())
    usable = torch.from_numpy(frames.usable)  # a blank letter is no letter
    return Images(torch.from_numpy(frames.pixels)[usable], labels[usable])


def _read_part(path: Path) -> tuple[Grey, Tensor]:
    images, labels = read_archive(path, "images", "labels")
    letters = torch.from_numpy(labels.astype(np.int64))
    try:
        _check(images, letters)
    except ValueError as error:
        raise DataError(f"{path} is damaged, or something else: {error}") from error
    return images, letters


def _read_published(root: Path, *, train: bool) -> tuple[Grey, Tensor]:
    """EMNIST stores every image with rows and columns exchanged, and counts its letters from 1."""
    try:
        published = EMNIST(root, split="letters", train=train, download=True)
        images, labels = published.data.transpose(1, 2).contiguous().numpy(), published.targets.long() - 1
    except (ValueError, AssertionError, RuntimeError, URLError, OSError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"no EMNIST letters in {root / 'EMNIST'}, or damaged ones, and they could not be downloaded: {reason[-1]}"
        ) from error
    try:
        _check(images, labels)
    except ValueError as error:
        raise DataError(f"EMNIST in {root / 'EMNIST' / 'raw'} is damaged ({error}): delete it to get it anew") from error
    return images, labels


def _check(images: Grey, labels: Tensor) -> None:
    if images.dtype != np.uint8 or images.ndim != 3 or len(images) != len(labels) or not len(labels):
        raise ValueError(f"{images.dtype} images of shape {images.shape} do not go with {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= len(CLASS_NAMES):
        raise ValueError(f"labels are not within {len(CLASS_NAMES)} letters")
