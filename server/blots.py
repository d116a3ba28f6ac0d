"""Which blots of ink belong to the one character in a picture.

A picture holds more than its character: specks of dust, the edge of the paper, a shadow in a corner, a ruled line. Blots are
found on a coarse grid, where a gap of a pixel does not part a stroke, and kept by their size and place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GRID = 64  # cells along the longer side, at most
SPECK_SHARE = 0.03  # of the largest blot's area: what is smaller and lies apart is dust
EDGE_RIVAL_SHARE = 0.1  # a blot at the border gives way to an inner one that is at least so large

Mask = NDArray[np.bool_]
Rows = tuple[int, int, int, int]  # top, bottom, left, right; the ends excluded


def find_character(mask: Mask, faint: Mask) -> tuple[Mask, Rows] | None:
    """Finds where the character is.

    Args:
        mask: (height, width), where there clearly is ink.
        faint: likewise, with the faint edges of the strokes; `mask` is a part of it.

    Returns:
        the neighbourhood of the character's blots, and its bounds with their faint edges; None if all is paper.
    """
    if not mask.any():
        return None
    step = -(-max(mask.shape) // GRID)
    labels = label_blots(_coarsen(mask, step))
    kept = _choose(labels, _areas(mask, labels, step))
    near = _grow(kept)  # faint edges reach into the next cell
    fine = np.kron(near, np.ones((step, step), bool))[: mask.shape[0], : mask.shape[1]]
    return fine, _bounds(faint & fine)


def _bounds(mask: Mask) -> Rows:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _pad(mask: Mask, step: int) -> Mask:
    height, width = mask.shape
    return np.pad(mask, ((0, -height % step), (0, -width % step)))


def _coarsen(mask: Mask, step: int) -> Mask:
    """One cell for step x step pixels: inked if any pixel of it is."""
    if step == 1:
        return mask
    padded = _pad(mask, step)
    return np.asarray(padded.reshape(padded.shape[0] // step, step, -1, step).any(axis=(1, 3)))


def label_blots(cells: Mask) -> NDArray[np.int32]:
    """Labels 8-connected blots: 0 for paper, else one positive number for each blot (not consecutive)."""
    labels = np.where(cells, np.arange(1, cells.size + 1, dtype=np.int32).reshape(cells.shape), 0).astype(np.int32)
    while True:
        spread = np.where(cells, _neighbour_max(labels), 0)
        # Pointer jumping: a label names a cell, and takes over the label that this cell has by now. Spirals need it.
        spread = np.where(cells, np.maximum(spread, spread.ravel()[spread - 1]), 0)
        if np.array_equal(spread, labels):
            return labels
        labels = spread


def _neighbour_max(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    padded = np.pad(labels, 1)
    rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    return np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def _grow(cells: Mask) -> Mask:
    return _neighbour_max(cells.astype(np.int32)) > 0


def _areas(mask: Mask, labels: NDArray[np.int32], step: int) -> dict[int, int]:
    """Ink pixels of each blot."""
    padded = _pad(mask, step)
    counts = padded.reshape(labels.shape[0], step, -1, step).sum(axis=(1, 3), dtype=np.int32)
    totals = np.bincount(labels.ravel(), counts.ravel())
    return {int(label): int(totals[label]) for label in np.unique(labels) if label}


def _choose(labels: NDArray[np.int32], areas: dict[int, int]) -> Mask:
    border = set(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]).tolist())
    inner = {label: area for label, area in areas.items() if label not in border}
    largest = max(areas.values())
    if inner and max(inner.values()) >= EDGE_RIVAL_SHARE * largest:
        areas, largest = inner, max(inner.values())
    return np.isin(labels, [label for label, area in areas.items() if area >= SPECK_SHARE * largest])
