"""The model repository: models/<name>/<version>/, looked at often and read when something has changed.

A version is model.json, model.onnx, and variants of the same model beside it, where model.json names any. labels.json beside
the versions says what each label means (labels.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from server.errors import ModelNotFound
from server.golden import Golden, unpack

DEFAULT_MODEL = "digits"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
VERSION = re.compile(r"[1-9][0-9]{0,8}")
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.onnx")  # a bare name: no model.json leads out of its own folder
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MODEL, CARD, LABELS = "model.onnx", "model.json", "labels.json"
PLAIN = "fp32"  # the variant that every version has, and that is taken where model.json says nothing else


Number = TypeVar("Number", int, float)
Version: TypeAlias = tuple[str, str]  # the name of a model, and the number of its version
Stamp: TypeAlias = frozenset[tuple[str, int, int, int]]  # differs once one of a version's files was written anew


class RepositoryError(Exception):
    """The repository, or a version in it, can't be served; the message names the file and what is wrong with it."""


class Survey(NamedTuple):
    """What lies in a repository: its versions, in order of name and number, and each labels.json that is there.

    `misnamed` are folders with a model in them that nobody can ask for, as they are called.
    """

    versions: dict[Version, Stamp]
    labels: dict[str, bytes]
    misnamed: set[Path]


@dataclass(frozen=True, slots=True)
class Variant:
    """One file of a model: the same answers in another precision. `name` is such as fp32, fp16, int8."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What model.json says of a model.

    Attributes:
        path: the ONNX file in plain float32.
        size: the side of the square frame, in pixels.
        threshold: below this probability an answer is unsure.
        accuracy: on the test set, 0..1, over `accuracy_n` images.
        best: the variant to take on a kind of device ("cpu", "cpu-vnni", "cuda"), where it is another than `path`.
        golden: a few images with their answers, to try it on.
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
    best: Mapping[str, Variant] = field(default_factory=dict, hash=False)
    golden: Golden | None = field(default=None, compare=False)

    def choose(self, device: str) -> Variant:
        """The variant to serve on such a device. Of a special kind of processor that the card is silent on, any's will do."""
        return self.best.get(device) or self.best.get(device.partition("-")[0]) or Variant(PLAIN, self.path)


def survey(root: Path) -> Survey:
    """Looks at what lies there, without opening a model: some dozens of stat().

    Raises:
        RepositoryError: it is no folder, can't be listed, or holds no model.
    """
    if not root.is_dir():
        raise RepositoryError(f"the model repository {root} is not a folder")
    found = Survey({}, {}, set())
    try:
        for model in _list_folders(root, NAME, f"*/{CARD}", found.misnamed):
            with suppress(FileNotFoundError):  # what goes while we look is gone
                _survey_model(model, found)
    except OSError as error:
        raise RepositoryError(f"the model repository {root} can't be listed: {error}") from None
    if not found.versions:
        raise RepositoryError(f"the model repository {root} holds no model: expected {root}/<name>/<version>/model.onnx")
    return found


def _survey_model(model: Path, found: Survey) -> None:
    for folder in sorted(_list_folders(model, VERSION, CARD, found.misnamed), key=lambda folder: int(folder.name)):
        with suppress(FileNotFoundError):
            found.versions[model.name, folder.name] = stamp(folder)
    labels = model / LABELS
    if labels.is_file():
        found.labels[model.name] = labels.read_bytes()


def _list_folders(parent: Path, name: re.Pattern[str], card: str, misnamed: set[Path]) -> Iterator[Path]:
    """Those that are named so. Others go into `misnamed` if there is a card in them; hidden ones are what is being written."""
    with os.scandir(parent) as entries:
        folders = sorted(Path(entry.path) for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    for folder in folders:
        if name.fullmatch(folder.name):
            yield folder
        elif any(folder.glob(card)):
            misnamed.add(folder)


def stamp(folder: Path) -> Stamp:
    """Tells what a version's files are now from what they were. Raises OSError."""
    with os.scandir(folder) as entries:
        files = [entry for entry in entries if entry.name == CARD or entry.name.endswith(".onnx")]
        return frozenset((file.name, (at := file.stat()).st_mtime_ns, at.st_size, at.st_ino) for file in files)


def read_card(folder: Path) -> ModelCard:
    """Reads models/<name>/<version>/model.json and checks the checksum of every ONNX file that it names.

    Raises:
        RepositoryError: a file is missing, a key is missing or wrong, or a checksum differs.
    """
    described = _read_json(folder / CARD)
    path = folder / MODEL
    try:
        sums = _read_sums(described)
        card = _to_card(described, path)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise RepositoryError(f"{folder / 'model.json'}: {reason}") from None
    if (card.name, card.version) != (folder.parent.name, folder.name):
        raise RepositoryError(f"{folder / 'model.json'}: describes {card.name} {card.version}, but lies in {folder}")
    _check_sum(path, str(described.get("sha256")))
    for file, expected in sums.items():
        _check_sum(folder / file, expected)
    return card


def _read_json(path: Path) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(described, ensure_ascii=False).encode()  # half a surrogate pair is no text: no answer could hold it
    except FileNotFoundError:
        raise RepositoryError(f"{path} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RepositoryError(f"{path} can't be read: {error}") from None
    if not isinstance(described, dict):
        raise RepositoryError(f"{path}: expected a JSON object")
    return described


def _to_card(described: dict[str, Any], path: Path) -> ModelCard:
    height, width = _read_number(described, "input.height", int), _read_number(described, "input.width", int)
    if height != width or not 8 <= height <= 512:
        raise ValueError(f"input must be a square of 8 to 512 pixels, not {width} x {height}")
    threshold = _read_number(described, "threshold", float)
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be between 0 and 1, not {threshold}")
    max_batch_size = _read_number(described, "max_batch_size", int)
    if not 1 <= max_batch_size <= 4096:
        raise ValueError(f"max_batch_size must be between 1 and 4096, not {max_batch_size}")
    names = described["class_names"]
    if not isinstance(names, list) or not names or len(set(map(str, names))) < len(names):
        raise ValueError("class_names must be a list of at least one name, each once")
    labels = described.get("labels", [])
    if not isinstance(labels, list):
        raise _expect("labels", "a list of names", labels)
    if odd := [label for label in labels if not LABEL.fullmatch(str(label))]:
        raise _expect("labels", "names of letters, digits, . _ and -", odd[0])
    return ModelCard(
        name=str(described["name"]),
        version=str(described["version"]),
        path=path,
        labels=tuple(map(str, labels)),
        class_names=tuple(str(name) for name in names),
        size=height,
        max_batch_size=max_batch_size,
        threshold=threshold,
        accuracy=_read_number(described, "metrics.accuracy", float),
        accuracy_n=_read_number(described, "metrics.n", int),
        description=str(described.get("description", "")),
        best=_read_best(described, path.parent),
        golden=unpack(described["golden"], height, tuple(map(str, names))) if "golden" in described else None,
    )


def _read_number(described: dict[str, Any], key: str, kind: type[Number]) -> Number:
    """What `key`, such as "metrics.accuracy", holds. Raises KeyError where nothing does, and ValueError; both name the key."""
    *outer, last = key.split(".")
    inside: Any = described
    for part in outer:
        inside = inside[part]
        if not isinstance(inside, dict):
            raise _expect(part, "an object", inside)
    if last not in inside:
        raise KeyError(key)
    with suppress(TypeError, ValueError, OverflowError):
        number = kind(inside[last])
        if kind is float or number == inside[last]:
            return number
    raise _expect(key, "a number" if kind is float else "a whole number", inside[last])


def _expect(key: str, expected: str, value: object) -> ValueError:
    return ValueError(f"{key} must be {expected}, not {reprlib.repr(value)}")


def _read_sums(described: dict[str, Any]) -> dict[str, str]:
    """The file of each variant with its checksum."""
    return {_file_name(name, variant): str(variant["sha256"]) for name, variant in _variants(described).items()}


def _read_best(described: dict[str, Any], folder: Path) -> dict[str, Variant]:
    """Which variant to take on which device; nothing in a card that has no variants."""
    best = described.get("best", {})
    if not isinstance(best, dict):
        raise ValueError('best must be an object such as {"cpu": "fp32"}')
    files = {PLAIN: MODEL} | {name: _file_name(name, variant) for name, variant in _variants(described).items()}
    if unknown := [f"{name!r} for {device!r}" for device, name in best.items() if str(name) not in files]:
        raise ValueError(f"best names {', '.join(unknown)}, but the variants are {', '.join(map(repr, files))}")
    return {device: Variant(str(name), folder / files[str(name)]) for device, name in best.items()}


def _variants(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    variants = described.get("variants", {})
    if not isinstance(variants, dict) or not all(isinstance(one, dict) for one in variants.values()):
        raise ValueError("variants must be an object with an object for each variant")
    return variants


def _file_name(name: str, variant: dict[str, Any]) -> str:
    """Raises ValueError where there is none, or one that could lead out of the version's folder."""
    if "file" not in variant or "sha256" not in variant:
        raise ValueError(f"variant {name!r} lacks its file or sha256")
    file = str(variant["file"])
    if not FILE.fullmatch(file):
        raise ValueError(f"variant {name!r} has the file {file!r}: expected the bare name of an .onnx file in the same folder")
    return file


def _check_sum(path: Path, expected: str) -> None:
    try:
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise RepositoryError(f"{path} is missing") from None
    except OSError as error:
        raise RepositoryError(f"{path} can't be read: {error.strerror}") from None
    if actual != expected:
        raise RepositoryError(f"{path} is not the file that model.json describes: its sha256 is {actual}")


def refuse_unknown(asked: str, known: list[str], field: str = "model") -> ModelNotFound:
    """The error for a name that nobody serves; `field` of the request held it."""
    listed = ", ".join(known) or "none"
    if not asked:
        return ModelNotFound(f"no model is named, and no {DEFAULT_MODEL!r} is served; there are: {listed}", field=field)
    shown = asked if len(asked) <= 80 else asked[:77] + "..."
    return ModelNotFound(f"no model {shown!r} is served; there are: {listed}", field=field)
