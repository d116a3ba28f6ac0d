"""A tiny dataset of printed digits, so that training is tested without MNIST, and in seconds."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from train.data import Dataset, Images


def printed_dataset() -> Dataset:
    return Dataset(print_digits(120, seed=1), print_digits(40, seed=2), tuple("0123456789"))


def print_digits(count: int, seed: int) -> Images:
    """Printed digits at slightly different places: (count, 28, 28) uint8 and their labels."""
    random = np.random.default_rng(seed)
    font = ImageFont.load_default(22)
    images = np.zeros((count, 28, 28), np.uint8)
    for row in range(count):
        picture = Image.new("L", (28, 28))
        left, top = random.integers(-2, 3, 2)
        ImageDraw.Draw(picture).text((left + 8, top), str(row % 10), fill=255, font=font)
        images[row] = np.asarray(picture)
    return Images(torch.from_numpy(images), torch.arange(count) % 10)


def write_data_folder(folder: Path, dataset: Dataset) -> Path:
    """Write a data folder as torchvision leaves it."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, part in (("train", dataset.train), ("t10k", dataset.test)):
        write_idx(raw / f"{prefix}-images-idx3-ubyte", part.images.numpy())
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", part.labels.numpy().astype(np.uint8))
    return folder


def write_idx(path: Path, values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    """Write an array in MNIST's own file format."""
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.tobytes())
