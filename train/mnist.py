"""MNIST through torchvision: 60,000 and 10,000 digits of 28 x 28.

A data folder may be read-only and hold only the four published .gz files: they are then checked and unpacked into the
cache folder, without a network. An empty folder is filled by torchvision's download.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError

from torchvision.datasets import MNIST
from torchvision.datasets.utils import check_integrity

from train.data import Dataset, Images, Origin, cache_folder, data_folder
from train.errors import DataError

ARCHIVES: Mapping[str, str] = dict(MNIST.resources)  # file name -> md5
ORIGIN = Origin(
    name="mnist",
    title="MNIST",
    source="http://yann.lecun.com/exdb/mnist/ (LeCun, Cortes, Burges), through torchvision",
    licence="CC BY-SA 3.0, as usually stated",
    split="as published: 60,000 to train on, 10,000 to test; one in twelve of the former held out for validation",
)


def load_mnist(folder: Path | None = None) -> Dataset:
    """Read MNIST from `folder`, else $DIGITSERVE_DATA, else the cache folder, downloading it there when absent.

    Raises:
        DataError: it is not there and can't be downloaded, or a file is damaged.
    """
    root = prepare_mnist(data_folder(folder))
    return Dataset(_read(root, train=True), _read(root, train=False), tuple("0123456789"), origin=ORIGIN)


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
    """Let torchvision fetch the archives and unpack them into `root`; where it can't, nothing is left of the attempt."""
    raw = root / "MNIST" / "raw"
    new = [folder for folder in (raw, raw.parent, root) if not folder.exists()]
    try:
        MNIST(root, download=True)
    except (RuntimeError, URLError, OSError) as error:
        for folder in new:
            with suppress(OSError):  # not empty: what has come already is good for the next attempt
                folder.rmdir()
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
