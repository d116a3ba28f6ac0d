"""Golden images for a model's card: real test images, and what the published graphs answer.

`python -m export.golden` renews those of every published version whose test set is there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.publish import format_card
from export.verify import Graph
from server.golden import TOLERANCE, pack
from server.repository import CARD, MODEL, PLAIN
from train.command import conclude
from train.data import Images
from train.datasets import load_dataset
from train.evaluation import dataset_of

MAX_CLASSES = 26
CANDIDATES = 100  # images of a class that are looked at


def choose_golden(graphs: Sequence[Graph], test: Images, class_names: Sequence[str], threshold: float) -> dict[str, Any]:
    """For each of the first 26 classes, the first image that all graphs answer right, surely and nearly alike.

    Args:
        graphs: fp32, whose probabilities are written down, and its variants.

    Returns:
        what model.json holds as "golden". A class that has no such image is left out.
    """
    images, answers = [], {}
    for number, name in enumerate(class_names[:MAX_CLASSES]):
        candidates = test.images[(test.labels == number).nonzero()[:CANDIDATES, 0]]
        if not len(candidates):
            continue
        rows = np.stack([graph.run(candidates)[0] for graph in graphs])
        probabilities = rows.max(axis=2)
        right = (rows.argmax(axis=2) == number).all(axis=0) & (probabilities[0] >= threshold)
        alike = np.abs(probabilities - probabilities[0]).max(axis=0) <= TOLERANCE / 2
        if (right & alike).any():
            first = int((right & alike).argmax())
            images.append(candidates[first].numpy())
            answers[name] = round(float(probabilities[0, first]), 4)
    return pack(np.stack(images), answers) if images else pack(np.empty(0, np.uint8), {})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status; what goes wrong is one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m export.golden", description="Renews the golden images of what is published."
    )
    parser.add_argument("--models", type=Path, default=Path("models"), help="the model repository (default: models)")
    parser.add_argument("--data", type=Path, help="folder with the data (default: $DIGITSERVE_DATA, else a cache folder)")
    options = parser.parse_args(arguments)
    return conclude("export.golden", lambda: run(options), interrupted=lambda: "the other models stay as they are")


def run(options: argparse.Namespace) -> None:
    for path in sorted(options.models.glob(f"*/*/{CARD}")):
        card = json.loads(path.read_text(encoding="utf-8"))
        variants = [one["file"] for name, one in card.get("variants", {}).items() if name != PLAIN]
        graphs = [Graph((path.parent / file).read_bytes()) for file in (MODEL, *variants)]
        test = load_dataset(dataset_of(card), options.data).test
        golden = choose_golden(graphs, test, card["class_names"], card["threshold"])
        checked = {key: card.pop(key) for key in ("sha256", "size_bytes")}
        fresh = path.with_name(f".{CARD}")
        fresh.write_text(format_card({**card, "golden": golden, **checked}), encoding="utf-8")
        fresh.replace(path)
        print(f"{path}: {len(golden['answers'])} golden images")


if __name__ == "__main__":
    sys.exit(main())
