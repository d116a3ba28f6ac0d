"""The images that are sent: handwriting with its labels where there is some, drawn strokes otherwise."""

from __future__ import annotations

import gzip
import struct
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from digitserve.bench.settings import BenchError

SYNTHETIC = "synthetic"
SIZE = 28
IDX_UNSIGNED_BYTE = 8
MNIST_FOLDERS = ("", "raw", "MNIST/raw")
MNIST_IMAGES = "t10k-images-idx3-ubyte"
MNIST_LABELS = "t10k-labels-idx1-ubyte"


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """`pixels` is (N, height, width) uint8; `labels` is (N,) class indices, or None where nobody knows the answer.

    `class_names` is what the indices mean; where it is empty, they are those of whatever model is asked.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)


def load_images(source: str, *, seed: int = 0) -> LabelledImages:
    """Reads `source`: "synthetic", a folder that holds the MNIST test set (idx files, gzipped or not), or an .npz file
    with `images` (N, height, width) uint8 and optionally `labels` (N,). Raises BenchError if it can't be read.
    """
    if source == SYNTHETIC:
        return LabelledImages(draw_strokes(1000, seed), None)
    path = Path(source)
    if path.is_dir():
        return _read_mnist(path)
    if path.suffix == ".npz" and path.is_file():
        return _read_npz(path)
    raise BenchError(f"no images at {source}: give a folder that holds MNIST, an .npz file, or the word {SYNTHETIC}")


def draw_strokes(count: int, seed: int) -> npt.NDArray[np.uint8]:
    """(count, 28, 28) uint8: random strokes, framed as in MNIST (20 x 20, light on black, centred by mass)."""
    random = np.random.default_rng(seed)
    return np.stack([_draw_stroke(random) for _ in range(count)])


def _draw_stroke(random: np.random.Generator) -> npt.NDArray[np.uint8]:
    ink = Image.new("L", (80, 80))
    corners = random.integers(4, 76, size=(int(random.integers(3, 6)), 2))
    ImageDraw.Draw(ink).line([(int(x), int(y)) for x, y in corners], fill=255, width=9, joint="curve")
    small = np.asarray(ink.resize((20, 20), Image.Resampling.BOX))
    weights = small.astype(np.float64) / small.sum()
    top, left = (
        int(np.clip(round(SIZE / 2 - centre), 0, SIZE - 20))
        for centre in (weights.sum(1) @ np.arange(0.5, 20), weights.sum(0) @ np.arange(0.5, 20))
    )
    frame = np.zeros((SIZE, SIZE), np.uint8)
    frame[top : top + 20, left : left + 20] = small
    return frame


def _read_mnist(folder: Path) -> LabelledImages:
    pixels = read_idx(_find(folder, MNIST_IMAGES))
    labels = read_idx(_find(folder, MNIST_LABELS))
    return replace(_checked(pixels, labels.astype(np.int64), folder), class_names=tuple(map(str, range(10))))


def _find(folder: Path, name: str) -> Path:
    for below in MNIST_FOLDERS:
        for suffix in ("", ".gz"):
            path = folder / below / (name + suffix)
            if path.is_file():
                return path
    raise BenchError(f"no {name} or {name}.gz in {folder}, nor in its raw or MNIST/raw")


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """An idx file of unsigned bytes, gzipped or not, as the array that it holds. Raises BenchError if it is none."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zero, kind, dimensions = struct.unpack_from(">HBB", data)
        shape = struct.unpack_from(f">{dimensions}I", data, 4)
        if zero or kind != IDX_UNSIGNED_BYTE:
            raise BenchError(f"{path} is not an idx file of unsigned bytes")
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, struct.error, ValueError) as error:
        raise BenchError(f"can't read {path}: {error}") from error


def _read_npz(path: Path) -> LabelledImages:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            pixels = arrays["images"]
            labels = arrays["labels"].astype(np.int64) if "labels" in arrays.files else None
    except KeyError as error:
        raise BenchError(f"{path} holds no array named `images`") from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BenchError(f"can't read {path}: {error}") from error
    return _checked(pixels, labels, path)


def _checked(pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64] | None, source: Path) -> LabelledImages:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or not pixels.size:
        raise BenchError(f"{source}: images must be uint8 (N, height, width), not {pixels.dtype} {pixels.shape}")
    if labels is not None and labels.shape != (len(pixels),):
        raise BenchError(f"{source}: {len(pixels)} images, but labels of shape {labels.shape}")
    return LabelledImages(pixels, labels)
