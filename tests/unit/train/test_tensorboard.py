from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

import train.tensorboard
from train.evaluate import Score
from train.loop import Epoch
from train.main import main

Scalar = tuple[str, float, int]


class Writer:
    """What torch's SummaryWriter is asked to do."""

    written: list[Scalar]
    opened: list[tuple[str, int]]

    def __init__(self, folder: str, purge_step: int) -> None:
        self.opened.append((folder, purge_step))
        self.closed = False

    def add_scalar(self, name: str, value: float, step: int) -> None:
        assert not self.closed
        self.written.append((name, value, step))

    def flush(self) -> None:
        assert self.written

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> type[Writer]:
    """Stands in for the package, which is optional."""
    module = ModuleType("torch.utils.tensorboard")
    fresh = type("Fresh", (Writer,), {"written": [], "opened": []})
    module.SummaryWriter = fresh  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(train.tensorboard, "require_tensorboard", lambda: None)
    monkeypatch.setattr("train.main.require_tensorboard", lambda: None)
    return fresh


def epoch(number: int) -> Epoch:
    return Epoch(number, 2.0 / number, 0.5, Score(10, 1, 0.25), 3.0)


def test_every_epoch_is_noted_and_passed_on(writer: type[Writer], tmp_path: Path) -> None:
    epochs = [epoch(4), epoch(5)]
    assert list(train.tensorboard.record(epochs, tmp_path, done=3)) == epochs
    assert writer.opened == [(str(tmp_path / "tensorboard"), 4)]
    assert [step for _, _, step in writer.written] == [4] * 5 + [5] * 5
    assert ("loss/training", 0.4, 5) in writer.written
    assert ("accuracy/validation", 0.9, 5) in writer.written


def test_a_run_notes_its_epochs_only_when_asked(writer: type[Writer], data_folder: Path, tmp_path: Path) -> None:
    short = ["--data", str(data_folder), "--epochs", "2", "--device", "cpu", "--output"]
    assert main([*short, str(tmp_path / "plain")]) == 0
    assert not writer.opened
    assert main([*short, str(tmp_path / "noted"), "--tensorboard"]) == 0
    assert {step for _, _, step in writer.written} == {1, 2}


def test_a_missing_package_is_told_before_the_run(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find_spec(name))
    assert main(["--data", str(data_folder), "--output", str(tmp_path / "run"), "--tensorboard"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "train: --tensorboard needs the package tensorboard, which is not installed: pip install tensorboard"
    ]
    assert not (tmp_path / "run").exists()
