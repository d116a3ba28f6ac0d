"""The framing routine: any picture of one character becomes what the network was trained on.

MNIST's framing: light ink on black, scaled into a 20 x 20 box with its shape kept, and laid into 28 x 28 so that the centre
of mass is in the middle (http://yann.lecun.com/exdb/mnist/). Training, server and tests share this one routine, so that what
is trained on is what is served. It needs numpy and Pillow, and knows nothing of gRPC.

A picture passes these stations:
    shrink      to a working size, averaging areas
    flatten     subtract the paper: an even or slowly changing light is no ink
    find        which side of the paper is ink, and how strong
    clear       only if the border shows ink: the specks of noise and the lines of ruled paper are no ink
    choose      which blots belong to the character
    crop        to the character, with its contrast stretched and hair-thin strokes thickened
    place       scaled into the box and centred by mass
"""

from __future__ import annotations

import enum
import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from server.blots import find_character
from server.decode import Grey
from server.paper import estimate_paper, is_speckled, quantile, wipe_specks
from server.ruling import erase_ruling, measure_pen

SIZE = 28
BOX_SHARE = 20 / 28  # the ink's longer side, as a share of the frame
WORKING_SIZE = 192  # the longer side, in pixels, at which ink is looked for
MIN_CONTRAST = 16.0  # grey levels between paper and ink; less is a blank
NOISE_FACTOR = 6.0  # ink stands out of the paper's own noise by this much
EDGE = 0.06  # of the ink's level above the paper: less is no ink, even where the paper has no noise
CLEAR = 0.12  # of full ink: what makes a blot. More would part pale strokes from the rest: thin Chinese ones, worn pencil
FAINT = 0.1  # of full ink: the outermost edge of a stroke
BORDER_PX = 4  # of the working size: what the border shows, the paper has all over
CLEAN_BORDER = 0.003  # of the border may be inked on paper that needs no clearing
MIN_PAPER = 40  # pixels; the paper of a smaller picture is not looked at
WIPES = 3  # at most, one after the other: more would wipe the character
MIN_STROKE = 2.0  # pixels of the frame: thinner strokes would fade when areas are averaged

Field = NDArray[np.float32]


class Ink(enum.Enum):
    """Whether the ink is lighter or darker than the paper."""

    AUTO = "auto"
    LIGHT = "light"
    DARK = "dark"


class Box(NamedTuple):
    """A rectangle in the image's own pixels."""

    left: int
    top: int
    width: int
    height: int


class Framed(NamedTuple):
    """One character as the network sees it.

    Attributes:
        pixels: (size, size) uint8, light ink on black.
        box: where it was found in the image.
        blank: there is no ink at all; `pixels` is black.
    """

    pixels: Grey
    box: Box
    blank: bool


def is_framed(images: Grey) -> list[bool]:
    """Which of (n, size, size) uint8 images are framed already, as MNIST frames them.

    Measured over all 70,000 images of MNIST: the centre of mass is within half a pixel of the middle, and the ink's longer
    side is 19 or 20 pixels. The limits here leave a little air. A blank image counts as framed: there is nothing to frame.
    """
    count, size, _ = images.shape
    # One product gives each image's mass and moments. It is exact: the sums stay below float32's 2**24.
    moments = (images.reshape(count, -1).astype(np.float32) @ _moments(size)).tolist()
    columns, rows = np.bitwise_or.reduce(images, axis=1), np.bitwise_or.reduce(images, axis=2)
    shortest, longest = size * BOX_SHARE * 0.9, size * BOX_SHARE * 1.05
    framed = []
    for (mass, across, down), column, row in zip(moments, columns, rows, strict=True):
        # Bytes without their outer zeros are as long as the ink: cheaper for one image than numpy's own ways.
        extent = max(len(column.tobytes().strip(b"\0")), len(row.tobytes().strip(b"\0")))
        middle, slack = mass * size / 2, mass * 0.7
        centred = abs(across - middle) <= slack and abs(down - middle) <= slack
        framed.append(mass == 0 or (centred and shortest <= extent <= longest))
    return framed


@functools.cache
def _moments(size: int) -> Field:
    """(size * size, 3): ones, the column and the row of each pixel."""
    rows, columns = np.divmod(np.arange(size * size, dtype=np.float32), size)
    return np.stack([np.ones_like(rows), columns, rows], axis=1)


def take_framed(grey: Grey, *, ink: Ink = Ink.AUTO) -> Framed:
    """Takes an image that is framed already as it is. Dark ink is inverted only if `ink` says so."""
    pixels = 255 - grey if ink is Ink.DARK else grey
    height, width = grey.shape
    return Framed(pixels, Box(0, 0, width, height), blank=not pixels.any())


def frame(grey: Grey, *, ink: Ink = Ink.AUTO, size: int = SIZE) -> Framed:
    """Finds the one character in a (height, width) uint8 picture and frames it the MNIST way.

    Args:
        grey: the picture, of any size.
        ink: which side of the paper the ink is on; AUTO decides by what stands out of the border's level.
        size: the frame's side, in pixels.
    """
    small, scale = _shrink(grey)
    strength = _find_ink(small, ink)
    found = None if strength is None else find_character(strength > CLEAR, strength > FAINT)
    if strength is None or found is None:
        return Framed(np.zeros((size, size), np.uint8), Box(0, 0, grey.shape[1], grey.shape[0]), blank=True)
    mask, (top, bottom, left, right) = found
    crop = np.where(mask, strength, 0)[top:bottom, left:right]
    return Framed(_place(crop, size), _to_box(top, bottom, left, right, scale, grey.shape), blank=False)


def _shrink(grey: Grey) -> tuple[Field, float]:
    """To the working size by averaging areas; also how many of the image's pixels one pixel now stands for."""
    height, width = grey.shape
    scale = max(height, width) / WORKING_SIZE
    if scale <= 1:
        return grey.astype(np.float32), 1.0
    target = (max(1, round(width / scale)), max(1, round(height / scale)))
    return np.asarray(Image.fromarray(grey).resize(target, Image.Resampling.BOX, reducing_gap=2.0), np.float32), scale


def _find_ink(small: Field, ink: Ink) -> Field | None:
    """How much ink is at each place, 0 for paper and 1 for full ink; None if there is none."""
    relief = _find_relief(small, ink)
    strength = _weigh(relief)
    for _ in range(WIPES):
        if strength is None or _is_clean(strength) or not is_speckled(strength > CLEAR):
            break
        relief = _find_relief(small := wipe_specks(small), ink)
        strength = _weigh(relief)
    if strength is None or _is_clean(strength):
        return strength
    return _weigh(erase_ruling(relief, max(MIN_CONTRAST / 2, CLEAR * 0.7 * _full_ink(relief))))


def _is_clean(strength: Field) -> bool:
    """Whether the paper has neither noise nor lines: these reach the borders, which a character seldom does. A cheap look."""
    sides = strength[:BORDER_PX], strength[-BORDER_PX:], strength[:, :BORDER_PX], strength[:, -BORDER_PX:]
    inked = sum(int(np.count_nonzero(side > CLEAR)) for side in sides)
    return min(strength.shape) < MIN_PAPER or inked <= CLEAN_BORDER * sum(side.size for side in sides)


def _find_relief(small: Field, ink: Ink) -> Field:
    """Grey levels above the paper, towards the ink."""
    relief = small - estimate_paper(small)
    return np.asarray(relief if _ink_is_light(relief, ink) else -relief)


def _weigh(relief: Field) -> Field | None:
    """From paper at 0 to full ink at 1; None if nothing stands out enough to be ink."""
    noise = 1.4826 * quantile(abs(relief), 0.5)  # the median absolute deviation, in units of a standard deviation
    full = _full_ink(relief)
    if full < max(MIN_CONTRAST, NOISE_FACTOR * min(noise, full / 8)):
        return None
    low = min(max(EDGE * full, 2.5 * noise), 0.4 * full)
    return np.asarray(np.clip((relief - low) / (0.85 * full - low), 0, 1), np.float32)


def _full_ink(relief: Field) -> float:
    """The grey level of the ink's core above the paper: high among what is clearly ink, so that faint edges don't count."""
    peak = float(relief.max())
    inked = relief[relief > 0.4 * peak]
    return quantile(inked, 0.75) if inked.size else 0.0


def _ink_is_light(relief: Field, ink: Ink) -> bool:
    if ink is not Ink.AUTO:
        return ink is Ink.LIGHT
    # Robust extremes: one hot pixel decides nothing in a picture, but a dot of ink does in a tiny one.
    share = min(0.005, 4 / relief.size)
    return quantile(relief, 1 - share) > -quantile(relief, share)


def _place(crop: Field, size: int) -> Grey:
    """Scales the character into the box, its longer side filling it, and centres it by mass in the frame."""
    height, width = crop.shape
    box = round(size * BOX_SHARE)
    scale = box / max(height, width)
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray((crop * 255).astype(np.uint8))
    image = _thicken(image, scale)
    image = image.resize(target, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    return _centre(np.asarray(image, np.float32), size)


def _thicken(image: Image.Image, scale: float) -> Image.Image:
    """Widens strokes that would be under MIN_STROKE pixels of the frame: averaging their area would leave a grey shadow."""
    missing = MIN_STROKE / scale - measure_pen(np.asarray(image) > 127)
    if scale >= 1 or missing < 1:
        return image
    radius = min(7, round(missing / 2 + 0.25))
    padded = Image.new("L", (image.width + 2 * radius, image.height + 2 * radius))
    padded.paste(image, (radius, radius))
    return padded.filter(ImageFilter.MaxFilter(2 * radius + 1)) if radius > 0 else image


def _centre(pixels: Field, size: int) -> Grey:
    """Stretches to full ink and lays the box into the frame with its centre of mass in the middle, nothing cut off."""
    pixels = pixels * (255.0 / max(float(pixels.max()), 1.0))
    height, width = pixels.shape
    mass = float(pixels.sum())
    rows, columns = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    top = round(size / 2 - float(pixels.sum(axis=1) @ rows) / mass)
    left = round(size / 2 - float(pixels.sum(axis=0) @ columns) / mass)
    top, left = min(max(top, 0), size - height), min(max(left, 0), size - width)
    framed = np.zeros((size, size), np.uint8)
    framed[top : top + height, left : left + width] = (pixels + 0.5).astype(np.uint8)
    return framed


def _to_box(top: int, bottom: int, left: int, right: int, scale: float, shape: tuple[int, ...]) -> Box:
    height, width = shape
    x0, y0 = int(left * scale), int(top * scale)
    x1, y1 = min(width, int(np.ceil(right * scale))), min(height, int(np.ceil(bottom * scale)))
    return Box(x0, y0, x1 - x0, y1 - y0)
