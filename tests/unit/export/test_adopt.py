from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

import export.main
from export.adopt import main as adopt
from export.page import facts
from export.verify import Graph
from train.checkpoint import load_checkpoint
from train.evaluate import as_input
from train.loop import load_network
from train.main import main as train

SHIPPED = Path(__file__).parents[3] / "models"
FOLDERS = sorted(path.parent for path in SHIPPED.glob("*/*/model.json"))


@pytest.fixture(scope="session")
def published(checkpoint: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run that doubts, published."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        doubting = folder / "best.pt"
        shutil.copy(checkpoint, doubting)
        assert train(["doubt", str(doubting), "--data", str(data_folder), "--steps", "5"]) == 0
        assert publish(doubting, data_folder, folder / "models") == 0
    return folder / "models" / "digits" / "1"


@pytest.fixture
def version(published: Path, tmp_path: Path) -> Path:
    """A copy of it that may be spoilt."""
    return Path(shutil.copytree(published, tmp_path / "version"))


def publish(checkpoint: Path, data: Path, models: Path) -> int:
    words = ["--checkpoint", str(checkpoint), "--data", str(data), "--models", str(models), "--variants", "fp32"]
    return export.main.main(words)


def read_card(version: Path) -> dict[str, Any]:
    return json.loads((version / "model.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def change_card(version: Path, change: Callable[[dict[str, Any]], object]) -> None:
    card = read_card(version)
    change(card)
    (version / "model.json").write_text(json.dumps(card), encoding="utf-8")


def change_model(version: Path, change: Callable[[onnx.ModelProto], object]) -> None:
    """The file and, with it, the checksum."""
    model = onnx.load(version / "model.onnx")
    change(model)
    content = model.SerializeToString()
    (version / "model.onnx").write_bytes(content)
    change_card(version, lambda card: card.update(sha256=hashlib.sha256(content).hexdigest()))


def test_published_again_it_answers_as_before_and_says_where_its_weights_come_from(
    version: Path, data_folder: Path, tmp_path: Path
) -> None:
    before = read_card(version)
    assert adopt([str(version), "--output", str(tmp_path / "run")]) == 0
    assert publish(tmp_path / "run" / "best.pt", data_folder, tmp_path / "models") == 0
    again = tmp_path / "models" / "digits" / "1"
    card = read_card(again)
    assert card["training"] == {**before["training"], "adopted": before["sha256"]}
    assert "doubt" in card["training"]
    for name in ("class_names", "input", "threshold", "metrics", "multiply_adds", "parameters", "description"):
        assert card[name] == before[name]
    images = torch.randint(256, (50, 28, 28), dtype=torch.uint8)
    answers, wanted = (Graph((folder / "model.onnx").read_bytes()).run(images) for folder in (again, version))
    torch.testing.assert_close(answers, wanted, rtol=0, atol=1e-5)
    assert dict(facts(card))["weights"] == f"adopted from the file that was published then, sha256 {before['sha256'][:12]}"
    assert "weights" not in dict(facts(before))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: "/".join(folder.parts[-2:]))
def test_what_ships_can_be_adopted(folder: Path, tmp_path: Path) -> None:
    assert adopt([str(folder), "--output", str(tmp_path)]) == 0
    images = torch.randint(256, (20, 28, 28), dtype=torch.uint8)
    model = load_network(load_checkpoint(tmp_path / "best.pt"), 28)
    with torch.inference_mode():
        answers = model.answer(as_input(images), 1.0).numpy()
    torch.testing.assert_close(answers, Graph((folder / "model.onnx").read_bytes()).run(images)[0], rtol=0, atol=1e-4)


def test_it_can_teach_and_doubt_but_not_be_trained_on(
    version: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert adopt([str(version), "--output", str(tmp_path / "run")]) == 0
    adopted = str(tmp_path / "run" / "best.pt")
    few = ["--data", str(data_folder), "--device", "cpu", "--no-report"]
    student = [*few, "--output", str(tmp_path / "student"), "--epochs", "1"]
    assert train([*student, "--teacher", adopted]) == 0
    assert train(["doubt", adopted, "--data", str(data_folder), "--steps", "5", "--seed", "1"]) == 0
    assert train([*few, "--resume", adopted]) == 1
    told = "train: this checkpoint was made of a published model: it can teach and be exported, not go on\n"
    assert capsys.readouterr().err.endswith(told)


def rename_weight(model: onnx.ModelProto) -> None:
    next(one for one in model.graph.initializer if one.name == "head.weight").name = "tail.weight"


def enlarge_weight(model: onnx.ModelProto) -> None:
    first = model.graph.initializer[0]
    first.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(first)[:1], first.name))


def swap_activation(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Tanh"


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no model": (
        lambda folder: (folder / "model.onnx").unlink(),
        "{version}/model.onnx: No such file or directory",
    ),
    "no card": (lambda folder: (folder / "model.json").unlink(), "{version}/model.json: No such file or directory"),
    "not JSON": (lambda folder: (folder / "model.json").write_text("7,"), "{version}/model.json is not a model's card"),
    "a list": (lambda folder: (folder / "model.json").write_text("[]"), "{version}/model.json is not a model's card"),
    "another file": (
        lambda folder: (folder / "model.onnx").write_bytes(b"0"),
        "{version}/model.onnx is not the file that its card tells of: the checksums differ",
    ),
    "no training": (
        lambda folder: change_card(folder, lambda card: card.pop("training")),
        "adopted: training is missing",
    ),
    "another's": (
        lambda folder: change_card(folder, lambda card: card["training"].update(command="tf train --seed 0")),
        "the model was not trained by this program, but by 'tf train --seed 0'",
    ),
    "a later version's": (
        lambda folder: change_card(folder, lambda card: card["training"].update(command="python -m train --mind 1")),
        "the model was not trained by this program, but by 'python -m train --mind 1'",
    ),
    "a weight is missing": (lambda folder: change_model(folder, rename_weight), "cannot be adopted: head.weight is missing"),
    "another shape": (
        lambda folder: change_model(folder, enlarge_weight),
        "the model is not of its card's network: weights [1, 1, 5, 5] for [16, 1, 5, 5]",
    ),
    "another network": (
        lambda folder: change_card(folder, lambda card: card["training"].update(command="python -m train --network dense")),
        "cannot be adopted: features.1.conv.0.weight is missing",
    ),
    "another graph": (lambda folder: change_model(folder, swap_activation), "torch and onnxruntime differ at batch 1"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_a_model_of_ours_is_refused_in_one_line(
    case: str, version: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, told = BROKEN[case]
    spoil(version)
    assert adopt([str(version), "--output", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("export.adopt: ")
    assert told.format(version=version) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_is_there_stays(version: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "best.pt").write_text("mine")
    assert adopt([str(version), "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"export.adopt: {tmp_path}/best.pt is there already; choose another --output\n"
    assert (tmp_path / "best.pt").read_text() == "mine"
