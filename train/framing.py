"""Pictures of any kind as the server would show them to a network: through its own decoding and framing, on all cores.

Framing takes milliseconds an image and there are tens of thousands of them, so the result is kept in the cache folder under a
fingerprint of everything that it depends on: the pictures, the code, and the libraries that calculate.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import PIL
from numpy.typing import NDArray
from tqdm import tqdm

import server.blots
import server.decode
import server.paper
import server.preprocess
import server.ruling
from server.cores import count_cores
from server.decode import decode, open_image
from server.errors import InvalidImage
from server.preprocess import frame, is_framed
from train.archive import read_archive
from train.errors import DataError

CHUNK = 250  # pictures that one worker process takes at a time
MAX_FILE_BYTES = 64 * 1024 * 1024  # as the server's own limit for a message
BLANK = "it is blank: there is no ink in it"

# The code that a picture passes through on its way.
FRAMING = (server.preprocess.__file__, server.paper.__file__, server.ruling.__file__, server.blots.__file__)
SOURCES = (__file__, server.decode.__file__, *FRAMING)

Grey: TypeAlias = NDArray[np.uint8]
Pictures: TypeAlias = Grey | Sequence[Path]  # (n, h, w) uint8, or files


class Frames(NamedTuple):
    """What became of n pictures.

    Attributes:
        pixels: (n, side, side) uint8, light ink on black; black where there is a problem.
        problems: for each picture, why there is no frame of it; empty if there is one.
    """

    pixels: Grey
    problems: tuple[str, ...]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(n,): which pictures have a frame."""
        return np.array([not problem for problem in self.problems], bool)


def frame_all(pictures: Pictures, side: int, cache: Path, *, progress: bool = True) -> Frames:
    """Frames pictures, or reads their frames from `cache` if the same routine framed them before.

    Args:
        pictures: (n, h, w) uint8, or image files of any size and format that the server takes.
        side: of the frames, in pixels.
        cache: the folder where frames are kept.
        progress: show a bar, if there is a terminal to show it on.

    Raises:
        DataError: a worker process was killed.
        OSError: the cache can't be written.
    """
    path = cache / f"framed-{_fingerprint(pictures, side)}.npz"
    known = _load(path)
    if known is None:
        known = _frame_all(pictures, side, progress=progress)
        _save(path, known)
    return known


def frame_picture(grey: Grey, side: int) -> tuple[Grey, str]:
    """One picture's frame, and why it has none. As the server does by default, what is framed already is left as it is."""
    if grey.shape == (side, side) and grey.any() and is_framed(grey[None])[0]:
        return grey, ""
    framed = frame(grey, size=side)
    return framed.pixels, BLANK if framed.blank else ""


def frame_file(path: Path, side: int) -> tuple[Grey, str]:
    """One file's frame, and why it has none."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return _nothing(side), f"it is larger than {MAX_FILE_BYTES:,} bytes"
        return frame_picture(decode(open_image(path.read_bytes())).grey, side)
    except InvalidImage as error:
        return _nothing(side), error.message
    except OSError as error:
        return _nothing(side), error.strerror or type(error).__name__


def framing_version() -> str:
    """Stands for the routine: other code or other libraries, other hex digits."""
    digest = hashlib.sha256(repr((np.__version__, PIL.__version__)).encode())
    for source in SOURCES:
        digest.update(Path(source).read_bytes())
    return digest.hexdigest()[:16]


def _frame_all(pictures: Pictures, side: int, *, progress: bool) -> Frames:
    hidden = None if progress else True  # None: shown on a terminal only
    chunks = [pictures[first : first + CHUNK] for first in range(0, len(pictures), CHUNK)]
    pixels, problems = [np.empty((0, side, side), np.uint8)], list[str]()
    with tqdm(total=len(pictures), desc="framing as the server does", unit="image", disable=hidden) as bar:
        for framed in _on_all_cores(chunks, side):
            pixels.append(framed.pixels)
            problems += framed.problems
            bar.update(len(framed.problems))
    return Frames(np.concatenate(pixels), tuple(problems))


def _on_all_cores(chunks: list[Pictures], side: int) -> Iterator[Frames]:
    workers = min(len(chunks), count_cores())
    sides = [side] * len(chunks)
    if workers <= 1:
        yield from map(_frame_chunk, chunks, sides)
        return
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_leave_interrupts) as pool:
            yield from pool.map(_frame_chunk, chunks, sides)
    except BrokenProcessPool as error:
        raise DataError("framing was cut short: a worker process was killed, perhaps for want of memory") from error


def _frame_chunk(pictures: Pictures, side: int) -> Frames:
    framed = [frame_file(one, side) if isinstance(one, Path) else frame_picture(one, side) for one in pictures]
    return Frames(np.stack([pixels for pixels, _ in framed]), tuple(problem for _, problem in framed))


def _leave_interrupts() -> None:
    """Ctrl-C reaches the whole process group; only the parent answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _nothing(side: int) -> Grey:
    return np.zeros((side, side), np.uint8)


def _fingerprint(pictures: Pictures, side: int) -> str:
    digest = hashlib.sha256(f"{framing_version()} {side} {len(pictures)}".encode())
    if isinstance(pictures, np.ndarray):
        digest.update(f"{pictures.shape} {pictures.dtype}".encode())
        digest.update(np.ascontiguousarray(pictures).tobytes())
    else:
        for path in pictures:
            digest.update(_checksum(path))
    return digest.hexdigest()[:16]


def _checksum(path: Path) -> bytes:
    """Of a file's content; one that can't be read has one of its own, so that it is tried again when it can."""
    try:
        with path.open("rb") as source:
            return hashlib.file_digest(source, "sha256").digest()
    except OSError as error:
        return f"unreadable {error.errno}".encode().ljust(32)


def _load(path: Path) -> Frames | None:
    """The frames at `path`; None if there are none, or damaged ones, which are made again."""
    try:
        pixels, problems = read_archive(path, "pixels", "problems")
    except DataError:
        return None
    return Frames(pixels, tuple(problems.tolist()))


def _save(path: Path, frames: Frames) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as sink:
            np.savez(sink, pixels=frames.pixels, problems=np.array(frames.problems, np.str_))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
