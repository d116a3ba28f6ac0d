from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torchvision.datasets import MNIST

from train.checkpoint import load_checkpoint
from train.command import INTERRUPTED
from train.loop import Trainer
from train.main import main

Run = list[str]


@pytest.fixture
def short(data_folder: Path, tmp_path: Path) -> Run:
    """The arguments of a run of seconds."""
    output = str(tmp_path / "run")
    small = ["--device", "cpu", "--epochs", "2", "--batch-size", "32", "--no-report"]
    return ["--data", str(data_folder), "--output", output, *small]


def interrupt_in_epoch(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    train_epoch = Trainer.train_epoch

    def interrupted(self: Trainer) -> tuple[float, float]:
        if self.epoch + 1 == number:
            raise KeyboardInterrupt
        return train_epoch(self)

    monkeypatch.setattr(Trainer, "train_epoch", interrupted)


def test_a_run_leaves_its_whole_story(short: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(short) == 0
    folder = tmp_path / "run"
    names = {path.name for path in folder.iterdir()}
    assert names == {"settings.json", "metrics.jsonl", "log.txt", "last.pt", "best.pt", "result.json"}
    assert json.loads((folder / "settings.json").read_text())["command"].startswith("python -m train --epochs 2")
    log = (folder / "log.txt").read_text().splitlines()
    assert [line.split("  ")[1].split(" ")[0] for line in log] == ["python", "epoch", "epoch", "test"]
    assert json.loads((folder / "settings.json").read_text())["data_sha256"].keys() == {"train", "test"}
    result = json.loads((folder / "result.json").read_text())
    assert result["n"] == 40
    assert sum(map(sum, result["confusion"])) == 40
    out = capsys.readouterr().out
    assert "epoch 2/2" in out
    assert "python -m export --checkpoint" in out


def test_a_run_ends_with_a_report(short: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(short[:-1]) == 0
    assert f"written to {tmp_path / 'run' / 'report.html'}" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert (tmp_path / "run" / "curves.png").is_file()


def test_no_path_of_the_machine_is_stored(short: Run, tmp_path: Path) -> None:
    main(short)
    assert str(tmp_path) not in (tmp_path / "run" / "settings.json").read_text()


def test_runs_have_a_folder_of_their_own(short: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*short[:2], *short[4:], "--seed", "5"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("-5")


def test_interrupted_and_resumed(
    short: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    last = tmp_path / "run" / "last.pt"
    with monkeypatch.context() as patch:
        interrupt_in_epoch(2, patch)
        assert main(short) == INTERRUPTED
    assert capsys.readouterr().err.strip() == (
        f"interrupted: epoch 1 is safe in {last}; to go on: python -m train --resume {last}"
    )
    assert main(["--resume", str(last), *short[:2], "--device", "cpu"]) == 0
    resumed = load_checkpoint(last)
    whole = [*short[:2], "--output", str(tmp_path / "whole"), *short[4:]]
    assert main(whole) == 0
    expected = load_checkpoint(tmp_path / "whole" / "last.pt")
    assert all(torch.equal(resumed["ema"][key], value) for key, value in expected["ema"].items())


def test_interrupted_before_there_is_anything(
    short: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_in_epoch(1, monkeypatch)
    assert main(short) == INTERRUPTED
    assert "nothing to resume" in capsys.readouterr().err


def test_absent_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def no_network(self: MNIST) -> None:
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(MNIST, "download", no_network)
    monkeypatch.chdir(tmp_path)
    assert main(["--data", str(tmp_path / "nowhere")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("train: no MNIST in ")
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_run_that_cannot_begin_leaves_no_folder(short: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*short, "--teacher", str(tmp_path / "gone.pt")]) == 1
    assert "no checkpoint at" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_folder_with_a_run_is_not_written_over(short: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(short) == 0
    assert main(short) == 1
    assert "holds a run already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "epochs must be above 0"),
        (["--device", "tpu"], "device 'tpu' is unknown"),
        (["--network", "x"], "network 'x' is unknown"),
        (["--epochs", "2", "--lr", "1e30"], "try a lower --lr than 1e+30"),
        (["--resume", "none.pt"], "no checkpoint at none.pt"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    short: Run,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*short[:2], *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_folder_that_cannot_be_written(short: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text("a file in the way")
    assert main(short) == 1
    error = capsys.readouterr().err
    assert str(tmp_path / "run") in error
    assert error.count("\n") == 1


def test_a_resumed_run_keeps_its_settings(short: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(short)
    assert main(["--resume", str(tmp_path / "run" / "last.pt"), "--epochs", "9"]) == 1
    assert "--epochs cannot go with --resume" in capsys.readouterr().err


def test_a_report_that_could_not_be_drawn_is_refused_before_training(
    short: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(short[:-1]) == 1
    assert "need matplotlib" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
