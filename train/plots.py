"""Pictures of a run: each function gives the bytes of one PNG, in a light or a dark theme.

Class names that the font lacks are drawn as their number, since empty boxes say nothing: `drawable` tells which it will be.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from numpy.typing import NDArray

from train.evaluate import Bin, ClassScore, wilson_interval

FONT = "DejaVu Sans"  # comes with matplotlib: the same pictures everywhere
DPI = 160
LONGEST_NAME = 12  # letters; longer class names are drawn as their number
LABELLED_CELLS = 30  # classes a side, above which a confusion matrix has no room for its numbers
COLUMNS = 8  # of a gallery

P = ParamSpec("P")
Grey = NDArray[np.uint8]
Row = dict[str, Any]


class Theme(NamedTuple):
    """Colours of one appearance; `wrong` marks what went wrong, in words and cells."""

    name: str
    paper: str
    ink: str
    quiet: str
    grid: str
    first: str
    second: str
    wrong: str
    map: str  # matplotlib's name of a colour map that starts near `paper`


LIGHT = Theme("light", "#ffffff", "#24292f", "#6e7781", "#e4e7eb", "#2f6f9f", "#d98a29", "#b3372f", "Reds")
DARK = Theme("dark", "#1b1f24", "#e0e4e9", "#98a2ad", "#30363d", "#6cb2e0", "#e9a957", "#f08c82", "inferno")
THEMES = (LIGHT, DARK)


def _png(draw: Callable[Concatenate[Theme, P], Figure]) -> Callable[Concatenate[Theme, P], bytes]:
    """Let a function that draws a figure give its PNG instead, in the theme's colours."""

    @wraps(draw)
    def drawn(theme: Theme, /, *args: P.args, **kwargs: P.kwargs) -> bytes:
        with matplotlib.rc_context(_style(theme)):
            sink = io.BytesIO()
            draw(theme, *args, **kwargs).savefig(sink, format="png", dpi=DPI, metadata={"Software": None})
        return sink.getvalue()

    return drawn


@_png
def draw_curves(theme: Theme, rows: Sequence[Row]) -> Figure:
    """Loss and accuracy of each epoch, as metrics.jsonl tells them."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    best = min(rows, key=lambda row: row["validation_loss"])["epoch"]
    for axes, name, title in zip(figure.subplots(1, 2), ("loss", "accuracy"), ("Loss", "Accuracy"), strict=True):
        marker = "o" if len(rows) < 3 else None
        axes.plot(epochs, [row[name] for row in rows], color=theme.second, marker=marker, label="training, as it went by")
        axes.plot(epochs, [row[f"validation_{name}"] for row in rows], color=theme.first, marker=marker, label="validation")
        axes.axvline(best, color=theme.quiet, linewidth=1, linestyle=":", label=f"best epoch, {best}")
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="y")
    losses, accuracies = figure.axes
    losses.set_yscale("log")
    for axis in (losses.yaxis.set_major_formatter, losses.yaxis.set_minor_formatter):
        axis(_plain)
    accuracies.set_ylim(
        _floor([row[name] for row in rows[len(rows) // 10 :] for name in ("accuracy", "validation_accuracy")]), 1
    )
    accuracies.yaxis.set_major_formatter(_percent)
    accuracies.legend(loc="lower right")
    return figure


@_png
def draw_classes(theme: Theme, scores: Sequence[ClassScore]) -> Figure:
    """Bars of precision and recall for each class. The axis starts where the worst class needs it to."""
    figure = Figure(figsize=(max(6.0, 0.42 * len(scores) + 1.5), 3.6), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(scores))
    floor = _floor([share for one in scores for share in (one.precision, one.recall) if share is not None])
    pairs = (("precision", theme.first, -0.2), ("recall", theme.second, 0.2))
    for name, colour, offset in pairs:
        axes.bar(places + offset, [getattr(one, name) or 0 for one in scores], 0.38, color=colour, label=name)
    axes.set_ylim(floor, 1)
    axes.set_xlim(-0.7, len(scores) - 0.3)
    axes.set_xticks(places, class_labels([one.name for one in scores]))
    axes.yaxis.set_major_formatter(_percent)
    axes.set_title(f"Precision and recall of each class (from {floor:.4g})" if floor else "Precision and recall of each class")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    axes.grid(axis="y")
    axes.tick_params(axis="x", length=0)
    return figure


@_png
def draw_confusion(theme: Theme, counts: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """Row: what it is; column: what it was called. Only mistakes are coloured, as what is right would drown them."""
    table = np.asarray(counts)
    mistakes = table - np.diag(np.diag(table))
    size = max(4.5, 0.42 * len(names) + 1.2)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    limit = max(1.0, float(mistakes.max()) * 1.4)
    shown = np.ma.masked_equal(mistakes, 0)
    axes.imshow(shown, cmap=theme.map, vmin=-limit / 8 if theme is LIGHT else -limit / 2, vmax=limit)
    if len(names) <= LABELLED_CELLS:
        _number_cells(axes, theme, table, limit)
    labels = class_labels(names)
    axes.set_xticks(range(len(names)), labels)
    axes.set_yticks(range(len(names)), labels)
    axes.set_xlabel("answer")
    axes.set_ylabel("what it is")
    axes.set_title("Confusion matrix")
    axes.tick_params(length=0)
    for edge in np.arange(len(names) + 1) - 0.5:
        axes.axhline(edge, color=theme.grid, linewidth=0.6)
        axes.axvline(edge, color=theme.grid, linewidth=0.6)
    return figure


@_png
def draw_reliability(theme: Theme, bins: Sequence[Bin], error: float) -> Figure:
    """How often answers of each confidence are right, and how many of them there are."""
    figure = Figure(figsize=(5, 5.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    lows, widths = [one.low for one in bins], [one.high - one.low for one in bins]
    upper.plot([0, 1], [0, 1], color=theme.quiet, linewidth=1, linestyle="--", label="honest")
    accuracy, confidence = [one.accuracy for one in bins], [one.confidence for one in bins]
    upper.bar(lows, accuracy, widths, align="edge", color=theme.first, alpha=0.35, edgecolor=theme.paper)
    intervals = [wilson_interval(round(one.accuracy * one.n), one.n) for one in bins]
    reach = [
        [max(0.0, y - low) for y, (low, _) in zip(accuracy, intervals, strict=True)],
        [max(0.0, high - y) for y, (_, high) in zip(accuracy, intervals, strict=True)],
    ]
    upper.errorbar(
        confidence, accuracy, reach, fmt="o", color=theme.first, markersize=4, linewidth=1, label="with 95 % interval"
    )
    upper.set_ylim(0, 1.02)
    upper.set_ylabel("share that is right")
    upper.set_title(f"Reliability (calibration error {error:.2%})")
    upper.legend(loc="lower right", frameon=True, facecolor=theme.paper, edgecolor=theme.paper, framealpha=0.85)
    lower.bar(lows, [one.n for one in bins], widths, align="edge", color=theme.quiet, edgecolor=theme.paper)
    lower.set_yscale("log")
    lower.set_ylim(0.5)
    lower.yaxis.set_major_formatter(_count)
    lower.yaxis.set_minor_formatter(_nothing)
    lower.set_ylabel("answers")
    lower.set_xlabel("probability of the answer")
    lower.set_xlim(0, 1)
    for axes in (upper, lower):
        axes.grid(axis="y")
    return figure


@_png
def draw_gallery(
    theme: Theme, pictures: Sequence[Grey], captions: Sequence[str], columns: int = COLUMNS, wide: float = 1
) -> Figure:
    """Pictures (h, w) uint8 in rows, `wide` times as wide as high, each with its caption, whose second line is in red."""
    columns = min(columns, len(pictures))
    cell = (wide + 0.15, 1.5 if any("\n" in caption for caption in captions) else 1.3)
    figure = Figure(figsize=(columns * cell[0], -(-len(pictures) // columns) * cell[1]))
    axes = figure.add_axes((0, 0, 1, 1))  # one for all, in inches from the top left: dozens of axes would take seconds
    axes.set_axis_off()
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(number, columns)
        middle, top = (column + 0.5) * cell[0], row * cell[1] + 0.06
        size = min(1 / picture.shape[0], wide / picture.shape[1]) * np.array(picture.shape)
        place = (middle - size[1] / 2, middle + size[1] / 2, top + size[0], top)
        smooth = "nearest" if max(picture.shape) < 60 else "antialiased"
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation=smooth, extent=place)
        first, _, second = caption.partition("\n")
        axes.text(middle, top + 1.05, first, ha="center", va="top", fontsize=8)
        axes.text(middle, top + 1.21, second, ha="center", va="top", fontsize=8, color=theme.wrong)
    axes.set_xlim(0, columns * cell[0])
    axes.set_ylim(figure.get_figheight(), 0)
    return figure


def class_labels(names: Sequence[str]) -> list[str]:
    """What to write for each class: the names if all of them can be drawn, else their numbers."""
    return list(names) if drawable(names) else [str(number) for number in range(len(names))]


def drawable(names: Sequence[str]) -> bool:
    """Whether the font has every letter of these names, and the picture room for them."""
    known = get_font(findfont(FontProperties(family=FONT))).get_charmap()
    return all(len(name) <= LONGEST_NAME and all(ord(letter) in known for letter in name) for name in names)


def _number_cells(axes: Axes, theme: Theme, table: NDArray[Any], limit: float) -> None:
    for (row, column), count in np.ndenumerate(table):
        if count:
            strong = count > limit / 2
            colour = theme.quiet if row == column else theme.paper if strong else theme.ink
            axes.text(column, row, f"{count}", ha="center", va="center", fontsize=7, color=colour)


def _floor(shares: Sequence[float]) -> float:
    """Where an axis of shares may start so that all of them are seen: at 0, 0.5, 0.8, 0.9, 0.95 ..."""
    lowest = min(shares, default=0.0)
    steps = (0.99, 0.98, 0.95, 0.9, 0.8, 0.5)
    return next((step for step in steps if lowest - (1 - step) * 0.1 > step), 0.0)


def _percent(value: float, _: object) -> str:
    return f"{100 * value:.4g} %"


def _count(value: float, _: object) -> str:
    return f"{value:,.0f}"


def _nothing(_: float, __: object) -> str:
    return ""


def _plain(value: float, _: object) -> str:
    """1, 2 and 5 of each power of ten: a label for every line would be too many."""
    return f"{value:g}" if f"{value:e}"[0] in "125" else ""


def _style(theme: Theme) -> Any:
    """matplotlib's settings for a theme. A class may be called $: no name is a formula."""
    inked = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor")
    spines = {f"axes.spines.{side}": False for side in ("top", "right", "left", "bottom")}
    return {
        **dict.fromkeys(inked, theme.ink),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), theme.paper),
        **dict.fromkeys(("xtick.color", "ytick.color"), theme.quiet),
        **spines,
        "grid.color": theme.grid,
        "axes.axisbelow": True,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "font.family": [FONT],
        "font.size": 9,
        "legend.frameon": False,
        "lines.linewidth": 1.6,
        "text.parse_math": False,
    }
