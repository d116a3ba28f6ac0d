"""Pictures that are no character at all, for the network to be unsure about.

A network that has only ever seen digits calls everything a digit, and is sure of it. So a share of each batch shows
scribbles, grids, crosses, several characters at once, spots and paper grain, framed by the server's routine as a drawing would
be, and asks for the same probability of every class (outlier exposure: Hendrycks et al. 2019). Characters of another alphabet
can be added as they are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from server.preprocess import frame
from train import pen
from train.data import Dataset
from train.errors import DataError
from train.pen import CANVAS, draw, smooth

EACH = 3000  # of each kind are made; of 857 scribbles, a network had learned those very ones

LOOK_LIKE_DIGITS = frozenset("OILZSBGQ")  # upper or lower case: 0 1 1 2 5 8-6 6-9 9

Grey = NDArray[np.uint8]


def load_strangers(
    characters: Tensor, cache: Path, kinds: Sequence[Kind] | None = None, each: int = EACH, share: float = 1.0
) -> Tensor:
    """Strangers (m, side, side) uint8 in the frame of `characters` (n, side, side), from `cache` if made before.

    Args:
        kinds: what to draw, KINDS if None; one that is named twice is drawn twice as often.
        each: of each kind.
        share: how many there are at most for each of the characters.
    """
    kinds = KINDS if kinds is None else kinds
    known, count = characters.numpy(), min(each * len(kinds), int(share * len(characters)))
    path = cache / f"strangers-{_fingerprint(known, kinds, count)}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.part")
        with partial.open("wb") as sink:
            np.save(sink, make_strangers(known, count, kinds=kinds))
        partial.replace(path)
    return torch.from_numpy(np.load(path))


def foreign_letters(letters: Dataset, side: int) -> Tensor:
    """The letters that nobody could take for a digit: (n, side, side) uint8, of those that may be trained on.

    Raises:
        DataError: their images have another side, or there are none.
    """
    if letters.side != side:
        raise DataError(f"the images of {letters.origin.name} have {letters.side} pixels a side, and those to learn {side}")
    wanted = torch.tensor([name not in LOOK_LIKE_DIGITS for name in letters.class_names])
    found = letters.train.images[wanted[letters.train.labels]]
    if not len(found):
        raise DataError(f"{letters.origin.name} has no character that could not be taken for a digit")
    return found


def make_strangers(characters: Grey, count: int, seed: int = 0, kinds: Sequence[Kind] | None = None) -> Grey:
    """Draws `count` strangers, the kinds in turns."""
    random, kinds = np.random.default_rng(seed), KINDS if kinds is None else kinds
    side = characters.shape[-1]
    strangers = np.empty((count, side, side), np.uint8)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        framed = frame(kind(characters, random), size=side)
        while framed.blank or (kind is crowd and not _is_wide(framed.pixels)):
            framed = frame(kind(characters, random), size=side)
        strangers[number] = framed.pixels
    return strangers


def _is_wide(pixels: Grey) -> bool:
    """Of a row of characters, framing may keep one alone, and that one is no stranger."""
    height, width = (np.trim_zeros(pixels.max(axis=axis)).size for axis in (1, 0))
    return bool(width > 1.2 * height)


def scribble(characters: Grey, random: np.random.Generator) -> Grey:
    """One stroke that turns at random, back and forth, without lifting the pen. Fewer than six corners could be a 2 or a 3."""
    turns = int(random.integers(6, 22))
    return draw([smooth(_wander(turns, random))], random)


def squiggle(characters: Grey, random: np.random.Generator) -> Grey:
    """One smooth stroke in loops and bends, as a bored hand draws it.

    Slimmer or with fewer turns it would be a 1 or a 7. Some are an 8 or a 2 as they are: what is left to tell them from those
    of a hand that means it is what a second network can learn (docs/decisions/0022-doubt.md).
    """
    while True:
        waves = np.arange(1, int(random.integers(3, 7)))
        swings = random.uniform(-1, 1, (2, 1, len(waves))) / waves**0.6
        time = np.linspace(0, random.uniform(0.4, 1.0), 160)[:, None]
        places = (swings * np.sin(2 * np.pi * (time * waves + random.random((2, 1, len(waves)))))).sum(2).T
        extent = np.ptp(places, axis=0)
        if count_turns(places) > 1.75 and extent.min() > 0.35 * extent.max():
            break
    middle = (places.min(axis=0) + places.max(axis=0)) / 2
    places = (places - middle) * random.uniform(60, 90) / extent.max() + CANVAS / 2
    return draw([[(float(x), float(y)) for x, y in places]], random)


def tangle(characters: Grey, random: np.random.Generator) -> Grey:
    """Several strokes across each other."""
    return draw([smooth(_wander(int(random.integers(3, 6)), random)) for _ in range(int(random.integers(3, 7)))], random)


def grid(characters: Grey, random: np.random.Generator) -> Grey:
    """Lines across lines, as in a hash sign or checked paper. Fewer than two by three could be a 4, a 7 or a 0."""
    first, last = 20.0, CANVAS - 20.0
    rows = np.linspace(first, last, int(random.integers(2, 5))) + random.normal(0, 3, (2, 1))
    columns = np.linspace(first, last, int(random.integers(3, 5))) + random.normal(0, 3, (2, 1))
    lines = [[(10.0, float(start)), (CANVAS - 10.0, float(end))] for start, end in rows.T]
    lines += [[(float(start), 10.0), (float(end), CANVAS - 10.0)] for start, end in columns.T]
    return draw(lines, random)


def star(characters: Grey, random: np.random.Generator) -> Grey:
    """Rays from one point: crosses, asterisks."""
    middle = np.array([CANVAS, CANVAS]) / 2 + random.normal(0, 5, 2)
    angles = np.arange(count := int(random.integers(3, 7))) * np.pi / count + random.normal(0, 0.15, count) + random.random()
    reach = np.stack([np.cos(angles), np.sin(angles)], 1) * random.uniform(25, 45, (count, 1))
    return draw([[tuple(middle - ray), tuple(middle + ray)] for ray in reach], random)


def crowd(characters: Grey, random: np.random.Generator) -> Grey:
    """Two to four characters in a row, which is no single one. Mostly two: they are the hardest to tell from one."""
    chosen = characters[random.integers(0, len(characters), int(random.choice((2, 3, 4), p=(0.6, 0.25, 0.15))))]
    columns = [np.trim_zeros(image.max(axis=0)).size for image in chosen]
    pieces = []
    for image, width in zip(chosen, columns, strict=True):
        first = int(np.argmax(image.max(axis=0) > 0))
        pieces += [image[:, first : first + width], np.zeros((image.shape[0], int(random.integers(1, 4))), np.uint8)]
    row = np.concatenate(pieces, axis=1)
    return np.asarray(Image.fromarray(row).resize((row.shape[1] * 3, row.shape[0] * 3), Image.Resampling.BICUBIC))


def spots(characters: Grey, random: np.random.Generator) -> Grey:
    """Blots and dots here and there."""
    canvas = Image.new("L", (CANVAS, CANVAS))
    pen = ImageDraw.Draw(canvas)
    for x, y, radius in zip(*random.uniform(15, CANVAS - 15, (2, count := int(random.integers(4, 30)))),
                            random.uniform(2, 9, count), strict=True):  # fmt: skip
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(canvas)


def grain(characters: Grey, random: np.random.Generator) -> Grey:
    """Noise, coarse or fine: paper, fabric, a camera in the dark."""
    coarse = int(random.integers(4, 29))
    noise = Image.fromarray(random.integers(0, 256, (coarse, coarse), np.uint8))
    enlarged = np.asarray(noise.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC), np.float32)
    inked = np.clip((enlarged - random.uniform(90, 160)) * 4, 0, 255).astype(np.uint8)
    margin = int(random.integers(4, 24))
    return np.pad(inked[margin:-margin, margin:-margin], margin)


Kind = Callable[[Grey, np.random.Generator], Grey]
KINDS: tuple[Kind, ...] = (scribble, tangle, grid, star, crowd, spots, grain)
# What a network is taught to doubt when it has learned all else (train/doubt.py). Loops are what people draw when they have
# nothing to write. They are not among KINDS: a small network that saw them while it learned digits misread more of those.
DOUBTFUL: tuple[Kind, ...] = (*KINDS, *(squiggle,) * 14)


def _wander(turns: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Corners of a stroke, each far enough from the last one to be a stroke."""
    return random.uniform(14, CANVAS - 14, (turns, 2))


def count_turns(places: NDArray[np.float64]) -> float:
    """How often a stroke (n, 2) turns right round, to whichever side."""
    along = np.diff(places, axis=0)
    heading = np.unwrap(np.arctan2(along[:, 1], along[:, 0]))
    return float(np.abs(np.diff(heading)).sum() / (2 * np.pi))


def _fingerprint(characters: Grey, kinds: Sequence[Kind], count: int) -> str:
    """What the strangers depend on: this file, the pen, the kinds, and the characters that `crowd` takes."""
    digest = hashlib.sha256(np.ascontiguousarray(characters).tobytes())
    for source in (__file__, pen.__file__):
        digest.update(Path(source).read_bytes())
    digest.update(f"{characters.shape} {count} {[kind.__name__ for kind in kinds]}".encode())
    return digest.hexdigest()[:16]
