"""How good a network is, and how far its probabilities can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

UNSURE_SHARE = 0.003  # of validation images, at most this share may fall below the published threshold


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


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, *, device: torch.device, batch_size: int = 1000) -> Tensor:
    """Logits (n, classes) float32 on the CPU for images (n, h, w) uint8."""
    model.eval()
    rows = [model(as_input(part.to(device))).float().cpu() for part in torch.split(images, batch_size)]
    return torch.cat(rows)


def as_input(images: Tensor) -> Tensor:
    """uint8 (n, h, w) to what a network takes: float32 (n, 1, h, w) in 0..1."""
    return images.unsqueeze(1).float().div(255)


def score(logits: Tensor, labels: Tensor) -> Score:
    """Score logits (n, classes) against labels (n,)."""
    errors = int((logits.argmax(1) != labels).sum())
    return Score(n=len(labels), errors=errors, loss=float(cross_entropy(logits, labels)))


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Counts (classes, classes) int64: row = the true class, column = the answer."""
    classes = logits.shape[1]
    return torch.bincount(labels * classes + logits.argmax(1), minlength=classes**2).view(classes, classes)


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
