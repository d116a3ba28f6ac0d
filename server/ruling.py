"""Ruled and checked paper: finds the printed lines behind a character and takes them away.

A ruled line runs straight, or in a slight bend, from one side of the picture to the other, and is thinner or fainter than the
pen; or there are several at equal distances. All of that is asked for, and that a character is left without them: strokes
that reach both borders, or a grid drawn by hand, stay. Where the character crosses a line, its ink is kept if it is clearly
stronger, and else bridged from above to below the line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from server.paper import quantile

THICKEST = 1 / 16  # of the picture's longer side: what is thicker is no ruled line
STEEPEST = 0.15  # pixels down per pixel across
SLOPE_STEP = 0.01
SLOPE_SPREAD = 3  # steps: so far apart may be the slopes of one paper's lines, which a camera sees in perspective
PLACES = 48  # columns at which a line is looked for on its way across
OUTER = 6  # of these, next to each border: hardly ever hidden by the character
COVERAGE, OUTER_COVERAGE = 0.75, 0.85  # of the places, and of the outer ones, where nothing hides the line: they must show it
BEND_PX = 5  # how far a line may lie from the straight one that was found
FIT_ROUNDS = 8  # each with less weight for what lies aside
WAVER_PX = 0.25  # the median distance from the parabola: printed lines have 0.05, drawn ones 0.3 and more
KEPT = 1.25  # times the line's level: more is the character's ink upon it
FAINTER, THINNER = 0.75, 0.67  # than the pen, so much at the most: a ruled line
REGULAR = 4  # lines at equal distances are paper, however strong and thick
MIN_REST = 0.003  # of the picture: less ink than that beside the lines is no character, and they are not paper

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]
Places = NDArray[np.floating[Any]]


class Line(NamedTuple):
    """A line from the left to the right.

    Attributes:
        rows: (width,), its middle in each column.
        profile: grey levels across it, an odd number of places around its middle.
        upright: it runs from the top to the bottom instead, in the picture mirrored at its diagonal.
    """

    rows: Rows
    profile: Field
    upright: bool

    @property
    def level(self) -> float:
        return float(self.profile.max())

    @property
    def thickness(self) -> float:
        return float(self.profile.sum()) / self.level


def erase_ruling(relief: Field, threshold: float) -> Field:
    """Takes ruled lines away.

    Args:
        relief: (height, width), grey levels above the paper, towards ink.
        threshold: a line's grey level at least.

    Returns:
        the relief without its lines; itself if it has none.
    """
    lines = [*_find_lines(relief, threshold, upright=False), *_find_lines(relief.T, threshold, upright=True)]
    if not lines:
        return relief
    rest = _erase(relief, lines, threshold)
    ruled = _choose_ruled(lines, rest, threshold)
    return rest if len(ruled) == len(lines) else _erase(relief, ruled, threshold)


def _find_lines(relief: Field, threshold: float, *, upright: bool) -> Iterator[Line]:
    """All lines from the left border to the right one, ruled or drawn."""
    reach = max(2, round(max(relief.shape) * THICKEST))
    smooth = _smooth(np.ascontiguousarray(relief))
    thick = _open(smooth, reach)
    for rows in _trace(smooth - thick, thick > threshold, threshold):
        profile = _measure(relief, rows, reach // 2 + 1)
        if profile is not None and float(profile.max()) > threshold:
            yield Line(rows, profile, upright)


def _smooth(relief: Field) -> Field:
    """Averages five neighbours of a row: a line stays, and the noise is evened."""
    padded = np.pad(relief, ((0, 0), (2, 2)), mode="edge")
    return np.asarray(np.add.reduce([padded[:, first : first + relief.shape[1]] for first in range(5)]) / 5, np.float32)


def _open(relief: Field, reach: int) -> Field:
    """Without what is less than `reach` pixels high."""
    padded = np.pad(relief, ((reach - 1, reach - 1), (0, 0)), mode="edge")
    return _run(np.maximum, _run(np.minimum, padded, reach), reach)


def _run(extreme: np.ufunc, field: Field, reach: int) -> Field:
    """The extreme of each `reach` rows that follow one another, by pairs, pairs of pairs and so on."""
    done = 1
    while done < reach:
        more = min(done, reach - done)
        field = extreme(field[:-more], field[more:])
        done += more
    return field


def _trace(thin: Field, hidden: Mask, threshold: float) -> list[Rows]:
    """The rows (width,) of each line: found straight, then followed as it bends."""
    width = thin.shape[1]
    places = np.linspace(0, width - 1, min(width, PLACES)).astype(np.intp)
    shown, across = thin[:, places] > threshold, places - width / 2
    if not shown[:, :OUTER].any() or not shown[:, -OUTER:].any():
        return []
    shown[1:-1] |= shown[:-2] | shown[2:]
    straight = _find_straight(shown, shown | ~hidden[:, places], across)
    followed = [_follow(thin, places, row + slope * across, threshold) for row, slope in straight]
    # Judged together: a stroke along one of a paper's lines makes that line alone waver.
    printed = bool(followed) and np.median([waver for _, waver in followed]) <= WAVER_PX
    return [rows for rows, waver in followed if waver < np.inf] if printed else []


def _find_straight(shown: Mask, known: Mask, across: NDArray[np.float64]) -> list[tuple[float, float]]:
    """The middle row and the slope of each straight line; `shown` and `known` (height, places): where one is, and could be."""
    slopes = np.arange(-STEEPEST, STEEPEST + SLOPE_STEP / 2, SLOPE_STEP)
    coverage = _cover(shown, known, np.rint(np.outer(across, slopes)).astype(np.intp))
    scores = (coverage**2).sum(axis=1)
    best = int(np.median(np.flatnonzero(scores >= 0.99 * scores.max())))
    found = coverage[max(0, best - SLOPE_SPREAD) : best + SLOPE_SPREAD + 1].any(axis=0)
    edges = np.flatnonzero(np.diff(np.pad(found.astype(np.int8), 1)))  # a line's neighbouring rows are found with it
    return [((first + end - 1) / 2, float(slopes[best])) for first, end in edges.reshape(-1, 2).tolist()]


def _cover(shown: Mask, known: Mask, offsets: Rows) -> Field:
    """(slopes, height): for the line of each slope through each row, at which share of the places it is shown; 0 where that
    makes no line. `offsets` (places, slopes): how many rows lower it is at each place.
    """
    (height, places), reach = shown.shape, int(abs(offsets).max())
    # Both counts in one number: known places are worth 64 each, and shown ones, of which there are fewer, one more.
    votes = np.pad(np.where(known, 64 + shown, 0).astype(np.int16).T, ((0, 0), (reach, reach)))
    votes = sliding_window_view(votes, height, axis=1)[np.arange(places)[:, None], reach + offsets]
    seen, hits = np.divmod(votes.sum(axis=0), 64)
    outer_seen, outer_hits = np.divmod(votes[:OUTER].sum(axis=0) + votes[-OUTER:].sum(axis=0), 64)
    crosses = (seen > 0.4 * places) & (hits > COVERAGE * seen)
    ends = (outer_seen >= OUTER / 2) & (outer_hits > OUTER_COVERAGE * outer_seen)
    return np.where(crosses & ends, hits / np.maximum(seen, 1), 0).astype(np.float32)


def _follow(thin: Field, places: Rows, straight: NDArray[np.float64], threshold: float) -> tuple[Rows, float]:
    """A parabola through the middles of what is shown near a straight line, and how far they waver about it, in pixels."""
    height, width = thin.shape
    rows = np.rint(straight).astype(np.intp)[:, None] + np.arange(-BEND_PX, BEND_PX + 1)
    weights = thin[rows.clip(0, height - 1), places[:, None]]
    weights = np.where((rows >= 0) & (rows < height) & (weights > threshold), weights, 0)
    kept = weights.any(axis=1)
    if np.count_nonzero(kept) < len(places) / 4:
        return rows[:0, 0], np.inf
    x, y = places[kept] / width, (weights * rows)[kept].sum(axis=1) / weights[kept].sum(axis=1)
    bend, waver = _fit_parabola(x, y)
    return np.rint(np.polyval(bend, np.arange(width) / width)).astype(np.intp), waver


def _fit_parabola(x: Places, y: Places) -> tuple[Places, float]:
    """By least distances, not squares: the character's ink beside a line must not drag it. Also the median distance."""
    terms = np.vander(x, 3)
    distance = np.ones_like(y)
    for _ in range(FIT_ROUNDS):
        weighted = terms / np.maximum(distance, 0.05)[:, None]
        bend = np.linalg.solve(weighted.T @ terms, weighted.T @ y)
        distance = abs(terms @ bend - y)
    return bend, quantile(distance, 0.5)


def _measure(relief: Field, rows: Rows, half: int) -> Field | None:
    """The grey levels across a line, `half` places to each side at most; None if it is no thin line after all."""
    band, inside = _take(relief, rows, half)
    if not inside[half].any():
        return None
    profile = np.percentile(band[:, inside[half]], 30, axis=1)  # what the character adds in some columns is above that
    high = profile > 0.15 * profile[half - 1 : half + 2].max()
    up, down = high[half::-1], high[half:]
    if not high[half] or up.all() or down.all():
        return None
    side = max(int(np.argmin(up)), int(np.argmin(down))) - 1
    return np.asarray(profile[half - side : half + side + 1].clip(0), np.float32)


def _take(relief: Field, rows: Rows, half: int) -> tuple[Field, Mask]:
    """The pixels across a line, (2 * half + 1, width), and which of them are in the picture; the others are paper."""
    index = rows + np.arange(-half, half + 1)[:, None]
    inside = (index >= 0) & (index < len(relief))
    return np.where(inside, relief[index.clip(0, len(relief) - 1), np.arange(len(rows))], 0), inside


def _erase(relief: Field, lines: list[Line], threshold: float) -> Field:
    relief = relief.copy()
    for line in lines:
        _bridge(relief.T if line.upright else relief, line, threshold)
    return relief


def _bridge(relief: Field, line: Line, threshold: float) -> None:
    """In place: what is not stronger than the line passes evenly from what is above it to what is below."""
    half = len(line.profile) // 2 + 2
    band, inside = _take(relief, line.rows, half)
    padded = np.pad(line.profile, 3)  # the line may lie a pixel beside its rows
    expected = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])[:, None]
    down = np.linspace(0, 1, 2 * half + 1, dtype=np.float32)[:, None]
    bridged = np.minimum(band, (1 - down) * band[0] + down * band[-1])
    band = np.where(band > KEPT * expected + threshold, band, bridged)
    places, columns = np.nonzero(inside)
    relief[line.rows[columns] + places - half, columns] = band[inside]


def _choose_ruled(lines: list[Line], rest: Field, threshold: float) -> list[Line]:
    """Those lines that are paper, judged by the ink that is left without them."""
    ink = rest > max(threshold, 0.4 * float(rest.max()))
    if np.count_nonzero(ink) < MIN_REST * rest.size:
        return []
    level, pen = float(np.percentile(rest[ink], 75)), measure_pen(ink)
    ruled = []
    for upright in (False, True):
        parallel = [line for line in lines if line.upright is upright]
        regular = _are_regular(parallel)
        ruled += [one for one in parallel if regular or one.level < FAINTER * level or one.thickness < THINNER * pen]
    return ruled


def measure_pen(ink: Mask) -> float:
    """The strokes' width in pixels."""
    # One of width w and length l has area w*l and about 2*l*1.27 pixel edges (averaged over directions).
    edges = int(np.count_nonzero(ink[1:] != ink[:-1]) + np.count_nonzero(ink[:, 1:] != ink[:, :-1]))
    return 2.55 * int(np.count_nonzero(ink)) / max(edges, 1)


def _are_regular(lines: list[Line]) -> bool:
    gaps = np.diff(sorted(float(line.rows.mean()) for line in lines))
    return len(lines) >= REGULAR and bool(np.ptp(gaps) < 0.15 * gaps.mean())
