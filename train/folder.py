"""Pictures of your own: a folder with one sub-folder for each class, or the same packed into one file.

Photos and scans may be of any size and format that the server takes: each goes through the server's own decoding and framing.
A picture that can't be used is named on stderr and skipped.
"""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import numpy as np
import torch

from server.preprocess import SIZE
from train.data import Dataset, Images, Origin, cache_folder
from train.errors import DataError
from train.framing import Frames, frame_all
from train.packed import Collection, read_packed
from train.strata import hold_out

TEST_SHARE = 10  # one in ten pictures of each class
SPLIT_SEED = 0  # never changed: another seed would let a model be tested with what an older one was trained on
SPLIT = (
    f"our own: one in {TEST_SHARE} pictures of each class to test, drawn with seed {SPLIT_SEED}; "
    "one in twelve of the rest for validation"
)


def load_folder(path: Path, side: int = SIZE) -> Dataset:
    """Read a folder or a packed one: (n, side, side), a tenth of each class held out for the test.

    Raises:
        DataError: it is not there, it is empty, or most of its pictures can't be used.
    """
    images, class_names = read_folder(path, side)
    parts = hold_out(images.labels, TEST_SHARE, SPLIT_SEED)
    name = path.resolve().name
    origin = Origin(f"folder:{name}", title=f"the folder {name}", source="pictures of one's own", split=SPLIT)
    return Dataset(images.take(parts.train), images.take(parts.validation), class_names, origin=origin)


def read_folder(path: Path, side: int = SIZE) -> Collection:
    """All pictures of a folder, framed: (n, side, side). Classes are in the order of their names.

    A packed folder has the side that it was packed with.

    Raises:
        DataError: as load_folder().
    """
    if path.is_file():
        return read_packed(path)
    files = list_files(path)
    frames = frame_all([file for file, _ in files], side, cache_folder())
    _report(path, [file for file, _ in files], frames)
    usable = frames.usable
    found = [name for (_, name), good in zip(files, usable, strict=True) if good]
    class_names = tuple(sorted(set(found)))
    for missing in sorted({_class_name(folder) for folder in _class_folders(path)} - set(class_names)):
        print(f"class {missing!r} in {path} is left out: it has no file that can be used", file=sys.stderr)
    labels = torch.from_numpy(np.searchsorted(class_names, found).astype(np.int64))
    return Collection(Images(torch.from_numpy(frames.pixels[usable]), labels), class_names)


def list_files(path: Path) -> list[tuple[Path, str]]:
    """Each file in the sub-folders of `path` with its class: the sub-folder's name. Hidden files and folders don't count."""
    if not path.is_dir():
        raise DataError(f"no folder at {path}")
    classes = _class_folders(path)
    if not classes:
        raise DataError(f"{path} has no sub-folders: one is expected for each class, named as the class")
    files = [(file, _class_name(folder)) for folder in classes for file in sorted(folder.rglob("*")) if _counts(file, folder)]
    if not files:
        raise DataError(f"the sub-folders of {path} hold no files")
    return files


def _class_folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _class_name(folder: Path) -> str:
    """One spelling for one name: file systems store an accent as part of its letter, or after it."""
    if not folder.name.isprintable():  # bytes that are no UTF-8 are not, and no name for a class could be made of them
        raise DataError(f"the name of the sub-folder {str(folder)!r} can't be a class name: it holds unprintable signs")
    return unicodedata.normalize("NFC", folder.name)


def _counts(file: Path, folder: Path) -> bool:
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)


def _report(path: Path, files: list[Path], frames: Frames) -> None:
    """Say which files are skipped and why; when they are the most, something is wrong with the folder."""
    skipped = [(file, problem) for file, problem in zip(files, frames.problems, strict=True) if problem]
    for file, problem in skipped:
        print(f"skipped {file}: {problem}", file=sys.stderr)
    if not skipped:
        return
    count = f"{len(skipped)} of {len(files)} files in {path}"
    if 2 * len(skipped) > len(files):
        raise DataError(f"{count} can't be used; the first of them is {skipped[0][0]}: {skipped[0][1]}")
    print(f"skipped {count}", file=sys.stderr)
