"""Which blots of ink belong to the one character in a picture.

A picture holds more than its character: specks of dust, the edge of the paper, a shadow in a corner, a ruled line. Blots are
found on a coarse grid, where a gap of a pixel does not part a stroke, and kept by their size and place.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

GRID = 64  # cells along the longer side, at most
SPECK_SHARE = 0.03  # of the largest blot's area: what is smaller and lies apart is dust
EDGE_RIVAL_SHARE = 0.1  # a blot at the border gives way to an inner one that is at least so large

Mask = NDArray[np.bool_]
Rows = tuple[int, int, int, int]  # top, bottom, left, right; the ends excluded


class Blots(NamedTuple):
    """The 8-connected blots of a grid, by runs: a few strokes make some hundred, of which plain Python makes short work.

    Attributes:
        starts: of each run of inked cells, its first; cells are numbered along the rows, with one of paper behind each row.
        ends: likewise, the cell behind its last.
        owners: the blot of each run, named by the number of its first run.
    """

    starts: list[int]
    ends: list[int]
    owners: list[int]


def find_character(mask: Mask, faint: Mask) -> tuple[Mask, Rows] | None:
    """Finds where the character is.

    Args:
        mask: (height, width), where there clearly is ink.
        faint: likewise, with the faint edges of the strokes; `mask` is a part of it.

    Returns:
        the neighbourhood of the character's blots, and its bounds with their faint edges; None if all is paper.
    """
    height, width = mask.shape
    step = -(-max(height, width) // GRID)
    counts = _count_ink(mask, step)
    cells = counts > 0
    blots = find_blots(cells)
    if not blots.owners:
        return None
    near = _grow(_keep(cells, blots, _choose(blots, counts)))  # faint edges reach into the next cell
    fine = near.repeat(step, axis=0).repeat(step, axis=1)[:height, :width]
    return fine, _bounds(faint & fine)


def _bounds(mask: Mask) -> Rows:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _count_ink(mask: Mask, step: int) -> NDArray[np.uint8]:
    """One cell for step x step pixels: how many of them are inked. Beyond the mask there is paper."""
    height, width = mask.shape
    padded = np.zeros((height + -height % step, width + -width % step), np.uint8)
    padded[:height, :width] = mask
    rows = sum((padded[first::step] for first in range(1, step)), start=padded[::step])
    return sum((rows[:, first::step] for first in range(1, step)), start=rows[:, ::step])


def find_blots(cells: Mask) -> Blots:
    """Which inked cells hang together, corners included."""
    height, width = cells.shape
    stride = width + 1
    lines = np.zeros(height * stride + 1, bool)
    lines[1:].reshape(height, stride)[:, :width] = cells
    changes = np.flatnonzero(lines[1:] != lines[:-1]).tolist()
    starts, ends = changes[::2], changes[1::2]
    owners = list(range(len(starts)))
    above = 0
    for run, (start, end) in enumerate(zip(starts, ends, strict=True)):
        # What touches it in the row above ends no earlier than `start - stride`, and begins no later than `end - stride`.
        while ends[above] < start - stride:
            above += 1
        other = above
        while starts[other] <= end - stride:
            _join(owners, run, other)
            other += 1
    for run, owner in enumerate(owners):
        owners[run] = owners[owner]
    return Blots(starts, ends, owners)


def _join(owners: list[int], run: int, other: int) -> None:
    """The blots of two runs become one. An owner never comes after what it owns, and owns itself."""
    run, other = _find_owner(owners, run), _find_owner(owners, other)
    owners[max(run, other)] = min(run, other)


def _find_owner(owners: list[int], run: int) -> int:
    while owners[run] != run:
        owners[run] = run = owners[owners[run]]  # halves the way for the next one
    return run


def _choose(blots: Blots, counts: NDArray[np.uint8]) -> set[int]:
    """The blots of the character."""
    height, width = counts.shape
    stride = width + 1
    lines = np.zeros((height, stride), np.intp)
    lines[:, 1:] = counts
    inked = np.cumsum(lines).tolist()  # up to each cell, itself excluded
    areas, outer = dict.fromkeys(blots.owners, 0), set()
    for start, end, owner in zip(*blots, strict=True):
        areas[owner] += inked[end] - inked[start]
        if start % stride == 0 or end % stride == width or start < width or end > stride * (height - 1):
            outer.add(owner)
    inner = {owner: area for owner, area in areas.items() if owner not in outer}
    largest = max(areas.values())
    if inner and max(inner.values()) >= EDGE_RIVAL_SHARE * largest:
        areas, largest = inner, max(inner.values())
    return {owner for owner, area in areas.items() if area >= SPECK_SHARE * largest}


def _keep(cells: Mask, blots: Blots, chosen: set[int]) -> Mask:
    """The cells of the chosen blots."""
    if chosen.issuperset(blots.owners):
        return cells
    height, width = cells.shape
    lines = np.zeros((height, width + 1), bool)
    for start, end, owner in zip(*blots, strict=True):
        if owner in chosen:
            lines.ravel()[start:end] = True
    return lines[:, :width]


def _grow(cells: Mask) -> Mask:
    """With the cells next to them, corners included."""
    rows = cells.copy()
    rows[1:] |= cells[:-1]
    rows[:-1] |= cells[1:]
    grown = rows.copy()
    grown[:, 1:] |= rows[:, :-1]
    grown[:, :-1] |= rows[:, 1:]
    return grown
