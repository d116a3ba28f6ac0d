from __future__ import annotations

import csv
import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.unit.train.pictures import write_pictures
from train.data import Dataset, Images
from train.folder import read_folder
from train.unpack import folder_name, main, unpack


def named(*names: str, validation: bool = False) -> Dataset:
    """Two images of each class in each part; no two are the same."""
    pixels = torch.zeros(2 * len(names), 8, 8, dtype=torch.uint8)
    pixels[:, 3, 3] = torch.arange(1, len(pixels) + 1)
    images = Images(pixels, torch.arange(len(pixels)) % len(names))
    return Dataset(images, images, names, images if validation else None)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source))


def test_every_image_is_a_file_with_its_label(tmp_path: Path) -> None:
    dataset = named("A", "三", validation=True)
    assert unpack(dataset, tmp_path / "out") == 12
    found = rows(tmp_path / "out")
    assert [row["split"] for row in found] == ["train"] * 4 + ["validation"] * 4 + ["test"] * 4
    assert found[1] == {"file": "train/三/000001.png", "label": "三", "split": "train"}
    for row, image in zip(found, dataset.train.images.repeat(3, 1, 1).numpy(), strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / row["file"])), image)


def test_a_dataset_without_validation_has_no_such_folder(tmp_path: Path) -> None:
    unpack(named("A", "B"), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["labels.csv", "test", "train"]


def test_what_is_unpacked_can_be_read_again(tmp_path: Path, data_folder: Path, digits: Dataset) -> None:
    assert main(["mnist", str(tmp_path / "out"), "--data", str(data_folder)]) == 0
    found = read_folder(tmp_path / "out" / "test")
    assert found.class_names == digits.class_names
    assert found.images.labels.bincount().tolist() == digits.test.labels.bincount().tolist()


@pytest.mark.parametrize("name", ["..", ".", "", "/etc", "a/../../b", "\\..\\x", "C:", "a\nb", "a\0b", "trailing ", "\ud800"])
def test_a_class_name_does_not_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    unpack(named("A", name), tmp_path / "out")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.is_relative_to(tmp_path / "out") for path in files)
    assert len(files) == 9
    assert {len(path.relative_to(tmp_path / "out").parts) for path in files if path.suffix == ".png"} == {3}


@given(st.lists(st.text(max_size=12), min_size=2, max_size=8, unique=True))
def test_folder_names_are_safe_and_differ(names: list[str]) -> None:
    folders = [folder_name(name) for name in names]
    assert len(set(folders)) == len(names)
    assert not any(set(folder) & set('/\\:*?"<>|.\0\n') or folder != folder.strip() or not folder for folder in folders)


def test_a_folder_that_holds_something_is_refused(tmp_path: Path, data_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dear.txt").write_text("something dear")
    assert main(["mnist", str(tmp_path / "out"), "--data", str(data_folder)]) == 1
    assert capfd.readouterr().err == f"train unpack: {tmp_path / 'out'} is not empty: nothing was unpacked into it\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dear.txt"]


def test_a_file_in_its_place_is_refused(tmp_path: Path, data_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("something dear")
    assert main(["mnist", str(tmp_path / "out"), "--data", str(data_folder)]) == 1
    assert "is a file, not a folder" in capfd.readouterr().err


def test_an_empty_folder_is_filled(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    assert main([f"folder:{write_pictures(tmp_path / 'mine', ['A', 'B'], 3)}", str(tmp_path / "out")]) == 0
    assert capfd.readouterr().out == f"unpacked 6 images into {tmp_path / 'out'}\n"
    assert len(rows(tmp_path / "out")) == 6


def test_an_unknown_dataset_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing", str(tmp_path / "out")]) == 1
    assert capfd.readouterr().err.startswith("train unpack: dataset 'nothing' is unknown")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("end", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=["full", "Ctrl-C"])
def test_what_is_cut_short_leaves_nothing(
    tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], end: BaseException
) -> None:
    saved = Image.Image.save
    left = [3]

    def save(image: Image.Image, *arguments: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise end
        saved(image, *arguments)

    monkeypatch.setattr(Image.Image, "save", save)
    before = sorted(tmp_path.iterdir())
    status = main(["mnist", str(tmp_path / "out"), "--data", str(data_folder)])
    assert status == (130 if isinstance(end, KeyboardInterrupt) else 1)
    assert sorted(tmp_path.iterdir()) == before
    said = capfd.readouterr().err
    assert "nothing was unpacked" in said or f"cannot write {tmp_path / 'out'}: No space left on device" in said
