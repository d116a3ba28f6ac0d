from __future__ import annotations

import pytest

from train.augment import AUGMENTATIONS, Augmentation
from train.errors import CheckpointError, SettingsError
from train.settings import Settings


def test_stored_settings_come_back() -> None:
    settings = Settings(epochs=3, seed=9, augmentation=Augmentation(shear=0.1))
    assert Settings.from_dict(settings.to_dict()) == settings


def test_settings_of_another_version_are_refused() -> None:
    with pytest.raises(CheckpointError, match="dropout"):
        Settings.from_dict({**Settings().to_dict(), "dropout": 0.5})


def test_the_command_says_what_was_changed() -> None:
    assert Settings().command() == "python -m train --seed 0"
    assert Settings(batch_size=64, seed=4).command() == "python -m train --batch-size 64 --seed 4"
    assert Settings(extra=("a", "b")).command() == "python -m train --extra a --extra b --seed 0"
    assert Settings(augmentation=AUGMENTATIONS["strong"]).command() == "python -m train --augmentation strong --seed 0"


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": -1},
        {"lr": float("nan")},
        {"limit": 1},
        {"network": "x"},
        {"teachers_weight": 1.1},
        {"teachers_heard": "never"},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Settings(**wrong)  # type: ignore[arg-type]
