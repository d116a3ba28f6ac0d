"""Where a model comes from: commit, versions, device. Names and numbers only, no paths."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

FRAMING = ("server/preprocess.py", "server/paper.py", "server/ruling.py", "server/blots.py")
SOURCES = ("train", "export", *FRAMING, "server/errors.py")  # what decides a model
_ROOT = Path(__file__).parent.parent


def provenance(device: torch.device) -> dict[str, Any]:
    """Describe the code and the machine that a run uses."""
    return {**_source(), "device": _describe(device), "versions": _versions()}


def _source() -> dict[str, Any]:
    """The commit, and whether the sources that matter differ from it. Both are null outside a repository."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", *SOURCES)
    return {"commit": commit or None, "dirty": None if changes is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "torchvision", "numpy", "pillow")}
    return {"python": platform.python_version(), **packages}
