"""What a network makes of pictures that its test set lacks: corrupted ones, ones that are no character of its own, real ones.

Corruptions are measured on two roads. `frame`: the test image itself is corrupted and the network sees it as it is, as MNIST-C
does. `drawing`: the image is enlarged to a drawing, which is corrupted and goes through the server's framing routine. That is
what a user meets, and framing undoes some of it.
"""

from __future__ import annotations

import csv
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from server.preprocess import frame
from train.corruptions import CORRUPTIONS, STRANGERS, Corruption, corrupt, draw_strangers, pair
from train.data import Images, data_folder
from train.emnist import ARCHIVE, load_letters
from train.errors import DataError
from train.evaluate import (
    BINS,
    Bin,
    ClassScore,
    Score,
    Sureness,
    calibration_error,
    confusion,
    measure_sureness,
    reliability,
    reliability_by_mass,
    score_classes,
    score_probabilities,
)
from train.framing import BLANK, frame_all, frame_file
from train.strangers import LOOK_LIKE_DIGITS

DRAWING = 280  # pixels a side of a drawing
DRAWINGS = 2_000  # test images that are drawn, corrupted and framed for each corruption: milliseconds each
STRANGERS_EACH = 500  # pictures of each kind
UNTOUCHED = Corruption("none", "as it is", lambda image, _: image)

Grey = NDArray[np.uint8]


class Reader(NamedTuple):
    """A network that can be asked, whatever file it lies in.

    Attributes:
        title: what it is, in a few words.
        class_names: in the order of the probabilities.
        threshold: answers of a lower probability are unsure.
        answer: from images (n, side, side) uint8 to calibrated probabilities (n, classes).
    """

    title: str
    class_names: tuple[str, ...]
    threshold: float
    answer: Callable[[Tensor], Tensor]


class Mistake(NamedTuple):
    """A test image that was answered wrongly: its number in the test set, what it is, and what it was taken for."""

    number: int
    label: str
    answer: str
    probability: float


class Outcome(NamedTuple):
    """Of n pictures, how many were answered rightly (sure or not), and how many answers were unsure."""

    n: int
    right: int
    unsure: int

    @property
    def accuracy(self) -> float:
        return self.right / self.n

    @property
    def unsure_share(self) -> float:
        return self.unsure / self.n


class Corrupted(NamedTuple):
    """One corruption's outcomes on both roads."""

    name: str
    strength: str
    frame: Outcome
    drawing: Outcome


class Strange(NamedTuple):
    """Of n pictures of one kind that are no character of the network's, how many it is unsure about."""

    name: str
    n: int
    unsure: int

    @property
    def unsure_share(self) -> float:
        return self.unsure / self.n


class Real(NamedTuple):
    """A real picture and its answer; `frame` (side, side) uint8 is what the network saw of it. A blank one has no answer."""

    file: str
    label: str
    answer: str
    probability: float
    unsure: bool
    frame: Grey

    @property
    def right(self) -> bool:
        return self.answer == self.label


@dataclass(frozen=True)
class Evaluation:
    """All that was measured of one network. What was not asked for is empty.

    Attributes:
        reader: whose answers these are.
        test: the images with the network's own class numbers.
        probabilities: (n, classes), calibrated.
        origin: the test set's name, in words.
        command: that made it.
        curves: the epochs of its training.
    """

    reader: Reader
    test: Images
    probabilities: Tensor
    origin: str
    command: str
    curves: Sequence[dict[str, float]] = ()
    corrupted: Sequence[Corrupted] = ()
    strangers: Sequence[Strange] = ()
    letters: Sequence[Strange] = ()
    real: Sequence[Real] = ()

    @cached_property
    def score(self) -> Score:
        return score_probabilities(self.probabilities, self.test.labels)

    @cached_property
    def confusion(self) -> Tensor:
        return confusion(self.probabilities, self.test.labels)

    @cached_property
    def classes(self) -> list[ClassScore]:
        return score_classes(self.confusion, self.reader.class_names)

    @cached_property
    def bins(self) -> list[Bin]:
        return reliability(self.probabilities, self.test.labels)

    @cached_property
    def calibration_errors(self) -> tuple[float, float]:
        """Expected calibration error in bins of equal width, and of equal mass."""
        return calibration_error(self.bins), calibration_error(reliability_by_mass(self.probabilities, self.test.labels))

    @cached_property
    def sureness(self) -> Sureness:
        return measure_sureness(self.probabilities, self.test.labels, self.reader.threshold)

    @cached_property
    def mistakes(self) -> list[Mistake]:
        """The worst first: those that the network was surest of."""
        confidence, answers = self.probabilities.max(1)
        wrong = (answers != self.test.labels).nonzero()[:, 0]
        order = wrong[confidence[wrong].argsort(descending=True, stable=True)]
        names, labels = self.reader.class_names, self.test.labels
        return [Mistake(i, names[labels[i]], names[answers[i]], float(confidence[i])) for i in order.tolist()]

    def numbers(self) -> dict[str, Any]:
        """Everything as plain values, for a JSON file."""
        low, high = self.score.interval_95
        by_width, by_mass = self.calibration_errors
        sure = self.sureness
        return {
            "command": self.command,
            "model": self.reader.title,
            "dataset": self.origin,
            "n": self.score.n,
            "errors": self.score.errors,
            "accuracy": self.score.accuracy,
            "interval_95": [low, high],
            "negative_log_likelihood": self.score.loss,
            "calibration_error": {"bins": BINS, "equal_width": by_width, "equal_mass": by_mass},
            "sureness": {**sure._asdict(), "unsure_share": sure.unsure_share, "sure_error_rate": sure.sure_error_rate},
            "classes": [{**one._asdict(), "precision": one.precision, "recall": one.recall} for one in self.classes],
            "confusion": self.confusion.tolist(),
            "reliability": [one._asdict() for one in self.bins],
            "mistakes": [one._asdict() for one in self.mistakes],
            "corruptions": [{**_roads(one), "name": one.name, "strength": one.strength} for one in self.corrupted],
            "strangers": [_strange(one) for one in (*self.strangers, *join_letters(self.letters))],
            "letters": [_strange(one) for one in self.letters],
            "real": [{k: v for k, v in one._asdict().items() if k != "frame"} for one in self.real],
        }


def _roads(one: Corrupted) -> dict[str, dict[str, float]]:
    roads = {"frame": one.frame, "drawing": one.drawing}
    return {road: {"n": of.n, "accuracy": of.accuracy, "unsure_share": of.unsure_share} for road, of in roads.items()}


def _strange(one: Strange) -> dict[str, Any]:
    return {**one._asdict(), "unsure_share": one.unsure_share}


def judge(reader: Reader, pixels: Grey, labels: Tensor, problems: Sequence[str] = ()) -> Outcome:
    """Ask about frames (n, side, side); what could not be framed is unsure and not right, as on the server."""
    confidence, answers = reader.answer(torch.from_numpy(pixels)).max(1)
    framed = torch.tensor([not problem for problem in problems] or [True] * len(pixels))
    unsure = (confidence < reader.threshold) | ~framed
    return Outcome(len(pixels), int(((answers == labels) & framed).sum()), int(unsure.sum()))


def measure_corruptions(reader: Reader, test: Images, cache: Path) -> list[Corrupted]:
    """Every corruption on both roads; frames of drawings are kept in `cache`. The first row is of what was not corrupted."""
    images = test.images.numpy()
    drawings = enlarge(images[:DRAWINGS])
    rows = []
    for one in tqdm((UNTOUCHED, *CORRUPTIONS), desc="corruptions", unit="kind", disable=None, leave=False):
        frames = frame_all(corrupt(drawings, one), images.shape[-1], cache, progress=False)
        drawn = judge(reader, frames.pixels, test.labels[:DRAWINGS], frames.problems)
        rows.append(Corrupted(one.name, one.strength, judge(reader, corrupt(images, one), test.labels), drawn))
    return rows


def show_corruptions(images: Grey) -> dict[str, Grey]:
    """Each corruption on the next of a few images: the drawing, and beside it what is framed of it, (280, 560) uint8."""
    shown = {}
    for number, one in enumerate(CORRUPTIONS):
        drawing = corrupt(enlarge(images[number % len(images)][None]), one, seed=number)[0]
        framed = Image.fromarray(frame(drawing, size=images.shape[-1]).pixels)
        shown[one.name] = np.hstack([drawing, np.asarray(framed.resize((DRAWING, DRAWING), Image.Resampling.NEAREST))])
    return shown


def enlarge(images: Grey) -> Grey:
    """(n, h, w) uint8 as drawings of 280 pixels a side."""
    size, smooth = (DRAWING, DRAWING), Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(image).resize(size, smooth)) for image in images])


def measure_strangers(reader: Reader, characters: Grey, count: int = STRANGERS_EACH) -> list[Strange]:
    """Draw pictures of each kind that are no character, frame them as the server does, and ask. Blank ones are unsure."""
    side = characters.shape[-1]
    rows = []
    for name, kind in tqdm(STRANGERS.items(), desc="strangers", unit="kind", disable=None, leave=False):
        framed = [frame(picture, size=side) for picture in draw_strangers(kind, characters, count)]
        kept = [one for one in framed if one.blank or kind is not pair or is_wide(one.pixels)]
        if kept:
            pixels = np.stack([one.pixels for one in kept])
            problems = [BLANK if one.blank else "" for one in kept]
            rows.append(Strange(name, len(kept), judge(reader, pixels, torch.zeros(len(kept)), problems).unsure))
    return rows


def is_wide(pixels: Grey) -> bool:
    """Whether there is more than one character side by side in a frame: framing may keep one alone, which is no stranger."""
    rows, columns = (np.flatnonzero(pixels.max(axis=axis)) for axis in (1, 0))
    return bool(np.ptp(columns) > 1.1 * np.ptp(rows)) if len(rows) else False


def measure_letters(reader: Reader, folder: Path | None) -> list[Strange]:
    """EMNIST's test letters, letter by letter; nothing where they are not there, or where the network reads letters itself."""
    if set(reader.class_names) & set(string.ascii_letters) or not (data_folder(folder) / ARCHIVE).is_file():
        return []
    letters = load_letters(folder)
    unsure = reader.answer(letters.test.images).amax(1) < reader.threshold
    members = [letters.test.labels == number for number in range(len(letters.class_names))]
    return [
        Strange(name, int(chosen.sum()), int(unsure[chosen].sum()))
        for name, chosen in zip(letters.class_names, members, strict=True)
        if chosen.any()
    ]


def join_letters(letters: Sequence[Strange]) -> list[Strange]:
    """All letters, and those that nobody could take for a digit."""
    distinct = [one for one in letters if one.name not in LOOK_LIKE_DIGITS]
    groups = {"letters": letters, f"letters but {' '.join(sorted(LOOK_LIKE_DIGITS))}": distinct}
    return [Strange(name, sum(one.n for one in g), sum(one.unsure for one in g)) for name, g in groups.items() if g]


def read_real(reader: Reader, folder: Path, side: int) -> list[Real]:
    """Every picture of a single character that `labels.csv` names (file, label), through decoding and framing, and its answer.

    Raises:
        DataError: there is no such file, or it is something else, or a picture can't be read, or none is of a known class.
    """
    named = [(file, label) for file, label in _read_labels(folder / "labels.csv") if label in reader.class_names]
    if not named:
        raise DataError(f"{folder / 'labels.csv'} names no picture of one of the classes {', '.join(reader.class_names)}")
    frames = [frame_file(folder / file, side) for file, _ in named]
    for (file, _), (_, problem) in zip(named, frames, strict=True):
        if problem not in ("", BLANK):
            raise DataError(f"{folder / file}: {problem}")
    probabilities = reader.answer(torch.from_numpy(np.stack([pixels for pixels, _ in frames])))
    return [_answer(reader, *of, *seen, row) for of, seen, row in zip(named, frames, probabilities, strict=True)]


def _answer(reader: Reader, file: str, label: str, pixels: Grey, problem: str, probabilities: Tensor) -> Real:
    if problem:
        return Real(file, label, "", 0.0, unsure=True, frame=pixels)
    probability, number = float(probabilities.max()), int(probabilities.argmax())
    return Real(file, label, reader.class_names[number], probability, probability < reader.threshold, pixels)


def _read_labels(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as source:
            yield from [(row["file"], row["label"]) for row in csv.DictReader(source)]
    except FileNotFoundError:
        raise DataError(f"no labels.csv in {path.parent}") from None
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no table with the columns file and label: {error}") from error
