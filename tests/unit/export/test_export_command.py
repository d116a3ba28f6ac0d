from __future__ import annotations

import hashlib
import json
from pathlib import Path

import onnx
import pytest
import torch

import export.main as command
import export.variants as variants
from export import timing
from export.verify import Graph
from server.repository import read_card
from train.checkpoint import load_checkpoint, save_checkpoint
from train.main import main as train
from train.mnist import load_mnist
from train.networks import NETWORKS, cost, doubt_cost


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "ROUNDS", 4)


def export(checkpoint: Path, data: Path, models: Path, *more: str) -> int:
    return command.main(["--checkpoint", str(checkpoint), "--data", str(data), "--models", str(models), *more])


def test_from_checkpoint_to_repository(checkpoint: Path, data_folder: Path, tmp_path: Path) -> None:
    assert export(checkpoint, data_folder, tmp_path / "models", "--variants", "fp32") == 0
    folder = tmp_path / "models" / "digits" / "1"
    card = json.loads((folder / "model.json").read_text())
    assert card["class_names"] == list("0123456789")
    assert card["input"] == {"height": 28, "width": 28}
    assert card["labels"] == ["stable"]
    assert card["max_batch_size"] == 256
    assert 0 < card["threshold"] < 1
    assert card["training"]["command"] == "python -m train --epochs 1 --seed 0"
    assert card["multiply_adds"] == cost(NETWORKS[load_checkpoint(checkpoint)["settings"]["network"]]).multiply_adds
    assert str(tmp_path) not in json.dumps(card)
    test = load_mnist(data_folder).test
    found = Graph((folder / "model.onnx").read_bytes()).score(test.images, test.labels)
    assert (card["metrics"]["n"], card["metrics"]["errors"]) == (found.n, found.errors)
    assert card["metrics"]["dataset"] == f"test images of {card['data']['title']}"
    assert card["parameters"] == cost(NETWORKS[load_checkpoint(checkpoint)["settings"]["network"]]).parameters


def test_a_model_that_doubts_says_how_it_learned_to(checkpoint: Path, data_folder: Path, tmp_path: Path) -> None:
    doubting = tmp_path / "best.pt"
    doubting.write_bytes(checkpoint.read_bytes())
    assert train(["doubt", str(doubting), "--data", str(data_folder), "--steps", "5"]) == 0
    assert export(doubting, data_folder, tmp_path / "models", "--variants", "fp32") == 0
    card = json.loads((tmp_path / "models" / "digits" / "1" / "model.json").read_text())
    assert card["training"]["doubt"]["command"] == "python -m train doubt best.pt --steps 5 --seed 0"
    assert card["threshold"] == load_checkpoint(doubting)["calibration"]["threshold"]
    network = NETWORKS[load_checkpoint(checkpoint)["settings"]["network"]]
    assert card["parameters"] == cost(network).parameters + doubt_cost(network).parameters
    assert card["multiply_adds"] == cost(network).multiply_adds + doubt_cost(network).multiply_adds


def test_variants_are_published_with_the_model_and_described(
    checkpoint: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(checkpoint, data_folder, tmp_path / "models") == 0
    folder = tmp_path / "models" / "digits" / "1"
    card = json.loads((folder / "model.json").read_text())
    assert set(card["variants"]) | set(card["variants_left_out"]) == {"fp32", "fp16", "int8"}
    files = {one["file"]: one["sha256"] for one in card["variants"].values()}
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.onnx")} == files
    assert card["variants"]["fp32"]["sha256"] == card["sha256"]
    assert card["best"]["cuda"] == "fp32"
    served = read_card(folder)
    assert served.golden
    for device, best in card["best"].items():
        assert served.choose(device).path == folder / card["variants"][best]["file"]
    printed = capsys.readouterr().out
    assert "| fp32 | " in printed
    assert "best on cuda: fp32 (not measured" in printed


def test_a_variant_that_is_left_out_is_one_line_and_no_failure(
    checkpoint: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(variants, "ALLOWED_LOSS", -1.0)  # nothing is accurate enough
    assert export(checkpoint, data_folder, tmp_path / "models") == 0
    folder = tmp_path / "models" / "digits" / "1"
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.onnx"]
    card = json.loads((folder / "model.json").read_text())
    assert set(card["variants"]) == {"fp32"}
    assert set(card["best"].values()) == {"fp32"}
    printed = capsys.readouterr().out.splitlines()
    for name in ("fp16", "int8"):
        assert "points below fp32" in card["variants_left_out"][name]
        assert [line for line in printed if line.startswith(name)] == [f"{name} is left out: {card['variants_left_out'][name]}"]


def test_one_can_ask_for_float32_alone(checkpoint: Path, data_folder: Path, tmp_path: Path) -> None:
    assert export(checkpoint, data_folder, tmp_path / "models", "--variants", "fp32") == 0
    folder = tmp_path / "models" / "digits" / "1"
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.onnx"]
    card = json.loads((folder / "model.json").read_text())
    assert card["variants_left_out"] == {"fp16": "not asked for", "int8": "not asked for"}
    assert card["export"]["command"].endswith("--version 1 --variants fp32")


@pytest.mark.parametrize(
    ("accuracy", "labels", "warned"),
    [(1.0, None, True), (0.0, None, False), (1.0, {"stable": "1"}, False)],
    ids=["worse", "better", "not what servers take"],
)
def test_who_publishes_something_worse_is_told(
    accuracy: float,
    labels: dict[str, str] | None,
    warned: bool,
    checkpoint: Path,
    data_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export(checkpoint, data_folder, tmp_path, "--variants", "fp32") == 0
    assert "warning" not in capsys.readouterr().err
    path = tmp_path / "digits" / "1" / "model.json"
    card = json.loads(path.read_text())
    measured = card["metrics"]["accuracy"]
    card["metrics"]["accuracy"] = accuracy
    path.write_text(json.dumps(card))
    if labels:
        (tmp_path / "digits" / "labels.json").write_text(json.dumps(labels))
    assert export(checkpoint, data_folder, tmp_path, "--variants", "fp32", "--version", "2") == 0
    expected = [
        f"warning: servers take it from now on, and it reads {measured:.2%} of the test images where version 1 reads 100.00%; "
        "back: python -m server.labels digits stable=1"
    ]
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")] == expected * warned


def test_an_unknown_variant_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["--checkpoint", "best.pt", "--variants", "fp32,int4"])
    assert "no variant 'int4'; there are: fp32, fp16, int8" in capsys.readouterr().err


def test_a_published_version_is_refused_before_any_work(
    tmp_path: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "digits" / "1").mkdir(parents=True)
    assert export(tmp_path / "none.pt", data_folder, tmp_path) == 1
    assert "is published already" in capsys.readouterr().err


def test_a_repository_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").write_text("no folder")
    assert export(tmp_path / "none.pt", data_folder, tmp_path / "models") == 1
    assert capsys.readouterr().err == f"export: cannot write into {tmp_path / 'models'}: {tmp_path / 'models'} is no folder\n"


@pytest.mark.parametrize(
    ("flag", "value"), [("--name", "Digits"), ("--name", "digits:2"), ("--version", "0"), ("--version", "v2")]
)
def test_a_bad_name_or_version_is_one_clear_line_before_any_work(
    tmp_path: Path, data_folder: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str
) -> None:
    assert export(tmp_path / "none.pt", data_folder, tmp_path / "models", flag, value) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"export: model {flag.removeprefix('--')} {value!r}: use a ")
    assert error.count("\n") == 1
    assert not (tmp_path / "models").exists()


def test_an_export_that_differs_is_not_published(
    checkpoint: Path,
    data_folder: Path,
    tmp_path: Path,
    exported: onnx.ModelProto,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "to_onnx", lambda *_: exported)
    assert export(checkpoint, data_folder, tmp_path / "models") == 1
    error = capsys.readouterr().err
    assert "torch and onnxruntime differ" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "models").exists()


def test_a_checkpoint_of_another_shape_is_one_clear_line(
    checkpoint: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = load_checkpoint(checkpoint)
    content["ema"]["classifier.weight"] = torch.zeros(3, 5)
    del content["format"]
    save_checkpoint(tmp_path / "odd.pt", content)
    assert export(tmp_path / "odd.pt", data_folder, tmp_path / "models") == 1
    error = capsys.readouterr().err
    assert "do not fit this network" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "models").exists()
