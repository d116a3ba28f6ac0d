"""A network learns to doubt, and its answers stay what they were."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import train.doubt
import train.main
from train.checkpoint import load_checkpoint, save_checkpoint
from train.command import INTERRUPTED
from train.data import Dataset, Images
from train.doubt import Seen, describe, learn
from train.evaluate import answer
from train.evaluation import load_model
from train.loop import load_network
from train.model import Doubt, Recognizer
from train.networks import GAP

Capture = pytest.CaptureFixture[str]


def doubt(checkpoint: Path, *arguments: str | Path) -> int:
    return train.main.main(["doubt", str(checkpoint), "--steps", "40", *map(str, arguments)])


def refused(capfd: Capture, checkpoint: Path, *arguments: str | Path) -> str:
    """The one line on stderr of a command that must fail; the checkpoint is as it was."""
    before = checkpoint.read_bytes() if checkpoint.exists() else None
    capfd.readouterr()
    assert doubt(checkpoint, *arguments) == 1
    said = capfd.readouterr()
    assert said.err.count("\n") == 1
    assert said.err.startswith("doubt: ")
    assert (checkpoint.read_bytes() if checkpoint.exists() else None) == before
    return said.err


def noise(count: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8))


def test_it_tells_characters_from_what_is_none_and_changes_no_answer(digits: Dataset) -> None:
    torch.manual_seed(0)
    model = Recognizer(GAP).eval()
    images, strange = digits.test.images, noise(len(digits.test))
    before = answer(model, 0.7, images)
    rightly = Images(digits.train.images, answer(model, 0.7, digits.train.images).argmax(1))
    model.doubt = learn(model, rightly, (noise(400)[200:],), steps=60, seed=0)
    after, other = answer(model, 0.7, images), answer(model, 0.7, strange)
    assert torch.equal(after.argmax(1), before.argmax(1))
    assert torch.allclose(after.sum(1), torch.ones(len(after)))
    assert float((after - before).abs().max()) < 0.1
    assert float(other.amax(1).max()) < 0.12  # of ten classes


def test_what_it_misreads_is_to_be_doubted_and_what_is_none_always(digits: Dataset) -> None:
    torch.manual_seed(0)
    model, few = Recognizer(GAP).eval(), digits.train.take(torch.arange(30))
    answers = answer(model, 1.0, few.images).argmax(1)
    seen = train.doubt._look_at(model, few.images, torch.Generator().manual_seed(0), few.labels)
    assert seen.means.shape == (4 * 30, 480)
    assert torch.equal(seen.wanted[:30, 0].bool(), answers != few.labels)
    assert bool(train.doubt._look_at(model, few.images, torch.Generator().manual_seed(0)).wanted.all())


def test_three_pictures_in_five_are_to_be_doubted_letters_among_them(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    draw = train.doubt._draw

    def note(seen: Seen, count: int, generator: torch.Generator) -> Seen:
        asked.append(count)
        return draw(seen, count, generator)

    monkeypatch.setattr(train.doubt, "_draw", note)
    model, few = Recognizer(GAP).eval(), digits.train.take(torch.arange(4))
    learn(model, few, (noise(4), noise(4)), steps=1, seed=0)
    learn(model, few, (noise(4),), steps=1, seed=0)
    assert asked == [512, 616, 152, 512, 768]


def test_the_same_seed_learns_the_same(digits: Dataset) -> None:
    model, few = Recognizer(GAP).eval(), digits.train.take(torch.arange(20))
    one, again, other = (
        learn(model, few, (noise(20),), steps=3, seed=seed).get_parameter("layers.0.weight") for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_scale_shift_and_odds_are_settled_in_the_weights() -> None:
    torch.manual_seed(0)
    asked, means = Doubt(GAP).eval(), torch.rand(5, 480) * 3
    scale, shift = torch.rand(480) + 0.5, torch.rand(480)
    with torch.no_grad():
        wanted = asked((means - shift) / scale) - np.log(50 * 3 / 2)
        found = train.doubt._settle(asked, scale, shift)(means)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_the_command_adds_to_the_checkpoint_and_changes_nothing_else(
    checkpoint: Path, data_folder: Path, capfd: Capture
) -> None:
    before = load_checkpoint(checkpoint)
    assert doubt(checkpoint, "--data", data_folder) == 0
    said = capfd.readouterr().out
    assert "strangers that it has not seen" in said
    after = load_checkpoint(checkpoint)
    assert after["doubt"]["command"] == "python -m train doubt best.pt --steps 40 --seed 0"
    assert after["calibration"]["temperature"] == before["calibration"]["temperature"]
    assert all(torch.equal(after["ema"][name], value) for name, value in before["ema"].items())
    assert {name for name in after if name not in before} == {"doubt"}
    found = json.loads(checkpoint.with_name("doubt.json").read_text())
    assert f"threshold {found['threshold']:.3f}" in said
    assert found["threshold"] == after["calibration"]["threshold"]
    assert 0 <= found["unsure"]["validation"] <= 0.0035
    assert load_network(before, 28).doubt is None


def test_done_again_it_is_the_same_and_a_run_can_go_on(checkpoint: Path, data_folder: Path) -> None:
    assert doubt(checkpoint, "--data", data_folder) == 0
    first = load_checkpoint(checkpoint)
    assert doubt(checkpoint, "--data", data_folder) == 0
    second = load_checkpoint(checkpoint)
    assert first["calibration"] == second["calibration"]
    assert all(torch.equal(second["doubt"]["weights"][name], value) for name, value in first["doubt"]["weights"].items())
    assert train.main.main(["--data", str(data_folder), "--resume", str(checkpoint), "--device", "cpu", "--no-report"]) == 0


def test_a_doubt_of_another_shape_is_replaced(checkpoint: Path, data_folder: Path) -> None:
    assert doubt(checkpoint, "--data", data_folder) == 0
    known = load_checkpoint(checkpoint)
    other = {name: values[:1] for name, values in known["doubt"]["weights"].items()}
    save_checkpoint(checkpoint, {**known, "doubt": {**known["doubt"], "weights": other}})
    assert doubt(checkpoint, "--data", data_folder) == 0
    for name, values in load_checkpoint(checkpoint)["doubt"]["weights"].items():
        assert torch.equal(values, known["doubt"]["weights"][name])


def test_an_evaluation_asks_with_doubt(checkpoint: Path, data_folder: Path, digits: Dataset) -> None:
    options: Any = SimpleNamespace(model=checkpoint, data=data_folder, dataset=None)
    plain = load_model(options)[0].answer(digits.test.images)
    assert doubt(checkpoint, "--data", data_folder) == 0
    doubted = load_model(options)[0].answer(digits.test.images)
    assert torch.equal(doubted.argmax(1), plain.argmax(1))
    assert not torch.equal(doubted, plain)


def test_what_can_not_be_done_is_refused(checkpoint: Path, data_folder: Path, tmp_path: Path, capfd: Capture) -> None:
    data = ("--data", data_folder)
    assert "steps must be above 0, not 0" in refused(capfd, checkpoint, *data, "--steps", "0")
    assert "no checkpoint at" in refused(capfd, tmp_path / "none.pt", *data)
    assert "dataset 'runes' is unknown" in refused(capfd, checkpoint, *data, "--strange-dataset", "runes")
    tiny = load_checkpoint(checkpoint)
    tiny["settings"]["limit"] = 2
    save_checkpoint(tmp_path / "tiny.pt", tiny)
    assert "is too small to learn doubt beside it: 1 images to train on" in refused(capfd, tmp_path / "tiny.pt", *data)
    damaged = load_checkpoint(checkpoint)
    torch.save({"format": "digitserve-checkpoint-1", **damaged, "ema": {}}, tmp_path / "odd.pt")
    assert "do not fit this network" in refused(capfd, tmp_path / "odd.pt", *data)


def test_who_interrupts_it_is_told_that_nothing_changed(
    checkpoint: Path, data_folder: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train.doubt, "learn", interrupt)
    before = checkpoint.read_bytes()
    assert doubt(checkpoint, "--data", data_folder) == INTERRUPTED
    assert f"{checkpoint} is as it was" in capfd.readouterr().err
    assert checkpoint.read_bytes() == before


def test_a_card_tells_how_doubt_was_learned() -> None:
    source = {"commit": "abc", "dirty": False, "device": "cpu", "versions": {}, "precision": "float32"}
    told = describe({"doubt": {"command": "python -m train doubt best.pt --seed 0", "provenance": source, "weights": {}}})
    assert told["doubt"]["command"] == "python -m train doubt best.pt --seed 0"
    assert set(told["doubt"]) == {"command", "commit", "dirty", "device", "versions"}
    assert describe({}) == describe({"doubt": None}) == {}
