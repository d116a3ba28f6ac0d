"""`python -m train pack`: a folder of pictures into one HDF5 file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from server.preprocess import SIZE
from train.command import conclude
from train.errors import DataError
from train.folder import read_folder
from train.packed import write_packed

SUMMARY = "pack a folder of pictures, one sub-folder a class, into one HDF5 file"
LARGEST_SIDE = 512  # the server decodes pictures no larger


def main(arguments: Sequence[str]) -> int:
    """Run the command. Returns the exit status; what goes wrong is one line on stderr."""
    options = build_parser().parse_args(arguments)
    return conclude("train pack", lambda: run(options), interrupted=lambda: "nothing was packed")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train pack", description=SUMMARY)
    parser.add_argument("folder", type=Path, help="one sub-folder for each class, with photos or scans in it")
    parser.add_argument("output", type=Path, help="the file to write; then train with --dataset folder:OUTPUT")
    parser.add_argument("--side", type=int, default=SIZE, help=f"pixels a side of the framed images (default: {SIZE})")
    parser.add_argument("--force", action="store_true", help="replace a file that is there already")
    return parser


def run(options: argparse.Namespace) -> None:
    """Check the place, frame the pictures, write the file."""
    if options.output.exists() and not options.force:
        raise DataError(f"{options.output} exists already; --force replaces it")
    if options.output.exists() and not options.output.is_file():
        raise DataError(f"{options.output} is no regular file, which is all that --force replaces")
    if not options.output.absolute().parent.is_dir():
        raise DataError(f"cannot write {options.output}: no folder at {options.output.parent}")
    if not 8 <= options.side <= LARGEST_SIDE:
        raise DataError(f"--side must be within 8 and {LARGEST_SIDE}, not {options.side}")
    if not options.folder.is_dir():
        raise DataError(f"no folder at {options.folder}")
    collection = read_folder(options.folder, options.side)
    write_packed(options.output, collection)
    count, size_bytes = len(collection.images), options.output.stat().st_size
    classes = len(collection.class_names)
    of = "1 class" if classes == 1 else f"{classes} classes"  # one is no dataset, but it can be added to one: --extra
    print(f"packed {count:,} images of {of} into {options.output} ({size_bytes:,} bytes)")
