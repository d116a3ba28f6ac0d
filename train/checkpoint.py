"""Checkpoints: files that say themselves what they hold, and that are never half-written.

A checkpoint is a dictionary of plain values and tensors, so that it loads with `weights_only=True`: no code in it can
run.
"""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from train.errors import CheckpointError

FORMAT = "digitserve-checkpoint-1"
KEYS = (
    "settings",  # train.settings.Settings.to_dict
    "class_names",
    "epoch",  # how many are done
    "minutes",  # of training so far, over all sittings
    "weights",
    "ema",  # the averaged weights: what is validated and exported
    "optimizer",
    "scheduler",
    "generator",  # the state of the one source of randomness
    "best",  # the best epoch so far, by validation
    "calibration",  # temperature and threshold of `ema`, by validation
    "provenance",  # commit, device, versions
)


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint under a temporary name and rename it, so that `path` is always whole."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        torch.save({"format": FORMAT, **content}, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"cannot write {path}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """What a run has to say beside its checkpoints, whole or not at all."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        CheckpointError: there is none, or the file is something else.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder: a run's checkpoint is the file best.pt in it")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint at {path}") from error
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} is not a checkpoint, or a damaged one") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this program (format {FORMAT})")
    if missing := [key for key in KEYS if key not in content]:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}")
    return content
