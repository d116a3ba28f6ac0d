"""The paper behind a character: how bright it is at each place, and whether it is strewn with specks.

A noisy scan or sensor leaves specks all over a picture. Each is too small for ink, but together they merge into one solid blot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

SPECK_SHARE = 0.02  # of all that looks like ink: so much of it in specks is noise
BLOCKS = 4  # by as many: the picture's parts that are asked for specks
SPECKLED_BLOCKS = 14  # of these: noise is everywhere, while dots that somebody drew are in some places

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]


def estimate_paper(small: Field) -> Field | float:
    """The paper's brightness: the border's level if the light is even, else a surface fitted to what is not ink."""
    height, width = small.shape
    border = np.sort(np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]]))
    if quantile(border, 0.9) - quantile(border, 0.1) < 12 or min(height, width) < 48:
        return quantile(border, 0.5)
    return _fit_surface(small)


def quantile(values: NDArray[np.floating[Any]], share: float) -> float:
    """As np.quantile() of all values; for some hundreds or thousands of them, it takes a fraction of the time."""
    place = share * (values.size - 1)
    low = int(place)
    high = min(low + 1, values.size - 1)
    ordered = np.partition(values, (low, high), axis=None)
    below, above = float(ordered[low]), float(ordered[high])
    return below + (above - below) * (place - low)


def _fit_surface(small: Field) -> Field:
    """Least squares of 1, x, y, x², xy, y², three times, each time without what stands out of the last fit."""
    height, width = small.shape
    step = max(1, max(height, width) // 64)
    y, x = np.meshgrid(np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    samples, values = terms[::step, ::step].reshape(-1, 6), small[::step, ::step].ravel()
    kept = np.ones(values.size, bool)
    for _ in range(3):
        weights = _solve(samples[kept], values[kept])
        error = values - samples @ weights
        middle = quantile(error, 0.5)
        deviation = max(4.0, 1.4826 * quantile(abs(error - middle), 0.5))
        kept = abs(error - middle) < 2.5 * deviation
    return np.asarray(terms @ weights, np.float32)


def _solve(samples: Field, values: Field) -> Field:
    """Least squares by the normal equations: six terms between -1 and 1 need no more, and it takes a hundredth of the time."""
    products = samples.T @ np.column_stack([samples, values])
    return np.asarray(np.linalg.lstsq(products[:, :-1], products[:, -1], rcond=None)[0], np.float32)


def is_speckled(mask: Mask) -> bool:
    """Whether what looks like ink, (height, width), is strewn with specks.

    A speck has a pixel next to it at most, or three in the wider neighbourhood: the thinnest stroke has more, but at its ends.
    """
    specks = mask & ((_count(mask, 3) <= 2) | (_count(mask, 5) <= 4))
    if np.count_nonzero(specks) <= SPECK_SHARE * np.count_nonzero(mask):
        return False
    parts = [part for band in np.array_split(specks, BLOCKS) for part in np.array_split(band, BLOCKS, axis=1)]
    return sum(bool(part.any()) for part in parts) >= SPECKLED_BLOCKS


def wipe_specks(small: Field) -> Field:
    """Every pixel becomes the median of the 3 x 3 around it: (height, width) grey levels."""
    return np.asarray(Image.fromarray(small).filter(ImageFilter.MedianFilter(3)))


def _count(mask: Mask, side: int) -> NDArray[np.uint8]:
    """How many pixels are set in the side x side around each."""
    height, width = mask.shape
    padded = np.pad(mask.astype(np.uint8), side // 2)
    rows = np.add.reduce([padded[first : first + height] for first in range(side)])
    return np.asarray(np.add.reduce([rows[:, first : first + width] for first in range(side)]), np.uint8)
