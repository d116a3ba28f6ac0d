"""From what is named on the command line to image files: folders are searched through, globs are expanded."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# The formats that a server reads. A file that is named by itself is sent whatever its name.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"})
STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image to read, or the reason why there is none."""

    name: str
    problem: str = ""

    def read(self) -> bytes:
        """Raises OSError."""
        if self.problem:
            raise OSError(self.problem)
        return sys.stdin.buffer.read() if self.name == STANDARD_INPUT else Path(self.name).read_bytes()


def find_images(names: Iterable[str]) -> list[ImageFile]:
    """The images that are meant, in the order named, those of a folder or a glob sorted."""
    return [file for name in names for file in _find(name)]


def _find(name: str) -> Iterator[ImageFile]:
    path = Path(name)
    if name == STANDARD_INPUT or path.is_file():
        yield ImageFile(name)
    elif path.is_dir():
        yield from _search(path, name)
    elif glob.has_magic(name):
        yield from _expand(name)
    else:
        yield ImageFile(name, "no such file")


def _search(folder: Path, name: str) -> Iterator[ImageFile]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    yield from (ImageFile(str(path)) for path in found)
    if not found:
        yield ImageFile(name, f"no image in this folder: looked for {', '.join(sorted(SUFFIXES))}")


def _expand(pattern: str) -> Iterator[ImageFile]:
    matches = sorted(glob.glob(pattern, recursive=True))
    for match in matches:
        yield from _search(Path(match), match) if Path(match).is_dir() else [ImageFile(match)]
    if not matches:
        yield ImageFile(pattern, "no file matches")
