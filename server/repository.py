"""The model repository: models/<name>/<version>/{model.onnx, model.json}, read and checked once at the start."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import ModelNotFound

DEFAULT_MODEL = "digits"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
VERSION = re.compile(r"[1-9][0-9]{0,8}")


class RepositoryError(Exception):
    """The repository can't be served; the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What model.json says of a model.

    Attributes:
        path: the ONNX file.
        size: the side of the square frame, in pixels.
        threshold: below this probability an answer is unsure.
        accuracy: on the test set, 0..1, over `accuracy_n` images.
    """

    name: str
    version: str
    path: Path
    labels: tuple[str, ...]
    class_names: tuple[str, ...]
    size: int
    max_batch_size: int
    threshold: float
    accuracy: float
    accuracy_n: int
    description: str


def read_repository(root: Path) -> list[ModelCard]:
    """Reads every version of every model, in order of name and version.

    Raises:
        RepositoryError: there is no model, or one of them is incomplete, malformed or altered.
    """
    if not root.is_dir():
        raise RepositoryError(f"the model repository {root} is not a folder")
    folders = [
        version
        for model in sorted(root.iterdir())
        if model.is_dir() and NAME.fullmatch(model.name)
        for version in sorted(model.iterdir())
        if version.is_dir() and VERSION.fullmatch(version.name)
    ]
    if not folders:
        raise RepositoryError(f"the model repository {root} holds no model: expected {root}/<name>/<version>/model.onnx")
    return sorted((read_card(folder) for folder in folders), key=lambda card: (card.name, int(card.version)))


def read_card(folder: Path) -> ModelCard:
    """Reads models/<name>/<version>/model.json and checks the ONNX file's checksum against it.

    Raises:
        RepositoryError: a file is missing, a key is missing or wrong, or the checksum differs.
    """
    described = _read_json(folder / "model.json")
    path = folder / "model.onnx"
    try:
        card = _to_card(described, path)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise RepositoryError(f"{folder / 'model.json'}: {reason}") from None
    if (card.name, card.version) != (folder.parent.name, folder.name):
        raise RepositoryError(f"{folder / 'model.json'}: describes {card.name} {card.version}, but lies in {folder}")
    _check_sum(path, str(described.get("sha256")))
    return card


def _read_json(path: Path) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RepositoryError(f"{path} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RepositoryError(f"{path} can't be read: {error}") from None
    if not isinstance(described, dict):
        raise RepositoryError(f"{path}: expected a JSON object")
    return described


def _to_card(described: dict[str, Any], path: Path) -> ModelCard:
    height, width = int(described["input"]["height"]), int(described["input"]["width"])
    if height != width or not 8 <= height <= 512:
        raise ValueError(f"input must be a square of 8 to 512 pixels, not {width} x {height}")
    threshold = float(described["threshold"])
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be between 0 and 1, not {threshold}")
    max_batch_size = int(described["max_batch_size"])
    if not 1 <= max_batch_size <= 4096:
        raise ValueError(f"max_batch_size must be between 1 and 4096, not {max_batch_size}")
    names = described["class_names"]
    if not isinstance(names, list) or not names:
        raise ValueError("class_names must be a list of at least one name")
    return ModelCard(
        name=str(described["name"]),
        version=str(described["version"]),
        path=path,
        labels=tuple(str(label) for label in described.get("labels", [])),
        class_names=tuple(str(name) for name in names),
        size=height,
        max_batch_size=max_batch_size,
        threshold=threshold,
        accuracy=float(described["metrics"]["accuracy"]),
        accuracy_n=int(described["metrics"]["n"]),
        description=str(described.get("description", "")),
    )


def _check_sum(path: Path, expected: str) -> None:
    try:
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise RepositoryError(f"{path} is missing") from None
    except OSError as error:
        raise RepositoryError(f"{path} can't be read: {error.strerror}") from None
    if actual != expected:
        raise RepositoryError(f"{path} is not the file that model.json describes: its sha256 is {actual}")


def index_names(cards: list[ModelCard]) -> dict[str, ModelCard]:
    """Every way to ask for a model: name (its newest version), name:version, name@label; "" is the default model."""
    names: dict[str, ModelCard] = {}
    for card in cards:  # in order of version: the newest wins
        names[card.name] = card
        names[f"{card.name}:{card.version}"] = card
        names.update({f"{card.name}@{label}": card for label in card.labels})
    default = names.get(DEFAULT_MODEL) or cards[0]
    names[""] = default
    return names


def refuse_unknown(asked: str, known: list[str]) -> ModelNotFound:
    """The error for a name that nobody serves."""
    shown = asked if len(asked) <= 80 else asked[:77] + "..."
    return ModelNotFound(f"no model {shown!r} is served; there are: {', '.join(known)}", field="model")
