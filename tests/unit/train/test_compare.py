from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import pad

import export.timing
import train.compare as compare
from tests.unit.train.printed import printed_dataset
from train.checkpoint import load_checkpoint
from train.command import INTERRUPTED
from train.compare import main
from train.data import Images
from train.loop import Trainer
from train.model import Recognizer
from train.networks import NETWORKS, cost
from train.ranking import COLUMNS, Timings

FILES = {"comparison.md", "comparison.json"}


def no_timings(models: dict[str, Recognizer], side: int) -> dict[str, Timings]:
    """In place of the real thing, which exports every network: seconds each."""
    assert side == 28
    return {name: {1: 0.1, 64: 0.05} for name in models}


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "time_models", no_timings)


@pytest.fixture
def short(data_folder: Path, tmp_path: Path) -> list[str]:
    """The arguments of a comparison of seconds."""
    return ["--data", str(data_folder), "--output", str(tmp_path / "out"), "--epochs", "1"]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def fail_in_run(number: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    train_epoch, calls = Trainer.train_epoch, iter(range(1, 100))

    def failing(self: Trainer) -> tuple[float, float]:
        if next(calls) == number:
            raise error
        return train_epoch(self)

    monkeypatch.setattr(Trainer, "train_epoch", failing)


@pytest.mark.usefixtures("untimed")
def test_every_network_gets_a_row(short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(short) == 0
    folder = tmp_path / "out"
    assert names_in(folder) == FILES | {f"{name}-0" for name in NETWORKS}
    found = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    assert [row["network"] for row in found["rows"]] == list(NETWORKS)
    for row in found["rows"]:
        assert (row["multiply_adds"], row["parameters"]) == cost(NETWORKS[row["network"]])
        assert row["ms_per_image"] == {"1": 0.1, "64": 0.05}
        assert row["test_n"] == 40
        assert 0 <= row["validation_accuracy"] <= 1
    table = (folder / "comparison.md").read_text(encoding="utf-8")
    assert f"| {' | '.join(COLUMNS)} |" in table
    assert all(f"\n| {name} | " in table for name in NETWORKS)
    assert table in capsys.readouterr().out


def test_networks_are_timed_with_and_without_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export.timing, "ROUNDS", 1)
    found = compare.time_models({name: Recognizer(NETWORKS[name]) for name in ("small", "plain")}, side=28)
    assert list(found) == ["small", "plain"]
    for timings in found.values():
        assert set(timings) == {1, 8, 64}
        assert min(timings.values()) > 0


@pytest.mark.usefixtures("untimed")
def test_several_seeds_make_one_row(short: list[str], tmp_path: Path) -> None:
    assert main([*short, "--networks", "small", "small", "--seeds", "2", "--limit", "60", "--lr", "0.005"]) == 0
    folder = tmp_path / "out"
    assert names_in(folder) == FILES | {"small-0", "small-1"}
    found = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    assert found["command"] == (
        "python -m train compare --networks small --dataset mnist --epochs 1 --seeds 2 --lr 0.005 --limit 60"
    )
    assert [(row["network"], row["seeds"]) for row in found["rows"]] == [("small", 2)]
    assert [run["seed"] for run in found["runs"]] == [0, 1]
    assert str(tmp_path) not in json.dumps(found)


@pytest.mark.usefixtures("untimed")
def test_runs_differ_in_nothing_but_network_and_seed(short: list[str], tmp_path: Path) -> None:
    assert main([*short, "--networks", "small", "gap"]) == 0
    first, other = (load_checkpoint(tmp_path / "out" / name / "best.pt")["settings"] for name in ("small-0", "gap-0"))
    assert first != other
    assert {**first, "network": "gap"} == other


@pytest.mark.usefixtures("untimed")
def test_an_interruption_keeps_what_is_done(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_in_run(2, KeyboardInterrupt(), monkeypatch)
    assert main([*short, "--networks", "small", "gap"]) == INTERRUPTED
    table = tmp_path / "out" / "comparison.md"
    assert capsys.readouterr().err.strip() == f"interrupted: 1 of 2 runs are in {table}"
    text = table.read_text(encoding="utf-8")
    assert "| small |" in text
    assert "| gap |" not in text
    assert "1 of 2 runs done" in text


@pytest.mark.usefixtures("untimed")
def test_an_interruption_before_there_is_anything(
    short: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_in_run(1, KeyboardInterrupt(), monkeypatch)
    assert main([*short, "--networks", "small"]) == INTERRUPTED
    assert capsys.readouterr().err.strip() == "interrupted: no run was finished, so there is no table"


@pytest.mark.usefixtures("untimed")
def test_a_full_disk_keeps_what_is_done(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_in_run(2, OSError(28, "No space left on device"), monkeypatch)
    assert main([*short, "--networks", "small", "gap"]) == 1
    assert capsys.readouterr().err == "compare: [Errno 28] No space left on device\n"
    assert "| small |" in (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("untimed")
def test_a_run_that_diverges_is_named(
    short: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Trainer, "_train_batch", lambda self, index: torch.full((2,), float("nan")))
    assert main([*short, "--networks", "small"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("compare: small-0: the loss is nan in epoch 1")
    assert error.count("\n") == 1


def test_a_dataset_that_a_network_cannot_take_is_said_before_any_training(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = (Images(pad(part.images, (6, 6, 6, 6)), part.labels) for part in printed_dataset()[:2])
    large = printed_dataset()._replace(train=train, test=test)
    monkeypatch.setattr(compare, "load_dataset", lambda name, folder, limit: large)
    monkeypatch.setattr(compare, "build_model", lambda settings, classes, *_: Recognizer(NETWORKS[settings.network], classes))
    assert main([*short, "--networks", "small", "plain"]) == 1
    assert "network plain was built for images of 28x28" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--networks", "alexnet"], "network 'alexnet' is unknown; there are: gap, "),
        (["--seeds", "0"], "seeds must be at least 1, not 0"),
        (["--epochs", "0"], "epochs must be above 0"),
        (["--limit", "1"], "limit must be at least 2"),
        (["--dataset", "nothing"], "dataset 'nothing' is unknown"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    short: list[str], tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*short, *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("compare: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_used_folder_is_refused(short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out" / "gap-0").mkdir(parents=True)
    assert main(short) == 1
    assert "is not empty: a comparison takes a folder of its own" in capsys.readouterr().err
