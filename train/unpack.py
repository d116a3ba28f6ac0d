"""`python -m train unpack`: any dataset out as image files, to be looked at or used by another program.

<folder>/<part>/<class>/<number>.png   part: train, validation (where the dataset has one of its own) or test
<folder>/labels.csv                    file, label, split: what each file shows, whatever its folder had to be called
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from train.command import conclude
from train.data import Dataset, Images
from train.datasets import load_dataset
from train.errors import DataError

SUMMARY = "write a dataset out as PNG files with a labels file"
PUNCTUATION = frozenset("-_ ()")  # what may stand in a folder's name everywhere, beside letters and digits


def main(arguments: Sequence[str]) -> int:
    """Run the command. Returns the exit status; what goes wrong is one line on stderr."""
    options = build_parser().parse_args(arguments)
    return conclude("train unpack", lambda: run(options), interrupted=lambda: "nothing was unpacked")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train unpack", description=SUMMARY)
    parser.add_argument("dataset", help="as for training: mnist, folder:PATH, mixes joined by +")
    parser.add_argument("output", type=Path, help="the folder to write; it must be new or empty")
    parser.add_argument("--data", type=Path, help="folder with the data (default: $DIGITSERVE_DATA, else a cache folder)")
    return parser


def run(options: argparse.Namespace) -> None:
    """Check the place, load, write."""
    check_target(options.output)
    count = unpack(load_dataset(options.dataset, options.data), options.output)
    print(f"unpacked {count:,} images into {options.output}")


def check_target(folder: Path) -> None:
    """Refuse a folder that holds something, before any work is done."""
    if folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty: nothing was unpacked into it")
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file, not a folder")


def unpack(dataset: Dataset, folder: Path) -> int:
    """Write a dataset into `folder`, under a temporary name first. Returns the number of images.

    Raises:
        DataError: the disk is full, or the place can't be written.
    """
    partial = folder.absolute().with_name(f"{folder.absolute().name}.{os.getpid()}.part")
    try:
        partial.mkdir(parents=True)
        rows = _write_parts(dataset, partial)
        partial.replace(folder)
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return rows


def folder_name(class_name: str) -> str:
    """A class name as a folder's: whatever could mean something to a file system becomes %XX, as in addresses."""
    safe = "".join(_escape(sign) for sign in class_name)
    if safe != safe.strip():  # some systems drop a blank at the end
        safe = safe.replace(" ", "%20")
    return safe or "%"


def _escape(sign: str) -> str:
    if sign.isalnum() or sign in PUNCTUATION:
        return sign
    return "".join(f"%{byte:02X}" for byte in sign.encode(errors="surrogatepass"))


def _write_parts(dataset: Dataset, folder: Path) -> int:
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    present = {split: images for split, images in parts.items() if images is not None}
    with (folder / "labels.csv").open("w", encoding="utf-8", errors="backslashreplace", newline="") as sink:
        table = csv.writer(sink)
        table.writerow(["file", "label", "split"])
        for split, images in present.items():
            written = _write_images(images, dataset.class_names, folder / split)
            table.writerows([f"{split}/{file}", label, split] for file, label in written)
    return sum(len(images) for images in present.values())


def _write_images(images: Images, class_names: Sequence[str], folder: Path) -> list[tuple[str, str]]:
    """Write one part; returns each file, relative to `folder`, with its class. A file's number is its place in the part."""
    for name in class_names:
        (folder / folder_name(name)).mkdir(parents=True, exist_ok=True)
    written = []
    pairs = zip(images.images.numpy(), images.labels.tolist(), strict=True)
    for number, (image, label) in enumerate(tqdm(pairs, total=len(images), desc=folder.name, unit="image", disable=None)):
        name = class_names[label]
        file = f"{folder_name(name)}/{number:06}.png"
        Image.fromarray(image).save(folder / file)
        written.append((file, name))
    return written
