from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from train.checkpoint import load_checkpoint
from train.data import Dataset
from train.errors import CheckpointError
from train.evaluate import as_input, predict
from train.loop import Trainer, build_model
from train.settings import Settings
from train.teachers import Teachers, checksums, load_teachers

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def taught(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a network that was trained for a moment."""
    folder = tmp_path_factory.mktemp("teacher")
    list(Trainer(Settings(epochs=2, batch_size=32, seed=1), digits, None, folder=folder, device=CPU).run())
    return folder / "best.pt"


def test_several_teachers_answer_with_the_mean_of_their_probabilities(digits: Dataset) -> None:
    images = as_input(digits.test.images)
    first, second = (build_model(Settings(seed=seed), 10).eval() for seed in (1, 2))
    together = Teachers([first, second])(images)
    assert torch.allclose(together, (first(images).softmax(1) + second(images).softmax(1)) / 2, atol=1e-6)
    assert not together.requires_grad


def test_a_teacher_is_the_averaged_network_and_is_never_trained(taught: Path, digits: Dataset) -> None:
    teachers = load_teachers([str(taught)], digits.class_names, digits.side)
    assert teachers is not None
    assert all(not weights.requires_grad for weights in teachers.parameters())
    assert not any(module.training for module in teachers.modules() if module is not teachers)
    stored = load_checkpoint(taught)["ema"]
    assert all(torch.equal(value, stored[name]) for name, value in teachers.networks[0].state_dict().items())


def test_no_path_no_teacher(digits: Dataset) -> None:
    assert load_teachers([], digits.class_names, digits.side) is None


class Confuses(torch.nn.Module):
    """Says of every image that it is what it is or the digit after it: of the latter with this probability."""

    def __init__(self, right: torch.nn.Module, confusion: float) -> None:
        super().__init__()
        self.right, self.confusion = right.eval(), confusion

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        known = torch.nn.functional.one_hot(self.right(images).argmax(1), 10).float()
        return torch.lerp(known, known.roll(1, dims=1), self.confusion)


def train_student(digits: Dataset, folder: Path, teacher: torch.nn.Module | None, heard: str = "where-right") -> Trainer:
    folder.mkdir()
    settings = Settings(epochs=8, batch_size=12, seed=3, teachers_weight=1.0, teachers_heard=heard)
    trainer = Trainer(settings, digits, None, None, teacher, folder=folder, device=CPU)
    list(trainer.run())
    return trainer


def test_a_student_doubts_as_its_teacher_does_and_where_it_is_heard_always_errs_with_it(
    digits: Dataset, tmp_path: Path
) -> None:
    right = train_student(digits, tmp_path / "right", None).model

    def learn(confusion: float, heard: str = "where-right") -> tuple[float, float]:
        """The student's mean probability of the class, and of the one after it."""
        trainer = train_student(digits, tmp_path / f"student-{confusion}-{heard}", Confuses(right, confusion), heard)
        answers = predict(trainer.model, digits.train.images, device=CPU).softmax(1)
        each = torch.arange(len(answers))
        return (
            float(answers[each, digits.train.labels].mean()),
            float(answers[each, (digits.train.labels + 1) % 10].mean()),
        )

    of_class, of_next = learn(0.4)
    assert of_next > 0.25
    assert of_class > 0.4
    of_class, of_next = learn(0.9)
    assert of_next < 0.1
    assert of_class > 0.6
    of_class, of_next = learn(0.9, "always")
    assert of_next > 0.6
    assert of_class < 0.3


def test_a_teacher_of_other_classes_is_refused_by_name(taught: Path, digits: Dataset) -> None:
    with pytest.raises(CheckpointError, match=r"best\.pt knows other classes: 0, 1"):
        load_teachers([str(taught)], ["a", "b"], digits.side)


def test_a_missing_teacher_is_refused_by_name(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*gone\.pt"):
        load_teachers([str(tmp_path / "gone.pt")], digits.class_names, digits.side)


def test_checksums_tell_which_teachers_they_were(taught: Path) -> None:
    assert checksums([str(taught)]) == {str(taught): hashlib.sha256(taught.read_bytes()).hexdigest()}


def test_a_run_with_a_teacher_can_be_told_from_one_without(taught: Path, digits: Dataset, tmp_path: Path) -> None:
    settings = Settings(epochs=1, batch_size=32, seed=1)
    runs = []
    for name, chosen in (("with", replace(settings, teachers=(str(taught),))), ("without", settings)):
        (tmp_path / name).mkdir()
        teachers = load_teachers(chosen.teachers, digits.class_names, digits.side)
        trainer = Trainer(chosen, digits, None, None, teachers, folder=tmp_path / name, device=CPU)
        list(trainer.run())
        runs.append(load_checkpoint(tmp_path / name / "last.pt"))
    assert not torch.equal(runs[0]["ema"]["classifier.weight"], runs[1]["ema"]["classifier.weight"])
    assert Settings.from_dict(runs[0]["settings"]).command() == (
        f"python -m train --epochs 1 --batch-size 32 --teacher {taught} --seed 1"
    )
