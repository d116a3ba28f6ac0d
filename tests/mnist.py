"""MNIST's own file format, read in a few lines (http://yann.lecun.com/exdb/mnist/ describes it)."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Digits(NamedTuple):
    """Images (n, 28, 28) uint8, light ink on black, and their labels (n,) uint8."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def find_raw(folder: Path) -> Path | None:
    """The folder with the test set's files, packed or not; None if they aren't there."""
    raw = folder / "MNIST" / "raw"
    return raw if any(raw.glob("t10k-images-idx3-ubyte*")) else None


def read_digits(raw: Path) -> Digits:
    return Digits(_read_idx(raw / "t10k-images-idx3-ubyte"), _read_idx(raw / "t10k-labels-idx1-ubyte"))


def _read_idx(path: Path) -> NDArray[np.uint8]:
    content = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(path.name + ".gz").read_bytes())
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4).tolist()
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
