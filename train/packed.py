"""A folder of pictures packed into one HDF5 file: framed, compressed, and checked when it is read.

images   (n, side, side) uint8, gzip, with a checksum for each chunk
labels   (n,) int64, indices into class_names
attributes: format, class_names, side, framing (which version of the framing routine the images went through)
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch

from train.data import Images
from train.errors import DataError
from train.framing import framing_version

FORMAT = "digitserve-packed-1"
CHUNK = 256  # images that are compressed together


class Collection(NamedTuple):
    """Labelled images (n, side, side) that nobody has split yet into what is trained on and what is held out."""

    images: Images
    class_names: tuple[str, ...]


def write_packed(path: Path, collection: Collection) -> None:
    """Write a file under a temporary name and rename it, so that `path` is always whole.

    Raises:
        DataError: the disk is full, or the place can't be written.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        # HDF5 can't say cleanly that a disk is full, so it writes to memory and Python to the disk.
        partial.write_bytes(_pack(collection))
        partial.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def read_packed(path: Path) -> Collection:
    """Read what write_packed() wrote. One line on stderr says if the framing has changed since.

    Raises:
        DataError: there is no such file, or it is damaged or something else.
    """
    try:
        with h5py.File(path, "r") as file:
            version = file.attrs.get("format")
            if version != FORMAT:
                raise ValueError(f"its format is {version!r}, not {FORMAT!r}")
            collection, framing = _unpack(file), file.attrs["framing"]
    except FileNotFoundError as error:
        raise DataError(f"no packed folder at {path}") from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is no packed folder, or a damaged one: {reason}") from error
    if framing != framing_version():
        print(f"note: the images in {path} were framed by another version; pack the folder again to train on what is served",
              file=sys.stderr)  # fmt: skip
    return collection


def _pack(collection: Collection) -> bytes:
    images, labels = (part.numpy() for part in collection.images)
    with h5py.File("packed", "w", driver="core", backing_store=False) as file:
        chunk = (min(CHUNK, len(images)), *images.shape[1:])
        file.create_dataset("images", data=images, chunks=chunk, compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("labels", data=labels, chunks=(len(labels),), compression="gzip", fletcher32=True)
        file.attrs["format"] = FORMAT
        file.attrs["class_names"] = list(collection.class_names)
        file.attrs["side"] = images.shape[-1]
        file.attrs["framing"] = framing_version()
        file.flush()
        return bytes(file.id.get_file_image())


def _unpack(file: h5py.File) -> Collection:
    images, labels = np.asarray(file["images"]), np.asarray(file["labels"])
    names, side = tuple(str(name) for name in file.attrs["class_names"]), int(file.attrs["side"])
    if images.dtype != np.uint8 or images.shape != (len(labels), side, side) or labels.dtype != np.int64:
        raise ValueError(f"images of shape {images.shape} do not go with {len(labels)} labels and side {side}")
    if not len(labels) or labels.min() < 0 or labels.max() >= len(names) or len(set(names)) < len(names):
        raise ValueError(f"its labels do not go with {len(names)} class names")
    return Collection(Images(torch.from_numpy(images), torch.from_numpy(labels)), names)
