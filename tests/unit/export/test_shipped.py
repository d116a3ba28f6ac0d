"""The models that ship are what their cards say."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from pathlib import Path

import onnx
import pytest

from export.golden import MAX_CLASSES
from export.publish import MAX_FILE_BYTES, format_card
from export.variants import ALLOWED_LOSS, FILES
from export.verify import Graph, check_contract
from server.golden import compare
from server.repository import read_card
from server.session import CpuSession
from train.datasets import load_dataset
from train.errors import DataError
from train.evaluation import dataset_of

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


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: "/".join(folder.parts[-2:]))
def test_the_variants_fit_the_card(folder: Path) -> None:
    """Those that were published before there were variants have none."""
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    variants = card.get("variants", {})
    assert {path.name for path in folder.glob("*.onnx")} == {"model.onnx", *(one["file"] for one in variants.values())}
    for name, variant in variants.items():
        content = (folder / variant["file"]).read_bytes()
        assert variant["sha256"] == hashlib.sha256(content).hexdigest()
        assert variant["size_bytes"] == len(content) <= MAX_FILE_BYTES
        assert variant["file"] == FILES[name]
        assert variant["accuracy"] >= variants["fp32"]["accuracy"] - ALLOWED_LOSS - 1e-9
        check_contract(Graph(content), side=card["input"]["height"], classes=len(card["class_names"]))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: "/".join(folder.parts[-2:]))
def test_the_server_takes_the_variant_that_the_card_calls_best(folder: Path) -> None:
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    served = read_card(folder)
    for device in ("cpu", "cpu-vnni", "cuda"):
        best = card["best"].get(device, card["best"]["cpu"])
        assert served.choose(device).path == folder / FILES[best]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: "/".join(folder.parts[-2:]))
def test_every_file_answers_the_golden_images_and_the_card_stays_readable(folder: Path) -> None:
    card, text = read_card(folder), (folder / "model.json").read_text(encoding="utf-8")
    assert card.golden
    assert [name for name, _ in card.golden.answers] == list(card.class_names[:MAX_CLASSES])
    for file in folder.glob("*.onnx"):
        assert compare(card.golden, card.class_names, CpuSession(file).run, 4) == ""
    assert text == format_card(json.loads(text))
    assert len(json.dumps(json.loads(text)["golden"], indent=2)) < 12_000


def read_recipes(what: str = "RECIPE") -> dict[str, str]:
    """The flags with which `make models` trains each model, or lets it learn to doubt."""
    text = (MODELS.parent / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    return dict(re.findall(rf"^{what}_(\S+) := (.*)$", text, re.MULTILINE))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: "/".join(folder.parts[-2:]))
def test_make_models_trains_it_as_it_was_trained(folder: Path) -> None:
    trained = json.loads((folder / "model.json").read_text(encoding="utf-8"))["training"]["command"]
    python, dash, program, *flags = shlex.split(trained)
    wanted = shlex.split(read_recipes()[folder.parent.name])
    assert (python, dash, program) == ("python", "-m", "train")
    assert sorted(zip(flags[::2], flags[1::2], strict=True)) == sorted(zip(wanted[::2], wanted[1::2], strict=True))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: "/".join(folder.parts[-2:]))
def test_make_models_lets_it_doubt_as_it_does(folder: Path) -> None:
    doubt = json.loads((folder / "model.json").read_text(encoding="utf-8"))["training"].get("doubt")
    recipe = read_recipes("DOUBT").get(folder.parent.name)
    assert (doubt and doubt["command"]) == (recipe and f"python -m train doubt best.pt {recipe}")


LEAST = {"digits": 0.996}  # what we promise, whatever is published


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: "/".join(folder.parts[-2:]))
def test_every_file_is_as_accurate_as_published(folder: Path) -> None:
    if not os.environ.get("DIGITSERVE_DATA"):
        pytest.skip("DIGITSERVE_DATA is not set: there is nothing to measure on")
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    try:
        test = load_dataset(dataset_of(card), None).test
    except DataError as error:
        pytest.skip(f"no test set for {card['name']}: {error}")
    published = card["metrics"]
    found = Graph((folder / "model.onnx").read_bytes()).score(test.images, test.labels)
    assert (found.n, found.errors) == (published["n"], published["errors"])
    assert list(found.interval_95) == pytest.approx(published["interval_95"])
    assert found.accuracy >= LEAST.get(card["name"], 0)
    for variant in card.get("variants", {}).values():
        measured = Graph((folder / variant["file"]).read_bytes()).score(test.images, test.labels)
        assert measured.errors == pytest.approx(variant["errors"], abs=1)  # another processor rounds otherwise
