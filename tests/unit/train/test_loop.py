from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from train.augment import Augmentation
from train.checkpoint import load_checkpoint
from train.data import Dataset, split
from train.errors import CheckpointError
from train.evaluate import predict
from train.loop import Trainer, build_model, load_weights
from train.settings import Settings
from train.strangers import make_strangers

CPU = torch.device("cpu")


def another_copy(digits: Dataset) -> torch.Tensor:
    """For each image another one of the same class, in place of its reframed copy."""
    return digits.train.images.roll(10, 0)


def trainer(settings: Settings, digits: Dataset, folder: Path) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    return Trainer(settings, digits, another_copy(digits), folder=folder, device=CPU)


def confidence_in(pictures: torch.Tensor, digits: Dataset, folder: Path, strangers: torch.Tensor | None) -> float:
    """Of a network trained with or without strangers: its mean confidence in these pictures."""
    folder.mkdir()
    torch.set_num_threads(1)
    settings = Settings(epochs=6, batch_size=12, seed=3, strangers_share=1.0, strangers_weight=1.0)
    one = Trainer(settings, digits, None, strangers, folder=folder, device=CPU)
    list(one.run())
    return float(predict(one.model, pictures, device=CPU).softmax(1).amax(1).mean())


def test_strangers_teach_the_network_to_be_unsure(digits: Dataset, tmp_path: Path) -> None:
    strangers = torch.from_numpy(make_strangers(digits.train.images.numpy(), 140))
    others = torch.from_numpy(make_strangers(digits.train.images.numpy(), 70, seed=1))
    taught = confidence_in(others, digits, tmp_path / "with", strangers)
    untaught = confidence_in(others, digits, tmp_path / "without", None)
    assert taught < untaught - 0.1, (taught, untaught)


def assert_identical(first: Any, second: Any) -> None:
    """Bit for bit, through all nested values."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_identical(first[key], second[key])
    elif isinstance(first, list | tuple):
        for one, other in zip(first, second, strict=True):
            assert_identical(one, other)
    else:
        assert torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


@pytest.fixture(scope="module")
def whole(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    torch.set_num_threads(1)
    list(trainer(Settings(epochs=3, batch_size=32, seed=7), digits, folder).run())
    return folder


@pytest.fixture
def settings() -> Settings:
    return Settings(epochs=3, batch_size=32, seed=7)


def test_a_resumed_run_ends_as_if_never_interrupted(whole: Path, settings: Settings, digits: Dataset, tmp_path: Path) -> None:
    first = trainer(settings, digits, tmp_path).run()
    next(first)
    resumed = trainer(settings, digits, tmp_path)
    resumed.restore(load_checkpoint(tmp_path / "last.pt"))
    assert [epoch.number for epoch in resumed.run()] == [2, 3]
    expected, found = load_checkpoint(whole / "last.pt"), load_checkpoint(tmp_path / "last.pt")
    for content in (expected, found):
        del content["minutes"]
    assert_identical(found, expected)


def test_the_seed_decides_the_weights(whole: Path, settings: Settings, digits: Dataset, tmp_path: Path) -> None:
    list(trainer(replace(settings, seed=8), digits, tmp_path).run())
    first, other = (load_checkpoint(folder / "last.pt")["weights"] for folder in (whole, tmp_path))
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_a_checkpoint_after_every_epoch(settings: Settings, digits: Dataset, tmp_path: Path) -> None:
    for epoch in trainer(settings, digits, tmp_path).run():
        assert load_checkpoint(tmp_path / "last.pt")["epoch"] == epoch.number


def test_metrics_have_one_line_an_epoch_even_after_a_resume(settings: Settings, digits: Dataset, tmp_path: Path) -> None:
    run = trainer(settings, digits, tmp_path).run()
    next(run)
    one = load_checkpoint(tmp_path / "last.pt")
    next(run)
    resumed = trainer(settings, digits, tmp_path)
    resumed.restore(one)
    list(resumed.run())
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(0 <= row["validation_accuracy"] <= 1 and row["loss"] > 0 for row in rows)


def test_best_is_the_best_by_validation(whole: Path) -> None:
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    best = min(rows, key=lambda row: float(row["validation_loss"]))
    assert load_checkpoint(whole / "best.pt")["epoch"] == best["epoch"]


def test_it_learns(digits: Dataset, tmp_path: Path) -> None:
    gentle = Augmentation(rotation_deg=5, elastic_px=0)
    settings = Settings(epochs=16, batch_size=16, seed=1, augmentation=gentle)
    epochs = list(trainer(settings, digits, tmp_path).run())
    assert epochs[-1].loss < epochs[0].loss / 2
    assert epochs[-1].accuracy >= 0.9
    assert epochs[-1].validation.accuracy >= 0.9


def test_validation_images_are_never_trained_on(settings: Settings, digits: Dataset, tmp_path: Path) -> None:
    run = trainer(settings, digits, tmp_path)
    held_out = split(len(digits.train)).validation
    assert torch.equal(run.validation.images, digits.train.images[held_out])
    assert run.sources.shape == (2, len(digits.train) - len(held_out), 28, 28)
    kept = split(len(digits.train)).train
    assert torch.equal(run.sources[1], another_copy(digits)[kept])


def test_weights_of_another_network_are_refused_in_one_line(settings: Settings) -> None:
    model = build_model(settings, classes=10)
    other = build_model(settings, classes=12).state_dict()
    with pytest.raises(CheckpointError, match=r"do not fit this network: .*classifier\.weight") as caught:
        load_weights(model, other)
    assert "\n" not in str(caught.value)


def test_building_a_model_leaves_the_global_generator_alone(settings: Settings) -> None:
    before = torch.get_rng_state()
    build_model(settings, classes=10)
    assert torch.equal(torch.get_rng_state(), before)
