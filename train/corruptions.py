"""What happens to a character between the pen and the network: corruptions of one fixed strength each; and what is none.

The idea is MNIST-C's (Mu & Gilmer 2019): a network that reads clean test images may still fail on what any eye reads through.
Kinds and strengths here are our own. Every function takes one picture (h, w) uint8, light ink on black, and a source of
randomness, and gives a new picture of the same shape. Lengths are in pixels of a frame of 28 pixels a side; in a larger picture
they are as much larger, so that a drawing of 280 pixels suffers what its frame would.

STRANGERS are pictures to be unsure about. They are drawn in other ways than those that train/strangers.py trains with, so that
they measure what was learned and not what was remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

SIDE = 28
CANVAS = 140  # pixels a side on which strangers are drawn

Grey = NDArray[np.uint8]
Field = NDArray[np.float64]
Effect = Callable[[Grey, np.random.Generator], Grey]


class Corruption(NamedTuple):
    """A corruption with its strength in words."""

    name: str
    strength: str
    effect: Effect


def corrupt(images: Grey, corruption: Corruption, seed: int = 0) -> Grey:
    """Corrupt images (n, h, w) uint8. The same seed, image and place give the same result."""
    randoms = (np.random.default_rng((seed, number)) for number in range(len(images)))
    return np.stack([corruption.effect(image, random) for image, random in zip(images, randoms, strict=True)])


def shot_noise(image: Grey, random: np.random.Generator, photons: float = 10) -> Grey:
    """Too little light: a pixel of full ink counts `photons` on average, and paper counts one in ten of that."""
    level = 0.1 + 0.9 * image / 255
    return _to_grey((random.poisson(level * photons) / photons - 0.1) / 0.9)


def salt_and_pepper(image: Grey, random: np.random.Generator, share: float = 0.08) -> Grey:
    """A share of the pixels is black or white, whatever was there."""
    draw = random.random(image.shape)
    return np.where(draw < share, np.where(draw < share / 2, 0, 255), image).astype(np.uint8)


def blur(image: Grey, random: np.random.Generator, sigma_px: float = 1.2) -> Grey:
    """Out of focus: a Gaussian of this standard deviation."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma_px * _unit(image))))


def low_contrast(image: Grey, random: np.random.Generator, contrast: float = 0.25) -> Grey:
    """Grey ink on dark grey paper."""
    return _to_grey(0.25 + contrast * image / 255)


def rotate(image: Grey, random: np.random.Generator, degrees: float = 25) -> Grey:
    """Turned about the middle, one way or the other."""
    angle = np.deg2rad(degrees) * _sign(random)
    return _warp(image, np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))


def shear(image: Grey, random: np.random.Generator, slant: float = 0.45) -> Grey:
    """Slanted, to the left or to the right: pixels sideways per pixel down."""
    return _warp(image, np.array([[1, slant * _sign(random)], [0, 1]]))


def shrink(image: Grey, random: np.random.Generator, scale: float = 0.65) -> Grey:
    """Written small in the middle of the paper."""
    return _warp(image, np.eye(2) / scale)


def shift(image: Grey, random: np.random.Generator, distance_px: float = 4) -> Grey:
    """Off the middle, in any direction."""
    angle = random.uniform(0, 2 * np.pi)
    return _warp(image, np.eye(2), distance_px * _unit(image) * np.array([np.cos(angle), np.sin(angle)]))


def erode(image: Grey, random: np.random.Generator, radius_px: float = 0.5) -> Grey:
    """A thin pen: the stroke loses this much on each side, and a hair of it may break."""
    return 255 - _grow(255 - image, radius_px)


def dilate(image: Grey, random: np.random.Generator, radius_px: float = 1) -> Grey:
    """A thick pen: the stroke gains this much on each side, and small holes fill."""
    return _grow(image, radius_px)


def fog(image: Grey, random: np.random.Generator, density: float = 0.6) -> Grey:
    """A light cloud before everything, at its densest as thick as this."""
    veil = density * _cloud(image.shape, random)
    return _to_grey(image / 255 * (1 - veil) + veil)


def uneven_light(image: Grey, random: np.random.Generator, span: float = 0.5) -> Grey:
    """Paper that is lighter on one side by this much of the ink's strength."""
    angle = random.uniform(0, 2 * np.pi)
    rows, columns = np.indices(image.shape) / (max(image.shape) - 1) - 0.5
    ramp = span * np.clip(0.5 + (np.cos(angle) * columns + np.sin(angle) * rows) / 1.2, 0, 1)
    return _to_grey(ramp + (1 - ramp) * image / 255)


def stripes(image: Grey, random: np.random.Generator, gap_px: float = 7, ink: float = 0.5) -> Grey:
    """Ruled paper: lines of one pixel from side to side, half as strong as the ink."""
    rows = np.arange(image.shape[0]) / _unit(image) + random.uniform(0, gap_px)
    ruled = np.where(rows % gap_px < 1, ink * 255, 0).astype(np.uint8)
    return np.asarray(np.maximum(image, ruled[:, None]))


def dotted_line(image: Grey, random: np.random.Generator, gap_px: float = 2.5, radius_px: float = 0.6) -> Grey:
    """A dotted line of full ink right across, through the middle or nearly so, in any direction."""
    unit, angle = 4.0, random.uniform(0, np.pi)
    middle = SIDE / 2 + random.normal(0, 2, 2)
    sheet = Image.new("L", (int(SIDE * unit), int(SIDE * unit)))
    pen = ImageDraw.Draw(sheet)
    for along in np.arange(-SIDE, SIDE, gap_px):
        x, y = (middle + along * np.array([np.cos(angle), np.sin(angle)])) * unit
        pen.ellipse((x - radius_px * unit, y - radius_px * unit, x + radius_px * unit, y + radius_px * unit), fill=255)
    dots = np.asarray(sheet.resize(image.shape[::-1], Image.Resampling.BOX))
    return np.asarray(np.maximum(image, dots))


CORRUPTIONS = (
    Corruption("shot noise", "10 photons at full ink, 1 at paper", shot_noise),
    Corruption("salt and pepper", "8 % of the pixels", salt_and_pepper),
    Corruption("blur", "Gaussian, standard deviation 1.2 px", blur),
    Corruption("low contrast", "a quarter of the ink, on dark grey", low_contrast),
    Corruption("rotation", "25 degrees, either way", rotate),
    Corruption("shear", "0.45 px sideways per px, either way", shear),
    Corruption("scale", "0.65 of its size", shrink),
    Corruption("off-centre shift", "4 px, in any direction", shift),
    Corruption("stroke erosion", "0.5 px on each side", erode),
    Corruption("stroke dilation", "1 px on each side", dilate),
    Corruption("fog", "up to 0.6 dense", fog),
    Corruption("uneven light", "half the ink's strength across", uneven_light),
    Corruption("stripes", "1 px in every 7, half the ink", stripes),
    Corruption("dotted line", "dots of 1.2 px every 2.5 px, full ink", dotted_line),
)


def draw_strangers(draw: Effect, characters: Grey, count: int, seed: int = 0) -> Iterator[Grey]:
    """`count` pictures (h, w) uint8 that are no character, each from a source of its own.

    Args:
        draw: one of STRANGERS.
        characters: (n, h, w) uint8, light ink on black, framed: for those that are made of characters.
        count: how many.
        seed: the same seed draws the same pictures.
    """
    for number in range(count):
        yield draw(characters, np.random.default_rng((seed, number)))


def scribble(characters: Grey, random: np.random.Generator, sides: float) -> Grey:
    """A pen that wanders smoothly for so many times the paper's side, and turns back before its edges."""
    place, heading, bend = random.uniform(0.3, 0.7, 2) * CANVAS, random.uniform(0, 2 * np.pi), 0.0
    points = []
    for _ in range(int(sides * CANVAS / 3)):
        bend = 0.9 * bend + random.normal(0, 0.06)
        heading += bend
        across, down = CANVAS / 2 - place
        if max(abs(across), abs(down)) > 0.36 * CANVAS:
            heading += 0.35 * np.sin(np.arctan2(down, across) - heading)
        place = np.clip(place + 3 * np.array([np.cos(heading), np.sin(heading)]), 8, CANVAS - 8)
        points.append(place)
    return _draw([np.array(points)], random)


def cross(characters: Grey, random: np.random.Generator) -> Grey:
    """Two strokes across each other, at about a right angle."""
    angle, lean = random.uniform(0, np.pi), random.normal(np.pi / 2, 0.15)
    return _draw([_line(angle, 0, random), _line(angle + lean, 0, random)], random)


def hash_mark(characters: Grey, random: np.random.Generator) -> Grey:
    """Two strokes across two others, upright or nearly so."""
    turn, gap = random.normal(0, 0.1), random.uniform(11, 17)
    return _draw([_line(turn + angle, offset, random) for angle in (0, np.pi / 2) for offset in (-gap, gap)], random)


def pair(characters: Grey, random: np.random.Generator) -> Grey:
    """Two characters side by side, as close as they are written in a number."""
    inked = [image[:, image.any(axis=0)] for image in characters[random.integers(0, len(characters), 2)]]
    row = np.pad(np.concatenate([inked[0], np.zeros((len(inked[0]), 1), np.uint8), inked[1]], axis=1), 4)
    return np.asarray(Image.fromarray(row).resize((row.shape[1] * 5, row.shape[0] * 5), Image.Resampling.BICUBIC))


def even_noise(characters: Grey, random: np.random.Generator) -> Grey:
    """Every brightness as likely as the next, in each pixel."""
    return random.integers(0, 256, (CANVAS, CANVAS), np.uint8)


def normal_noise(characters: Grey, random: np.random.Generator) -> Grey:
    """Grey, and normally distributed noise of an eighth of the range."""
    return _to_grey(random.normal(0.5, 0.125, (CANVAS, CANVAS)))


def blank_paper(characters: Grey, random: np.random.Generator) -> Grey:
    """A photograph of white paper with nothing on it: light from one side, a soft shadow, and the camera's noise."""
    black = np.zeros((CANVAS, CANVAS), np.uint8)
    light = uneven_light(black, random, span=random.uniform(0.05, 0.3)) / 255
    shadow = random.uniform(0, 0.15) * _cloud(black.shape, random)
    return _to_grey(random.uniform(0.6, 0.7) + light - shadow + random.normal(0, random.uniform(0.005, 0.02), black.shape))


STRANGERS: Mapping[str, Effect] = {
    "short scribbles": partial(scribble, sides=3),
    "scribbles": partial(scribble, sides=6),
    "long scribbles": partial(scribble, sides=12),
    "crosses": cross,
    "hash marks": hash_mark,
    "two characters side by side": pair,
    "even noise": even_noise,
    "normal noise": normal_noise,
    "blank paper": blank_paper,
}


def _unit(image: Grey) -> float:
    """How many of its pixels one pixel of a frame is."""
    return float(max(image.shape)) / SIDE


def _sign(random: np.random.Generator) -> int:
    return 1 if random.random() < 0.5 else -1


def _to_grey(values: Field) -> Grey:
    """0..1 to 0..255."""
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)


def _warp(image: Grey, matrix: Field, offset: Field | None = None) -> Grey:
    """Each place of the result shows what lies at `matrix` times it, seen from the middle, and minus `offset`."""
    height, width = image.shape
    middle = np.array([width, height]) / 2
    start = middle - matrix @ middle - (0 if offset is None else offset)
    coefficients = tuple(float(value) for value in (*matrix[0], start[0], *matrix[1], start[1]))
    moved = Image.fromarray(image).transform((width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
    return np.asarray(moved)


def _grow(image: Grey, radius_px: float) -> Grey:
    """Everything light grows by this much to all sides; a small picture is enlarged for it, so that fractions count."""
    height, width = image.shape
    times = max(1, round(4 / _unit(image)))
    large = Image.fromarray(image).resize((width * times, height * times), Image.Resampling.BICUBIC)
    radius = round(radius_px * _unit(image) * times)
    grown = _running_maximum(_running_maximum(np.asarray(large), radius).T, radius).T
    return np.asarray(Image.fromarray(np.ascontiguousarray(grown)).resize((width, height), Image.Resampling.BOX))


def _running_maximum(image: Grey, radius: int) -> Grey:
    """The lightest of each place and its `radius` neighbours above and below."""
    padded = np.pad(image, ((radius, radius), (0, 0)), mode="edge")
    return np.asarray(np.maximum.reduce([padded[first : first + len(image)] for first in range(2 * radius + 1)]))


def _cloud(shape: tuple[int, ...], random: np.random.Generator) -> Field:
    """Smooth noise from 0 to 1: coarse knots, and finer ones of half the weight each."""
    height, width = shape
    total = np.zeros(shape)
    for knots, weight in ((3, 1.0), (5, 0.5), (9, 0.25)):
        field = Image.fromarray(random.random((knots, knots)).astype(np.float32))
        total += weight * np.asarray(field.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    total -= total.min()
    return np.asarray(total / max(float(total.max()), 1e-9))


def _line(angle: float, offset: float, random: np.random.Generator) -> Field:
    """A straight stroke: (2, 2). `offset` pixels beside the middle, as long as chance has it, and not quite straight ahead."""
    along, aside = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    reach = random.uniform(32, 48, (2, 1)) * np.array([[-1], [1]])
    return np.asarray(CANVAS / 2 + offset * aside + reach * along + random.normal(0, 2, (2, 2)))


def _draw(strokes: Sequence[Field], random: np.random.Generator) -> Grey:
    """Light strokes (n, 2) of one pen on black."""
    canvas = Image.new("L", (CANVAS, CANVAS))
    pen, width = ImageDraw.Draw(canvas), int(random.integers(5, 12))
    for stroke in strokes:
        pen.line([(float(x), float(y)) for x, y in stroke], fill=255, width=width, joint="curve")
    return np.asarray(canvas.filter(ImageFilter.GaussianBlur(1)))
