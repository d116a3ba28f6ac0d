"""Labels: names such as stable and canary, which are moved from one version of a model to another while servers run.

`python -m server.labels digits stable=1` moves one, `canary=` takes one away; each server looks at labels.json some times a
second. Where a model has no labels.json, its labels are those that its model.json name, the newest version first.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from server.config import ENVIRONMENT_PREFIX, Settings
from server.repository import CARD, LABEL, LABELS, NAME, VERSION, ModelCard, RepositoryError

logger = logging.getLogger("digitserve.labels")

STABLE = "stable"  # the label that a model's plain name means


def parse_labels(content: bytes, name: str) -> dict[str, str]:
    """What the labels.json of a model says: the version of each label. Raises RepositoryError."""
    try:
        found = json.loads(content)
        if all(LABEL.fullmatch(label) and VERSION.fullmatch(version) for label, version in found.items()):
            return dict(found)
    except (AttributeError, RecursionError, TypeError, ValueError):
        pass
    raise RepositoryError(f'{name}/{LABELS} must be an object of labels and versions, such as {{"stable": "1"}}')


class Labels:
    """Where the labels of all models are: where they are wanted, as soon as that version is served."""

    def __init__(self) -> None:
        self._files: Mapping[str, bytes] = {}
        self._wanted: dict[str, dict[str, str]] = {}  # what the files say, where they can be read
        self._placed: dict[str, dict[str, str | None]] = {}
        self._waiting: set[tuple[str, str, str, str | None]] = set()

    def read(self, files: Mapping[str, bytes]) -> bool:
        """Takes the labels.json of each model that has one. Returns whether one has changed since the last time."""
        if files == self._files:
            return False
        wanted = {name: self._wanted[name] for name in files if name in self._wanted}
        for name, content in files.items():
            if content != self._files.get(name):
                try:
                    wanted[name] = parse_labels(content, name)
                except RepositoryError as error:
                    logger.error("the labels of %s stay as they were: %s", name, error)
        self._wanted, self._files = wanted, files
        return True

    def place(self, cards: Sequence[ModelCard]) -> Mapping[str, Mapping[str, str | None]]:
        """Where the labels are while these cards are served: the version of each label of each model.

        None where neither the version that it is to have is served nor the one that it had.
        """
        own, before, waiting = read_own_labels(cards), self._placed, set()
        self._placed = {}
        for name, labels in own.items():
            wanted, served = self._wanted.get(name, labels), {card.version for card in cards if card.name == name}
            found = {label: at if at in served else before.get(name, {}).get(label) for label, at in wanted.items()}
            self._placed[name] = {label: at if at in served else None for label, at in found.items()}
            waiting |= {(name, label, at, self._placed[name][label]) for label, at in wanted.items() if at not in served}
            for label, at in self._placed[name].items():
                if at and name in before and before[name].get(label) != at:
                    logger.info("%s@%s is version %s now", name, label, at)
        for name, label, at, stays_at in sorted(waiting - self._waiting, key=str):
            if stays_at:
                logger.error("%s@%s stays where it was: version %s is not served", name, label, at)
            else:
                logger.error("%s@%s names nothing: version %s is not served", name, label, at)
        self._waiting = waiting
        return self._placed


def read_own_labels(cards: Iterable[ModelCard]) -> dict[str, dict[str, str]]:
    """What the cards themselves say, in order of version: the version of each label of each model."""
    labels: dict[str, dict[str, str]] = {}
    for card in cards:
        labels.setdefault(card.name, {}).update(dict.fromkeys(card.labels, card.version))
    return labels


def index_names(
    cards: Iterable[ModelCard], labels: Mapping[str, Mapping[str, str | None]], default: str
) -> dict[str, ModelCard]:
    """Every way to ask for a model.

    That is name:version, name@label, and name, which means the version that is labelled stable, or the newest if none is
    meant to be; "" means the model `default`.

    Args:
        cards: in order of version.
        labels: of each model, the version of each label. One that has none names nothing; if that is stable, neither does
            the plain name: who holds a version back must not find it promoted because another is missing.
    """
    names: dict[str, ModelCard] = {}
    for card in cards:
        names[card.name] = names[f"{card.name}:{card.version}"] = card
    for name, versions in labels.items():
        names |= {f"{name}@{label}": names[f"{name}:{version}"] for label, version in versions.items() if version}
        if STABLE in versions:
            names.pop(name)
            if stable := names.get(f"{name}@{STABLE}"):
                names[name] = stable
    return names | ({"": names[default]} if default in names else {})


def main(arguments: Sequence[str] | None = None) -> int:
    """Moves labels, and prints where they stand now. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m server.labels", description="Moves and shows the labels of a model.")
    parser.add_argument("model", help="its name, such as digits")
    parser.add_argument("moves", nargs="*", metavar="LABEL=VERSION", help="such as stable=2; canary= takes a label away")
    folder = os.environ.get(f"{ENVIRONMENT_PREFIX}MODELS", Settings().models)
    parser.add_argument("--models", type=Path, default=folder, help="the model repository (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        labels = move_labels(options.models, options.model, options.moves)
    except (OSError, RepositoryError) as error:
        print(f"digitserve: {error}", file=sys.stderr)
        return 1
    for label, version in labels.items():
        print(f"{options.model}@{label} is version {version}")
    if STABLE not in labels:
        print(f"{options.model} is its newest version: no version is labelled {STABLE}")
    return 0


def move_labels(models: Path, name: str, moves: Sequence[str]) -> dict[str, str]:
    """Writes labels.json, whole or not at all, if there is something to move. Returns what it says.

    Raises:
        RepositoryError: there is no such model or version, or labels.json is not what it should be.
    """
    folder = models / name
    found = [path.parent.name for path in folder.glob(f"*/{CARD}")] if NAME.fullmatch(name) else []
    versions = sorted(filter(VERSION.fullmatch, found), key=int)
    if not versions:
        raise RepositoryError(f"there is no model {name!r} in {models}")
    labels = _read_labels(folder, versions)
    for move in moves:
        label, _, version = move.partition("=")
        if not LABEL.fullmatch(label) or "=" not in move:
            raise RepositoryError(f"{move!r} moves no label: write LABEL=VERSION, such as stable=1")
        if version and version not in versions:
            raise RepositoryError(f"there is no version {version!r} of {name} in {models}; there are: {', '.join(versions)}")
        labels = {one: at for one, at in (labels | {label: version}).items() if at}
    if moves:
        fresh = folder / f".{LABELS}.{os.getpid()}"
        fresh.write_text(json.dumps(labels) + "\n", encoding="utf-8")
        fresh.replace(folder / LABELS)
    return labels


def _read_labels(folder: Path, versions: Sequence[str]) -> dict[str, str]:
    """A version that is damaged names no labels: it must not be in the way of a rollback."""
    if (folder / LABELS).exists():
        return parse_labels((folder / LABELS).read_bytes(), folder.name)
    labels: dict[str, str] = {}
    for version in versions:
        try:
            named = json.loads((folder / version / CARD).read_bytes()).get("labels", [])
            labels |= dict.fromkeys(map(str, named), version)
        except (AttributeError, TypeError, ValueError):
            continue
    return labels


if __name__ == "__main__":
    sys.exit(main())
