"""How good a network is, and how far its probabilities can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from train.model import Recognizer

UNSURE_SHARE = 0.004  # of validation images, at most this share may fall below the published threshold; 0.005 is promised
BINS = 15  # of confidence, as Guo et al. 2017 count calibration error
LEAST = 1e-12  # a probability below this counts as this, where its logarithm is taken


@dataclass(frozen=True)
class Score:
    """Accuracy over n images with its 95 % Wilson interval, and the mean cross entropy."""

    n: int
    errors: int
    loss: float

    @property
    def accuracy(self) -> float:
        return 1 - self.errors / self.n

    @property
    def interval_95(self) -> tuple[float, float]:
        return wilson_interval(self.n - self.errors, self.n)

    def __str__(self) -> str:
        low, high = self.interval_95
        return f"{self.accuracy:.2%} ({low:.2%} to {high:.2%}), {self.errors} errors in {self.n:,}"


@dataclass(frozen=True)
class Calibration:
    """What turns logits into honest probabilities, and the probability below which an answer is `unsure`."""

    temperature: float
    threshold: float


class ClassScore(NamedTuple):
    """One class: `answered` images were called it, `right` of the `n` that are it. A share of nothing is None."""

    name: str
    n: int
    answered: int
    right: int

    @property
    def precision(self) -> float | None:
        return self.right / self.answered if self.answered else None

    @property
    def recall(self) -> float | None:
        return self.right / self.n if self.n else None


class Bin(NamedTuple):
    """Answers of about one confidence: its range, how many there are, how confident on average, and how often right."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


class Sureness(NamedTuple):
    """What a threshold does to n answers: those below it are unsure, and of the others some are wrong."""

    threshold: float
    n: int
    unsure: int
    sure_errors: int

    @property
    def unsure_share(self) -> float:
        return self.unsure / self.n

    @property
    def sure_error_rate(self) -> float | None:
        """None where nothing is sure."""
        return self.sure_errors / (self.n - self.unsure) if self.n > self.unsure else None


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, *, device: torch.device, batch_size: int = 1000) -> Tensor:
    """Logits (n, classes) float32 on the CPU for images (n, h, w) uint8."""
    model.eval()
    rows = [model(as_input(part.to(device))).float().cpu() for part in torch.split(images, batch_size)]
    return torch.cat(rows)


@torch.inference_mode()
def answer(model: Recognizer, temperature: float, images: Tensor, *, batch_size: int = 1000) -> Tensor:
    """Probabilities (n, classes) float32 as they would be served, on the model's device, for images (n, h, w) uint8."""
    return torch.cat([model.answer(as_input(part), temperature) for part in torch.split(images, batch_size)])


def as_input(images: Tensor) -> Tensor:
    """uint8 (n, h, w) to what a network takes: float32 (n, 1, h, w) in 0..1."""
    return images.unsqueeze(1).float().div(255)


def score(logits: Tensor, labels: Tensor) -> Score:
    """Score logits (n, classes) against labels (n,)."""
    errors = int((logits.argmax(1) != labels).sum())
    return Score(n=len(labels), errors=errors, loss=float(cross_entropy(logits, labels)))


def score_probabilities(probabilities: Tensor, labels: Tensor) -> Score:
    """Score calibrated probabilities (n, classes); the loss is their negative log-likelihood."""
    return score(probabilities.clamp_min(LEAST).log(), labels)


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Counts (classes, classes) int64: row = the true class, column = the answer."""
    classes = logits.shape[1]
    return torch.bincount(labels * classes + logits.argmax(1), minlength=classes**2).view(classes, classes)


def score_classes(counts: Tensor, names: Sequence[str]) -> list[ClassScore]:
    """Each class of a confusion matrix (classes, classes), as `confusion` counts it."""
    columns = (counts.sum(1).tolist(), counts.sum(0).tolist(), counts.diag().tolist())
    return [ClassScore(*row) for row in zip(names, *columns, strict=True)]


def reliability(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> list[Bin]:
    """Answers by confidence, in bins of equal width over 0 to 1; empty ones are left out."""
    confidence, right = _confidence(probabilities, labels)
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    place = torch.bucketize(confidence, edges[1:-1])
    members = [place == number for number in range(bins)]
    ranges = zip(edges[:-1].tolist(), edges[1:].tolist(), members, strict=True)
    return [_bin(low, high, confidence[chosen], right[chosen]) for low, high, chosen in ranges if chosen.any()]


def reliability_by_mass(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> list[Bin]:
    """Answers by confidence, in bins of (nearly) equally many: most answers of a good network lie in one bin of equal width."""
    confidence, right = _confidence(probabilities, labels)
    order = confidence.argsort(stable=True)
    parts = [part for part in order.tensor_split(bins) if len(part)]
    return [_bin(float(confidence[p[0]]), float(confidence[p[-1]]), confidence[p], right[p]) for p in parts]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over all answers (Naeini et al. 2015)."""
    return sum(one.n * abs(one.accuracy - one.confidence) for one in bins) / sum(one.n for one in bins)


def measure_sureness(probabilities: Tensor, labels: Tensor, threshold: float) -> Sureness:
    """How many answers are unsure, which is below the threshold, and how many of the others are wrong."""
    confidence, answers = probabilities.max(1)
    sure = confidence >= threshold
    return Sureness(threshold, len(labels), int((~sure).sum()), int((sure & (answers != labels)).sum()))


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share: sound near 0 and 1, where the plain one is not (Wilson 1927)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = correct / n, z * z / n
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * (share * (1 - share) / n + weight / (4 * n)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def calibrate(logits: Tensor, labels: Tensor) -> Calibration:
    """Find temperature and threshold on held-out logits (n, classes)."""
    temperature = fit_temperature(logits, labels)
    confidence = (logits / temperature).softmax(1).amax(1)
    return Calibration(temperature, choose_threshold(confidence))


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The divisor of the logits with the least cross entropy, to 1 %, between 1/10 and 10 (Guo et al. 2017)."""
    candidates = torch.logspace(-1, 1, 463)
    losses = torch.stack([cross_entropy(logits / t, labels) for t in candidates])
    return float(candidates[losses.argmin()])


def choose_threshold(confidence: Tensor, share: float = UNSURE_SHARE) -> float:
    """The highest threshold that leaves at most `share` of these answers (n,) strictly below it."""
    return float(confidence.sort().values[int(share * len(confidence))])


def _confidence(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The probability of each answer, and whether it is right: both (n,) float64."""
    confidence, answers = probabilities.double().max(1)
    return confidence, (answers == labels).double()


def _bin(low: float, high: float, confidence: Tensor, right: Tensor) -> Bin:
    return Bin(low, high, len(right), float(confidence.mean()), float(right.mean()))
