"""The models that ship are what their cards say."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import onnx
import pytest

from export.verify import Graph, check_contract
from train.mnist import load_mnist

MODELS = Path(__file__).parents[3] / "models"
FOLDERS = sorted(path.parent for path in MODELS.glob("*/*/model.json"))


def test_something_ships() -> None:
    assert MODELS / "digits" / "1" in FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: "/".join(folder.parts[-2:]))
def test_the_card_fits_the_file(folder: Path) -> None:
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    content = (folder / "model.onnx").read_bytes()
    assert (card["name"], card["version"]) == folder.parts[-2:]
    assert card["sha256"] == hashlib.sha256(content).hexdigest()
    assert card["size_bytes"] == len(content)
    assert card["opset"] == onnx.load_from_string(content).opset_import[0].version
    check_contract(Graph(content), side=card["input"]["height"], classes=len(card["class_names"]))


def test_digits_are_as_accurate_as_published() -> None:
    if not os.environ.get("DIGITSERVE_DATA"):
        pytest.skip("DIGITSERVE_DATA is not set: there is no MNIST to measure on")
    folder = MODELS / "digits" / "1"
    published = json.loads((folder / "model.json").read_text(encoding="utf-8"))["metrics"]
    test = load_mnist().test
    found = Graph((folder / "model.onnx").read_bytes()).score(test.images, test.labels)
    assert (found.n, found.errors) == (published["n"], published["errors"])
    assert list(found.interval_95) == pytest.approx(published["interval_95"])
    assert found.accuracy >= 0.996
