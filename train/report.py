"""The report of an evaluation: one HTML file that holds everything, its pictures too, and asks no other machine for anything.

It needs no script, prints, and is light or dark as the reader's system is.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple
from unicodedata import east_asian_width

from train import plots
from train.metrics import Evaluation, Outcome, Real, Strange, join_letters, show_corruptions

GALLERY = 40  # mistakes that are drawn
NONE = "\N{EN DASH}"  # a number that there is not: the precision of a class that was never answered

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #24292f; --quiet: #5f6872; --line: #e4e7eb; --soft: #f6f7f9; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #1b1f24; --ink: #e0e4e9; --quiet: #98a2ad; --line: #30363d; --soft: #22272e; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.5rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue", Arial, "Noto Sans", "Noto Sans CJK SC", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.8rem 0 .6rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
p { margin: .4rem 0 .8rem; max-width: 46rem; }
p.quiet, figcaption { color: var(--quiet); font-size: .9rem; }
code { font: .88em ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
dl.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .8rem; margin: 1.6rem 0 0; }
dl.figures div { background: var(--soft); border-radius: .6rem; padding: .8rem 1rem; }
dt { color: var(--quiet); font-size: .85rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; }
dd.value { font-size: 1.45rem; line-height: 1.4; }
dd.note { color: var(--quiet); font-size: .82rem; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; margin: .4rem 0 1rem; }
th, td { padding: .28rem .9rem .28rem 0; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--quiet); font-weight: 600; }
th:first-child, td:first-child, .words { text-align: left; }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 100%; height: auto; }
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  h2 { break-after: avoid; }
  figure, tr, dl.figures div { break-inside: avoid; }
  div.wide { overflow: visible; }
}
""".strip()


class Picture(NamedTuple):
    """A picture in two appearances. `name` is its file's, without the ending; `alt` is for those who don't see it."""

    name: str
    alt: str
    light: bytes
    dark: bytes


class Figure(NamedTuple):
    """One number that matters, with its unit in it, and what it is about."""

    name: str
    value: str
    note: str = ""


class Table(NamedTuple):
    """Rows of text under their heads. The first `words` columns hold words and the others numbers."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1


class Section(NamedTuple):
    """A part of the report: what it shows, in a sentence or two, then its pictures and its tables."""

    title: str
    text: str = ""
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()


def render(title: str, lead: str, figures: Sequence[Figure], sections: Iterable[Section], *, command: str) -> str:
    """The whole page. All text is taken literally: a class may be called `<b>`."""
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(lead)}</p>",
        f'<p class="quiet"><code>{escape(command)}</code></p>',
        f'<dl class="figures">{"".join(map(_figure, figures))}</dl>',
        *map(_section, sections),
    ]
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n"
    )
    return f"{head}{chr(10).join(parts)}\n</body>\n</html>\n"


def share(value: float | None, digits: int = 2) -> str:
    """A share as per cent: 0.9963 is 99.63 %."""
    return NONE if value is None else f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def _figure(figure: Figure) -> str:
    note = f'<dd class="note">{escape(figure.note)}</dd>' if figure.note else ""
    return f'<div><dt>{escape(figure.name)}</dt><dd class="value">{escape(figure.value)}</dd>{note}</div>'


def _section(section: Section) -> str:
    text = f"<p>{escape(section.text)}</p>" if section.text else ""
    shown = [*map(_picture, section.pictures), *map(_table, section.tables)]
    return f"<section>\n<h2>{escape(section.title)}</h2>\n{text}\n{chr(10).join(shown)}\n</section>"


def _picture(picture: Picture) -> str:
    dark = f'<source media="(prefers-color-scheme: dark)" srcset="{_data_uri(picture.dark)}">'
    width = round(int.from_bytes(picture.light[16:20]) * 96 / plots.DPI)  # a PNG tells its width there
    light = f'<img src="{_data_uri(picture.light)}" width="{width}" alt="{escape(picture.alt)}">'
    return f"<figure><picture>{dark}{light}</picture></figure>"


def _table(table: Table) -> str:
    heads = _row("th", table.heads, table.words)
    rows = "\n".join(_row("td", row, table.words) for row in table.rows)
    return f'<div class="wide"><table>\n<thead>{heads}</thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>'


def _row(tag: str, cells: Sequence[str], words: int) -> str:
    marks = [' class="words"' if number < words else "" for number in range(len(cells))]
    return f"<tr>{''.join(f'<{tag}{mark}>{escape(cell)}</{tag}>' for mark, cell in zip(marks, cells, strict=True))}</tr>"


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode()}"


def draw(evaluation: Evaluation) -> list[Picture]:
    """Every picture that there is something for, in both appearances."""
    names = evaluation.reader.class_names
    wrong = evaluation.mistakes[:GALLERY]
    labels = dict(zip(names, plots.class_labels(names), strict=True))
    drawn: list[Picture] = []

    def add(name: str, alt: str, paint: Callable[[plots.Theme], bytes]) -> None:
        drawn.append(Picture(name, alt, paint(plots.LIGHT), paint(plots.DARK)))

    if evaluation.curves:
        add("curves", "Loss and accuracy of each epoch", lambda theme: plots.draw_curves(theme, evaluation.curves))
    add("classes", "Precision and recall of each class", lambda theme: plots.draw_classes(theme, evaluation.classes))
    add("confusion", "Confusion matrix", lambda theme: plots.draw_confusion(theme, evaluation.confusion.tolist(), names))
    error = evaluation.calibration_errors[0]
    add("reliability", "Reliability diagram", lambda theme: plots.draw_reliability(theme, evaluation.bins, error))
    if wrong:
        images = [evaluation.test.images[one.number].numpy() for one in wrong]
        captions = [f"{labels[one.label]}\ntaken for {labels[one.answer]}, {one.probability:.0%}" for one in wrong]
        add("mistakes", "The worst mistakes", lambda theme: plots.draw_gallery(theme, images, captions))
    if evaluation.corrupted:
        shown = show_corruptions(evaluation.test.images[:10].numpy())
        add("corruptions", "Corruptions", lambda theme: plots.draw_gallery(theme, [*shown.values()], [*shown], 4, wide=2))
    if failed := [one for one in evaluation.real if one.unsure or not one.right]:
        frames = [one.frame for one in failed]
        said = [f"{one.file}: {labels[one.label]}\n{_verdict(one, labels)}" for one in failed]
        add("real", "Real pictures that were not read", lambda theme: plots.draw_gallery(theme, frames, said, 6))
    return drawn


def compose(evaluation: Evaluation, pictures: Sequence[Picture]) -> str:
    """The report as HTML."""
    shown = {picture.name: picture for picture in pictures}
    names = evaluation.reader.class_names
    lead = f"{evaluation.score.n:,} test images of {evaluation.origin}, {len(names)} classes."
    sections = [section for section in _sections(evaluation, shown) if section.pictures or section.tables]
    title = f"Evaluation of {evaluation.reader.title}"
    return render(title, lead, _key_figures(evaluation), sections, command=evaluation.command)


def tell(evaluation: Evaluation) -> Iterator[str]:
    """The same for a terminal, line by line."""
    by_width, by_mass = evaluation.calibration_errors
    sure = evaluation.sureness
    yield f"{evaluation.reader.title}, on the test set of {evaluation.origin}"
    yield f"accuracy: {evaluation.score}"
    yield f"negative log-likelihood: {evaluation.score.loss:.4f}"
    yield f"expected calibration error: {by_width:.2%} in 15 bins of equal width, {by_mass:.2%} of equal mass"
    yield f"unsure, below {sure.threshold:.3f}: {sure.unsure_share:.2%}; wrong among the sure: {share(sure.sure_error_rate, 3)}"
    for section in _sections(evaluation, {}):
        for table in section.tables:
            yield ""
            yield from _lines(table)


def _key_figures(evaluation: Evaluation) -> list[Figure]:
    low, high = evaluation.score.interval_95
    sure, score = evaluation.sureness, evaluation.score
    by_width, by_mass = evaluation.calibration_errors
    figures = [
        Figure("Accuracy", share(score.accuracy), f"95 % interval {share(low)} to {share(high)}; {score.errors:,} errors"),
        Figure("Calibration error", share(by_width), f"in bins of equal width; {share(by_mass)} of equal mass"),
        Figure("Negative log-likelihood", f"{score.loss:.4f}", "mean over the test images"),
        Figure("Unsure", share(sure.unsure_share), f"below a probability of {sure.threshold:.3f}; {sure.unsure:,} images"),
        Figure("Wrong among the sure", share(sure.sure_error_rate, 3), f"{sure.sure_errors:,} images"),
    ]
    if evaluation.real:
        right, wrong, unsure = _count_real(evaluation.real)
        n = right + wrong + unsure
        figures.append(Figure("Real pictures", f"{right} of {n}", f"read and sure; {wrong} wrong, {unsure} unsure"))
    return figures


def _sections(evaluation: Evaluation, pictures: Mapping[str, Picture]) -> Iterator[Section]:
    """In the order in which they are read; one without pictures and tables is left out by those who show them."""

    def of(*names: str) -> list[Picture]:
        return [pictures[name] for name in names if name in pictures]

    yield Section(
        "Training", "The dotted line is the epoch whose weights were kept: the least loss in validation.", of("curves")
    )
    yield Section("Classes", _CLASSES, of("classes", "confusion"), [_class_table(evaluation)])
    yield Section("Honesty", _HONESTY, of("reliability"))
    yield Section("Worst mistakes", _MISTAKES, of("mistakes"))
    yield Section("Corruptions", _CORRUPTIONS, of("corruptions"), _corruption_tables(evaluation))
    strangers = [*evaluation.strangers, *join_letters(evaluation.letters)]
    yield Section("Strangers", _STRANGERS, (), [*_strange_tables("pictures", strangers), *_letter_tables(evaluation)])
    yield Section("Real pictures", _REAL, of("real"), _real_tables(evaluation))


_CLASSES = (
    "Precision: of all images that were called so, how many are it. Recall: of all that are it, how many were called so. "
    "Where class names can't be drawn, pictures show their numbers, which this table explains."
)
_HONESTY = (
    "Of all answers with a probability of, say, 0.9, nine in ten should be right: then the bars end on the diagonal. "
    "Most answers of a good network are nearly certain, so the bars on the left stand for few images."
)
_MISTAKES = "Those of which the network was surest, first. Above what it is, below what it was taken for."
_CORRUPTIONS = (
    "Frame: the test image itself is corrupted, and the network sees it as it is. Drawing: it is enlarged to 280 pixels, "
    "corrupted there and framed by the server, as a drawing or a photograph would be: the picture shows drawings, and beside "
    "each what was framed of it. Lengths are in pixels of a frame."
)
_STRANGERS = "Pictures that are no character of this network's, framed by the server: it should be unsure about all of them."
_REAL = (
    "Whole files through the server's decoding and framing; pictures of one character. A sure and wrong answer is the worst."
)


def _class_table(evaluation: Evaluation) -> Table:
    rows = [
        (str(number), one.name, share(one.precision), share(one.recall), f"{one.n:,}", f"{one.n - one.right:,}")
        for number, one in enumerate(evaluation.classes)
    ]
    return Table(("no.", "class", "precision", "recall", "images", "missed"), rows, words=2)


def _corruption_tables(evaluation: Evaluation) -> list[Table]:
    def told(outcome: Outcome) -> tuple[str, str]:
        return share(outcome.accuracy), share(outcome.unsure_share)

    rows = [(one.name, one.strength, *told(one.frame), *told(one.drawing)) for one in evaluation.corrupted]
    if not rows:
        return []
    frames, drawings = (f"n = {of.n:,}" for of in (evaluation.corrupted[0].frame, evaluation.corrupted[0].drawing))
    heads = ("corruption", "strength", f"frame, {frames}", "unsure", f"drawing, {drawings}", "unsure")
    return [Table(heads, rows, words=2)]


def _strange_tables(what: str, kinds: Sequence[Strange]) -> list[Table]:
    rows = [(one.name, f"{one.n:,}", share(one.unsure_share, 1)) for one in kinds]
    return [Table((what, "n", "unsure"), rows)] if rows else []


def _letter_tables(evaluation: Evaluation) -> list[Table]:
    """Letter by letter, the one that is most often taken for something it is not first."""
    return _strange_tables("letter", sorted(evaluation.letters, key=lambda one: one.unsure_share))


def _real_tables(evaluation: Evaluation) -> list[Table]:
    if not evaluation.real:
        return []
    names = {name: name for name in evaluation.reader.class_names}
    failed = [one for one in evaluation.real if one.unsure or not one.right]
    right, wrong, unsure = _count_real(evaluation.real)
    would = sum(one.right for one in evaluation.real)
    n = len(evaluation.real)
    counts = Table(
        ("pictures", "sure and right", "sure and wrong", "unsure", "right, sure or not"),
        [(f"{n:,}", f"{right:,}", f"{wrong:,}", f"{unsure:,}", f"{would:,} ({share(would / n, 1)})")],
    )
    rows = [(one.file, one.label, _verdict(one, names)) for one in failed]
    return [counts, Table(("file", "what it is", "answer"), rows, words=3)] if rows else [counts]


def _count_real(pictures: Sequence[Real]) -> tuple[int, int, int]:
    """How many are sure and right, sure and wrong, unsure."""
    unsure = sum(one.unsure for one in pictures)
    right = sum(one.right and not one.unsure for one in pictures)
    return right, len(pictures) - right - unsure, unsure


def _verdict(one: Real, labels: Mapping[str, str]) -> str:
    if not one.answer:
        return "no ink found"
    return f"{'unsure' if one.unsure else 'wrong'}: {labels[one.answer]}, {one.probability:.0%}"


def _lines(table: Table) -> Iterator[str]:
    """A table in letters of one width."""
    rows = [table.heads, *table.rows]
    widths = [max(_width(row[column]) for row in rows) for column in range(len(table.heads))]
    for row in rows:
        cells = [
            _pad(cell, width, left=number < table.words) for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _pad(cell: str, width: int, *, left: bool) -> str:
    space = " " * (width - _width(cell))
    return cell + space if left else space + cell


def _width(text: str) -> int:
    """In columns of a terminal, where a Chinese character takes two."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)
