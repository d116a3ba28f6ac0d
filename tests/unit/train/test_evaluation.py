from __future__ import annotations

import csv
import errno
import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import train.evaluation
import train.main
import train.metrics
from tests.unit.train.pictures import draw
from train.checkpoint import load_checkpoint, save_checkpoint
from train.command import INTERRUPTED
from train.data import Dataset
from train.evaluation import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A model of one dense layer that calls whatever it sees a 3 with certainty."""
    weights = numpy_helper.from_array(np.zeros((784, 10), np.float32), "weights")
    bias = numpy_helper.from_array(np.eye(10, dtype=np.float32)[3] * 20, "bias")
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["row"]),
        helper.make_node("Gemm", ["row", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 28, 28])
    answers = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "three", [image], [answers], [weights, bias])
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    folder = tmp_path / "models" / "three" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    card = {"name": "three", "version": "1", "class_names": list("0123456789"), "threshold": 0.5}
    card |= {"input": {"height": 28, "width": 28}, "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "model.json").write_text(json.dumps(card))
    return folder / "model.onnx"


def change_card(model: Path, **changes: object) -> None:
    card = model.with_name("model.json")
    card.write_text(json.dumps({**json.loads(card.read_text()), **changes}))


def refused(capfd: Capture, *arguments: str | Path) -> str:
    """The one line on stderr of a command that must fail."""
    capfd.readouterr()
    assert main([str(one) for one in arguments]) == 1
    said = capfd.readouterr()
    assert said.err.count("\n") == 1
    assert said.err.startswith("evaluate: ")
    return said.err


def test_a_checkpoint_is_evaluated_in_its_own_folder(checkpoint: Path, data_folder: Path, capfd: Capture) -> None:
    before = {path.name for path in checkpoint.parent.iterdir()}
    assert train.main.main(["evaluate", str(checkpoint), "--data", str(data_folder)]) == 0
    new = {path.name for path in checkpoint.parent.iterdir()} - before
    pictures = {"curves.png", "classes.png", "confusion.png", "reliability.png", "mistakes.png"}
    assert new == {"report.html", "evaluation.json", *pictures}
    numbers = json.loads((checkpoint.parent / "evaluation.json").read_text())
    result = json.loads((checkpoint.parent / "result.json").read_text())
    assert (numbers["n"], numbers["errors"]) == (40, result["errors"])
    assert numbers["confusion"] == result["confusion"]
    assert numbers["command"] == "python -m train evaluate best.pt"
    said = capfd.readouterr().out
    assert f"{result['errors']} errors in 40" in said
    assert "expected calibration error" in said
    assert (checkpoint.parent / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_no_path_of_the_machine_is_in_the_report(checkpoint: Path, data_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "report"
    assert main([str(checkpoint), "--data", str(data_folder), "--output", str(output)]) == 0
    for name in ("report.html", "evaluation.json"):
        assert str(tmp_path) not in (output / name).read_text()


def test_a_published_model_is_run_by_onnxruntime(
    published: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the model nothing is written: that folder is the server's."""
    monkeypatch.chdir(tmp_path)
    assert main([str(published), "--data", str(data_folder)]) == 0
    assert {path.name for path in published.parent.iterdir()} == {"model.onnx", "model.json"}
    numbers = json.loads((tmp_path / "runs" / "three-1" / "evaluation.json").read_text())
    assert (numbers["errors"], numbers["accuracy"], numbers["sureness"]["unsure"]) == (36, pytest.approx(0.1), 0)
    assert [one["precision"] for one in numbers["classes"]][2:4] == [None, 0.1]
    assert numbers["calibration_error"]["equal_width"] == pytest.approx(0.9, abs=1e-3)


def test_another_dataset_can_be_read(published: Path, tmp_path: Path) -> None:
    """Its classes are matched by name, whatever their order and number."""
    for name in ("3", "1"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number in range(10):
            draw(name, number).save(tmp_path / "mine" / name / f"{number}.png")
    output = tmp_path / "out"
    assert main([str(published), "--dataset", f"folder:{tmp_path / 'mine'}", "--output", str(output)]) == 0
    numbers = json.loads((output / "evaluation.json").read_text())
    assert (numbers["n"], numbers["errors"]) == (2, 1)
    assert numbers["mistakes"][0]["label"] == "1"
    assert str(tmp_path) not in numbers["command"]


def test_the_card_tells_what_it_was_trained_on() -> None:
    assert train.evaluation.dataset_of({"training": {"command": "python -m train --dataset hanzi --seed 0"}}) == "hanzi"
    assert train.evaluation.dataset_of({"training": {"command": "python -m train --seed 0"}}) == "mnist"
    assert train.evaluation.dataset_of({}) == "mnist"


def test_corruptions_and_strangers_are_tabled(
    published: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.setattr(train.metrics, "DRAWINGS", 4)
    monkeypatch.setattr(train.metrics.measure_strangers, "__defaults__", (3,))
    assert main([str(published), "--data", str(data_folder), "--output", str(tmp_path / "out"), "--corruptions"]) == 0
    numbers = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    rows = {one["name"]: one for one in numbers["corruptions"]}
    assert next(iter(rows)) == "none"
    assert len(rows) == 15
    assert rows["fog"]["frame"] == {"n": 40, "accuracy": pytest.approx(0.1), "unsure_share": 0.0}
    assert (rows["fog"]["drawing"]["n"], rows["fog"]["drawing"]["accuracy"]) == (4, 0.25)
    strangers = {one["name"]: one["unsure_share"] for one in numbers["strangers"]}
    assert strangers["blank paper"] == 1.0, "what has no ink has no character"
    assert strangers["crosses"] == 0.0, "this network is sure of everything"
    assert (tmp_path / "out" / "corruptions.png").is_file()
    assert "salt and pepper" in capfd.readouterr().out


def test_letters_are_strangers_to_digits(
    published: Path, data_folder: Path, tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = digits._replace(class_names=tuple("ABCDEFGHIO"))
    reader = train.metrics.Reader("three", tuple("0123456789"), 0.5, lambda images: torch.full((len(images), 10), 0.1))
    monkeypatch.setattr(train.metrics, "load_letters", lambda folder: letters)
    assert train.metrics.measure_letters(reader, data_folder) == [], "there is no archive of letters"
    (data_folder / "EMNIST").mkdir()
    (data_folder / "EMNIST" / "emnist_letters.npz").touch()
    found = train.metrics.measure_letters(reader, data_folder)
    assert [(one.name, one.n, one.unsure) for one in found] == [(name, 4, 4) for name in "ABCDEFGHIO"]
    groups = train.metrics.join_letters(found)
    assert [(one.n, one.unsure) for one in groups] == [(40, 40), (24, 24)]
    assert train.metrics.measure_letters(reader._replace(class_names=("A", "B")), data_folder) == [], "it reads letters"


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """Photographs of a 3, a 1 and an empty sheet; and of three digits, which is not for a network of single ones."""
    folder = tmp_path / "real"
    folder.mkdir()
    for text in ("3", "1"):
        draw(text, 3).save(folder / f"{text}.png")
    Image.new("L", (60, 60), 200).save(folder / "empty.png")
    rows = [("3.png", "3"), ("1.png", "1"), ("empty.png", "3"), ("many.png", "796")]
    with (folder / "labels.csv").open("w", newline="") as sink:
        csv.writer(sink).writerows([("file", "label"), *rows])
    return folder


def test_real_pictures_are_read_as_the_server_would(
    published: Path, data_folder: Path, tmp_path: Path, real: Path, capfd: Capture
) -> None:
    assert main([str(published), "--data", str(data_folder), "--output", str(tmp_path / "out"), "--realworld", str(real)]) == 0
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())["real"]
    assert [(one["file"], one["answer"], one["unsure"]) for one in found] == [
        ("3.png", "3", False),
        ("1.png", "3", False),
        ("empty.png", "", True),
    ]
    said = capfd.readouterr().out
    assert "wrong: 3, 100%" in said
    assert "no ink found" in said
    assert (tmp_path / "out" / "real.png").is_file()


def test_real_pictures_that_cannot_be_had(published: Path, data_folder: Path, real: Path, capfd: Capture) -> None:
    ask = (published, "--data", data_folder, "--output", real.parent / "out", "--realworld")
    (real / "1.png").write_text("no picture")
    assert f"{real / '1.png'}: not a readable image file" in refused(capfd, *ask, real)
    (real / "1.png").unlink()
    assert f"{real / '1.png'}: No such file" in refused(capfd, *ask, real)
    (real / "labels.csv").write_text("file,label\nmany.png,796\n")
    assert "names no picture of one of the classes 0, 1" in refused(capfd, *ask, real)
    (real / "labels.csv").write_text("picture,name\n3.png,3\n")
    assert "no table with the columns file and label" in refused(capfd, *ask, real)
    assert f"no labels.csv in {data_folder}" in refused(capfd, *ask, data_folder)
    assert not (real.parent / "out").exists()


def test_a_variant_is_read_by_its_own_checksum_and_named(
    published: Path, data_folder: Path, tmp_path: Path, capfd: Capture
) -> None:
    variant = published.with_name("model.int8.onnx")
    variant.write_bytes(published.read_bytes())
    ask = ("--data", data_folder, "--output", tmp_path / "out")
    change_card(published, variants={"int8": {"file": variant.name, "sha256": "0" * 64}})
    assert f"{variant} is not the file that model.json describes" in refused(capfd, variant, *ask)
    digest = hashlib.sha256(variant.read_bytes()).hexdigest()
    change_card(published, variants={"int8": {"file": variant.name, "sha256": digest}}, sha256="0" * 64)
    assert main([str(variant), *map(str, ask)]) == 0
    assert "three:1, model.int8.onnx" in capfd.readouterr().out
    for damaged in ("[]", '{"int8": {}}', '{"int8": "quick"}'):
        change_card(published, variants=json.loads(damaged))
        assert "is no model's card" in refused(capfd, variant, *ask)


@pytest.mark.parametrize(("file", "folder"), [("model.onnx", "three-1"), ("model.int8.onnx", "three-1-int8")])
def test_each_published_file_has_a_folder_of_its_own_for_its_report(
    published: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    content = published.read_bytes()
    published.with_name(file).write_bytes(content)
    change_card(published, variants={"int8": {"file": "model.int8.onnx", "sha256": hashlib.sha256(content).hexdigest()}})
    assert main([str(published.with_name(file)), "--data", str(data_folder)]) == 0
    assert (tmp_path / "runs" / folder / "report.html").is_file()


def test_what_is_no_model_is_one_line(
    published: Path, checkpoint: Path, data_folder: Path, tmp_path: Path, capfd: Capture
) -> None:
    ask = ("--data", data_folder, "--output", tmp_path / "out")
    assert "no checkpoint at" in refused(capfd, tmp_path / "none.pt", *ask)
    assert "no file" in refused(capfd, tmp_path / "none.onnx", *ask)
    assert "is not a checkpoint" in refused(capfd, tmp_path / "run" / "metrics.jsonl", *ask)
    change_card(published, input={"height": 64, "width": 64})
    assert "takes images of 64 pixels a side, and the dataset has 28" in refused(capfd, published, *ask)
    published.write_bytes(b"no model")
    assert "its checksum is another" in refused(capfd, published, *ask)
    change_card(published, sha256=hashlib.sha256(b"no model").hexdigest())
    assert "is no ONNX model, or a damaged one" in refused(capfd, published, *ask)
    published.with_name("model.json").write_text("{}")
    assert "is no model's card" in refused(capfd, published, *ask)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_network(checkpoint: Path, data_folder: Path, capfd: Capture) -> None:
    content = load_checkpoint(checkpoint)
    del content["format"]
    save_checkpoint(checkpoint, {**content, "settings": {**content["settings"], "network": "small"}})
    assert "do not fit this network" in refused(capfd, checkpoint, "--data", data_folder)


def test_classes_that_the_network_does_not_know(published: Path, data_folder: Path, tmp_path: Path, capfd: Capture) -> None:
    change_card(published, class_names=list("abcdefghi9"))
    said = refused(capfd, published, "--data", data_folder, "--output", tmp_path / "out")
    assert "three:1 does not know all classes of mnist: 0, 1, 2" in said


def test_damaged_metrics_are_named(checkpoint: Path, data_folder: Path, capfd: Capture) -> None:
    metrics = checkpoint.with_name("metrics.jsonl")
    metrics.write_text('{"epoch": 1}\n')
    assert f"{metrics} is damaged: 'loss'" in refused(capfd, checkpoint, "--data", data_folder)


def test_a_place_that_cannot_be_written_is_known_before(published: Path, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "file").touch()
    said = refused(capfd, published, "--data", tmp_path / "no data", "--output", tmp_path / "file" / "out")
    assert f"{tmp_path / 'file'} is no folder" in said


def test_a_full_disk_leaves_nothing_half_written(
    published: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "report.html").write_text("an older one")

    def full(path: Path, content: bytes) -> int:
        if path.name.startswith(".report"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        with path.open("wb") as sink:
            return sink.write(content)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "No space left on device" in refused(capfd, published, "--data", data_folder, "--output", output)
    assert [path.name for path in output.iterdir()] == ["report.html"]
    assert (output / "report.html").read_text() == "an older one"


@pytest.mark.parametrize("package", ["matplotlib", "onnxruntime"])
def test_a_package_that_is_missing_is_named(
    published: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture, package: str
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find_spec(name))
    assert f"pip install {package}" in refused(capfd, published, "--data", data_folder)


def test_an_interrupt_is_one_line(published: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    def interrupted(options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train.evaluation, "measure", interrupted)
    assert main([str(published), "--output", str(published.parent)]) == INTERRUPTED
    assert "no report was written" in capfd.readouterr().err


def test_the_fixture_is_a_model(published: Path) -> None:
    onnx.checker.check_model(onnx.load(published), full_check=True)
