"""A run's metrics for TensorBoard. It is optional: metrics.jsonl has the same numbers, and needs nothing to be read."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from train.errors import SettingsError
from train.loop import Epoch

FOLDER = "tensorboard"  # in the run's own


def require_tensorboard() -> None:
    """Raises SettingsError where the package is not there: better before the first epoch than after it."""
    if importlib.util.find_spec("tensorboard") is None:
        raise SettingsError("--tensorboard needs the package tensorboard, which is not installed: pip install tensorboard")


def record(epochs: Iterable[Epoch], folder: Path, done: int) -> Iterator[Epoch]:
    """Pass the epochs of a run on, each noted in the run's folder.

    Args:
        epochs: as the trainer yields them.
        folder: the run's.
        done: epochs of earlier sittings; what was noted of later ones, before a crash, no longer counts.
    """
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(str(folder / FOLDER), purge_step=done + 1)
    try:
        for epoch in epochs:
            for name, value in _scalars(epoch).items():
                writer.add_scalar(name, value, epoch.number)
            writer.flush()
            yield epoch
    finally:
        writer.close()


def _scalars(epoch: Epoch) -> dict[str, float]:
    """Names with a slash share a heading."""
    return {
        "loss/training": epoch.loss,
        "loss/validation": epoch.validation.loss,
        "accuracy/training": epoch.accuracy,
        "accuracy/validation": epoch.validation.accuracy,
        "seconds": epoch.seconds,
    }
