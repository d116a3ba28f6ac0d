"""Golden images: which are taken, and how they come into cards that are published already."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.golden import MAX_CLASSES, choose_golden, main
from server.golden import compare, unpack
from server.repository import read_card
from tests.server_process import ROOT
from train.data import Images


class Answers:
    """Stands for a graph: an image's first pixel is the class that it takes it for, its second the probability in percent."""

    def __init__(self, classes: int, shift: float = 0.0, wrong: int | None = None) -> None:
        self._classes, self._shift, self._wrong = classes, shift, wrong

    def run(self, images: torch.Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        pixels = images.numpy().reshape(len(images), -1)
        rows = np.zeros((len(images), self._classes), np.float32)
        for row, (best, percent) in zip(rows, pixels[:, :2], strict=True):
            row[best if best != self._wrong else 0] = percent / 100 + self._shift
        return rows, rows


def make_test(*shown: tuple[int, int, int]) -> Images:
    """An image for each (label, what it is taken for, percent)."""
    images = torch.zeros(len(shown), 2, 2, dtype=torch.uint8)
    for image, (_, best, percent) in zip(images, shown, strict=True):
        image[0, 0], image[0, 1] = best, percent
    return Images(images, torch.tensor([label for label, _, _ in shown]))


def choose(test: Images, *graphs: Any, classes: int = 3) -> dict[str, float]:
    """The answers that are written down, after a look at the frames that belong to them."""
    names = [f"c{number}" for number in range(classes)]
    packed = choose_golden(graphs, test, names, 0.5)
    golden = unpack(packed, 2, tuple(names))
    expected = [(int(name[1:]), round(probability * 100)) for name, probability in golden.answers]
    assert [tuple(image[0].tolist()) for image in golden.images] == expected
    return dict(golden.answers)


def test_the_first_of_each_class_is_taken_that_is_read_right_and_surely() -> None:
    test = make_test((1, 1, 90), (0, 1, 99), (0, 0, 49), (0, 0, 51), (0, 0, 99), (1, 1, 99))
    assert choose(test, Answers(3)) == {"c0": 0.51, "c1": 0.9}, "a class without such an image is left away"


def test_the_variants_must_read_it_too_and_nearly_alike() -> None:
    test = make_test((1, 1, 90), (2, 2, 90))
    assert choose(test, Answers(3), Answers(3, shift=0.02)) == {"c1": 0.9, "c2": 0.9}
    assert choose(test, Answers(3), Answers(3, shift=0.03)) == {}
    assert choose(test, Answers(3), Answers(3, wrong=1)) == {"c2": 0.9}


def test_a_model_of_very_many_classes_has_no_more_than_a_few() -> None:
    test = make_test(*[(number, number, 90) for number in range(40)])
    assert list(choose(test, Answers(40), classes=40)) == [f"c{number}" for number in range(MAX_CLASSES)]


@pytest.fixture
def models(tmp_path: Path, data_folder: Path) -> Path:
    """A version that was published before there were golden images; and what its test set was."""
    folder = tmp_path / "digits" / "1"
    shutil.copytree(ROOT / "models" / "digits" / "1", folder)
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    del card["golden"]
    (folder / "model.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return tmp_path


def test_what_is_published_gets_golden_images_and_nothing_else_changes(
    models: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = models / "digits" / "1" / "model.json"
    before = path.read_text(encoding="utf-8")
    assert main(["--models", str(models), "--data", str(data_folder)]) == 0
    after = path.read_text(encoding="utf-8")
    head, _, rest = after.partition('  "golden": {')
    assert head + rest.partition("  },\n")[2] == before
    card = read_card(path.parent)
    assert card.golden
    assert len(card.golden.answers) > 3
    assert "golden images" in capsys.readouterr().out
    assert main(["--models", str(models), "--data", str(data_folder)]) == 0
    assert path.read_text(encoding="utf-8") == after
    assert not list(path.parent.glob(".*"))


def test_without_the_data_nothing_changes(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = models / "digits" / "1" / "model.json"
    before = path.read_text(encoding="utf-8")
    assert main(["--models", str(models), "--data", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err.startswith("export.golden: ")
    assert path.read_text(encoding="utf-8") == before


def test_another_model_is_told_by_its_answers() -> None:
    golden = read_card(ROOT / "models" / "digits" / "1").golden
    assert golden
    names = tuple("0123456789")
    rows = np.full((len(golden.images), 10), 0.02, np.float32)
    rows[:, 3] = 0.8
    assert compare(golden, names, lambda images: (rows,), 64).startswith("it takes a golden '0' of ")
