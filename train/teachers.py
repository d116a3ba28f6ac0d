"""Learning from other networks: what several of them answer together says more about an image than its label does.

Knowledge distillation (Hinton et al. 2015), with teachers that see the very picture that the student sees, moved in the same
way (Beyer et al. 2022). They are checkpoints of this program, so a chain of runs can be made again, command by command.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from train.checkpoint import load_checkpoint
from train.errors import CheckpointError
from train.loop import load_network
from train.model import Recognizer
from train.precision import autocast


class Teachers(nn.Module):
    """Networks that were trained before; their answer is the mean of their probabilities."""

    def __init__(self, networks: Sequence[Recognizer]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks).eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Probabilities (batch, classes) for images (batch, 1, side, side) float32 in 0..1."""
        return torch.stack([_ask(network, images) for network in self.networks]).mean(0)


def load_teachers(paths: Sequence[str], class_names: Sequence[str], side: int) -> Teachers | None:
    """The averaged networks of these checkpoints; None if there are no paths.

    Raises:
        CheckpointError: one is missing or damaged, or knows other classes than `class_names`.
    """
    return Teachers([_load(Path(path), class_names, side) for path in paths]) if paths else None


def checksums(paths: Sequence[str]) -> dict[str, str]:
    """SHA-256 of each checkpoint, for the run's record."""
    return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths}


def _load(path: Path, class_names: Sequence[str], side: int) -> Recognizer:
    checkpoint: dict[str, Any] = load_checkpoint(path)
    if list(checkpoint["class_names"]) != list(class_names):
        raise CheckpointError(f"teacher {path} knows other classes: {', '.join(checkpoint['class_names'])}")
    return load_network(checkpoint, side)


def _ask(network: nn.Module, images: Tensor) -> Tensor:
    """Probabilities, computed as fast as the device can; see train/precision.py."""
    with autocast(cast(Recognizer, network).network, images.device):
        logits: Tensor = network(images)
    return logits.float().softmax(1)
