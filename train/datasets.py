"""Datasets by name: what `--dataset` and `--extra` mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from train.data import Dataset
from train.errors import DataError
from train.mnist import load_mnist

Loader = Callable[[Path | None], Dataset]
LOADERS: Mapping[str, Loader] = {"mnist": load_mnist}


def load_dataset(name: str, folder: Path | None = None) -> Dataset:
    """Read a dataset.

    Args:
        name: one of LOADERS.
        folder: where data lies; else $DIGITSERVE_DATA, else the cache folder.

    Raises:
        DataError: there is no such dataset, or it can't be had, or a file of it is damaged.
    """
    if name not in LOADERS:
        raise DataError(f"dataset {name!r} is unknown; there are: {', '.join(LOADERS)}")
    return LOADERS[name](folder)
