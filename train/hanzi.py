"""The 15 handwritten Chinese numerals of Chinese MNIST: 15,000 images of 64 x 64 by 100 writers, framed as the server frames.

It can't be downloaded without an account, so it is read from where it was put: one .npz file, or the folder of JPEG files
that Kaggle hands out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from train.archive import read_archive
from train.data import Dataset, Images, Origin, cache_folder, data_folder
from train.errors import DataError
from train.framing import Frames, Pictures, frame_all

SIDE = 28  # of the frames, in pixels
CLASS_NAMES = tuple("零一二三四五六七八九十百千万亿")
ARCHIVE = Path("ChineseMNIST", "chinese_mnist.npz")  # in the data folder
FILES = Path("ChineseMNIST", "data")  # likewise: Kaggle's input_<suite>_<sample>_<code>.jpg
FILE_NAME = re.compile(r"input_(\d+)_(\d+)_(\d+)\.jpg")

LAST_TRAIN_WRITER, LAST_VALIDATION_WRITER = 80, 90  # the writers after them are the test

# Images whose published label is wrong, by writer, sample and published class. They are neither trained on nor validated
# with; the test set stays as it was published, so that figures can be compared.
MISLABELLED: Mapping[tuple[int, int, str], str] = {
    (48, 2, "万"): "shows 亿: the two were swapped",
    (48, 2, "亿"): "shows 万: the two were swapped",
    (53, 4, "十"): "looks like 千",
    (86, 3, "八"): "shows 百",
}
ORIGIN = Origin(
    name="hanzi",
    title="Chinese MNIST",
    source="https://www.kaggle.com/datasets/gpreda/chinese-mnist (K. Nazarpour, M. Chen; Newcastle University)",
    licence="none could be confirmed",
    split=f"by writer: 1-{LAST_TRAIN_WRITER} to train on, {LAST_TRAIN_WRITER + 1}-{LAST_VALIDATION_WRITER} for validation, "
    f"{LAST_VALIDATION_WRITER + 1}-100 to test; {len(MISLABELLED)} images with wrong labels left out of the first two",
)


class Samples(NamedTuple):
    """The published images, in any order: n pictures, with the class, the writer and the writer's sample of each, (n,)."""

    pictures: Pictures
    labels: NDArray[np.int64]
    writers: NDArray[np.int64]
    samples: NDArray[np.int64]


def load_hanzi(folder: Path | None = None) -> Dataset:
    """Read Chinese MNIST from `folder`, else $DIGITSERVE_DATA, else the cache folder: (n, SIDE, SIDE), split by writer.

    Raises:
        DataError: it is not there, or a file is damaged.
    """
    root = data_folder(folder)
    found = read_samples(root)
    images = Images(torch.from_numpy(_frame(found, root).pixels), torch.from_numpy(found.labels))
    writers, wrong = torch.from_numpy(found.writers), torch.from_numpy(mislabelled(found))
    seen, unseen = writers <= LAST_TRAIN_WRITER, writers > LAST_VALIDATION_WRITER
    parts = [images.take(chosen.nonzero()[:, 0]) for chosen in (seen & ~wrong, ~seen & ~unseen & ~wrong, unseen)]
    if not all(len(part) for part in parts):
        raise DataError(f"{root / ARCHIVE.parent} holds no images of some writers: it must have those of 1 to 100")
    train, validation, test = parts
    return Dataset(_shuffled(train), test, CLASS_NAMES, validation, ORIGIN)


def read_samples(root: Path) -> Samples:
    """What was published, from the archive or from the folder of JPEG files."""
    if (root / ARCHIVE).is_file():
        return _read_packed(root / ARCHIVE)
    if (root / FILES).is_dir():
        return _read_names(root / FILES)
    raise DataError(
        f"no Chinese MNIST in {root}: expected {ARCHIVE}, or Kaggle's JPEG files in {FILES}; "
        "to get them, download the dataset gpreda/chinese-mnist from kaggle.com"
    )


def mislabelled(samples: Samples) -> NDArray[np.bool_]:
    """(n,): which images have a published label that is known to be wrong."""
    names = [CLASS_NAMES[label] for label in samples.labels]
    keys = zip(samples.writers.tolist(), samples.samples.tolist(), names, strict=True)
    return np.array([key in MISLABELLED for key in keys], bool)


def _read_packed(path: Path) -> Samples:
    images, *columns = read_archive(path, "images", "labels", "suite_id", "sample_id")
    labels, writers, samples = (column.astype(np.int64) for column in columns)
    try:
        if images.dtype != np.uint8 or images.ndim != 3 or {len(labels), len(writers), len(samples)} != {len(images)}:
            raise ValueError(f"{images.dtype} images of shape {images.shape} do not go with {len(labels)} labels")
        if not len(labels) or labels.min() < 0 or labels.max() >= len(CLASS_NAMES):
            raise ValueError(f"labels are not within 0 and {len(CLASS_NAMES) - 1}")
    except ValueError as error:
        raise DataError(f"{path} is damaged, or something else: {error}") from error
    return Samples(images, labels, writers, samples)


def _read_names(folder: Path) -> Samples:
    """Kaggle's files say in their names what they show; codes run from 1 for 零 to 15 for 亿."""
    named = [(path, match) for path in sorted(folder.iterdir()) if (match := FILE_NAME.fullmatch(path.name))]
    if not named:
        raise DataError(f"{folder} holds no file that is called input_<suite>_<sample>_<code>.jpg")
    writers, samples, codes = np.array([[int(number) for number in match.groups()] for _, match in named], np.int64).T
    if codes.min() < 1 or codes.max() > len(CLASS_NAMES):
        raise DataError(f"{folder} holds files with codes outside 1 to {len(CLASS_NAMES)}: not Chinese MNIST")
    return Samples([path for path, _ in named], codes - 1, writers, samples)


def _frame(found: Samples, root: Path) -> Frames:
    """Every image must give a frame: the set is published, and a gap in it means damage."""
    frames = frame_all(found.pictures, SIDE, cache_folder())
    for number in np.flatnonzero(~frames.usable)[:1]:
        one = found.pictures[number]
        where = one if isinstance(one, Path) else f"image {number} of {root / ARCHIVE}"
        raise DataError(f"{where} can't be used: {frames.problems[number]}")
    return frames


def _shuffled(images: Images) -> Images:
    """In one fixed order, so that the first few are of many writers; they are published writer by writer."""
    return images.take(torch.randperm(len(images), generator=torch.Generator().manual_seed(0)))
