"""A second copy of every training image, as the server's own framing routine shows it to the network.

A drawing or a photo reaches the network through `server.preprocess.frame`, whose frames differ a little from MNIST's:
other stroke widths, other edges, at times another pixel of position. A network that has seen both does not care.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor
from tqdm import tqdm

import server.blots
import server.paper
import server.preprocess
import server.ruling
from server.preprocess import frame

ENLARGEMENT = 3  # one pixel of the original becomes 3 x 3: room for strokes to become thinner and thicker by fractions
STROKES = (-3, 0, 0, 3, 5)  # width of the filter that thins (below 0) or thickens a stroke, in enlarged pixels
CHUNK = 500  # images that one worker process takes at a time

# The code that a copy passes through. server/decode.py is not part of it: the images are no files, and need no decoding.
FRAMING = (server.preprocess.__file__, server.paper.__file__, server.ruling.__file__, server.blots.__file__)
SOURCES = (__file__, *FRAMING)

Grey = NDArray[np.uint8]
Chunk = tuple[int, Grey]  # the first image's number, and the images


def load_reframed(images: Tensor, cache: Path, *, progress: bool = True) -> Tensor:
    """Reframed copies of images (n, h, w) uint8, from `cache` if they were made before by the same routine."""
    originals = images.numpy()
    path = cache / f"reframed-{_fingerprint(originals)}.npy"
    if not path.is_file():
        _save(path, _reframe_all(originals, progress=progress))
    return torch.from_numpy(np.load(path))


def reframe(image: Grey, random: np.random.Generator) -> Grey:
    """Enlarge an image, change its stroke width, perhaps invert it, frame it as the server would: (h, w) -> (h, w)."""
    height, width = image.shape
    margin = ENLARGEMENT * int(random.integers(0, 8))
    large = Image.fromarray(image).resize((width * ENLARGEMENT, height * ENLARGEMENT), Image.Resampling.BICUBIC)
    paper = Image.new("L", (large.width + 2 * margin, large.height + 2 * margin))
    paper.paste(large, (margin, margin))
    picture = np.asarray(_change_stroke(paper, int(random.choice(STROKES))))
    picture = 255 - picture if random.random() < 0.5 else picture
    framed = frame(picture, size=width)
    return image if framed.blank else framed.pixels


def _change_stroke(picture: Image.Image, width: int) -> Image.Image:
    if width == 0:
        return picture
    thinner, thicker = ImageFilter.MinFilter, ImageFilter.MaxFilter
    return picture.filter(thicker(width) if width > 0 else thinner(-width))


def _reframe_all(images: Grey, *, progress: bool) -> Grey:
    chunks = [(first, images[first : first + CHUNK]) for first in range(0, len(images), CHUNK)]
    hidden = None if progress else True  # None: shown on a terminal only
    done: list[Grey] = []
    with tqdm(total=len(images), desc="framing as the server does", unit="image", disable=hidden) as bar:
        for copies in _on_all_cores(chunks):
            done.append(copies)
            bar.update(len(copies))
    return np.concatenate(done)


def _on_all_cores(chunks: list[Chunk]) -> Iterator[Grey]:
    """The routine takes milliseconds an image, and there are tens of thousands of them."""
    workers = min(len(chunks), torch.get_num_threads())
    if workers == 1:
        yield from map(_reframe_chunk, chunks)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_leave_interrupts) as pool:
        yield from pool.map(_reframe_chunk, chunks)


def _reframe_chunk(chunk: Chunk) -> Grey:
    """Each image draws from a generator of its own, so that the copies do not depend on how the work was shared out."""
    first, images = chunk
    return np.stack([reframe(image, np.random.default_rng(first + i)) for i, image in enumerate(images)])


def _leave_interrupts() -> None:
    """Ctrl-C reaches the whole process group; only the parent answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _fingerprint(images: Grey) -> str:
    """Everything that the copies depend on, in 16 hex digits: the images, the code, and the libraries that calculate."""
    digest = hashlib.sha256(repr((images.shape, np.__version__, PIL.__version__)).encode())
    digest.update(np.ascontiguousarray(images).tobytes())
    for source in SOURCES:
        digest.update(Path(source).read_bytes())
    return digest.hexdigest()[:16]


def _save(path: Path, images: Grey) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    with partial.open("wb") as sink:
        np.save(sink, images)
    partial.replace(path)
