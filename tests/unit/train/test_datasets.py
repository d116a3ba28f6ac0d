from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import train.datasets
from tests.unit.train.pictures import draw, write_pictures
from train.data import Dataset, Images, Origin
from train.datasets import LOADERS, add_extra, load_dataset, mix, with_validation
from train.errors import DataError
from train.folder import read_folder
from train.packed import write_packed


def make(names: str, *, name: str = "made", first: int = 0, side: int = 4, validation: bool = False) -> Dataset:
    """A dataset in which no two images are the same: the first pixel, read with the second, is the image's number."""

    def images(start: int, amount: int) -> Images:
        pixels = torch.zeros(amount, side, side, dtype=torch.uint8)
        number = torch.arange(start, start + amount)
        pixels[:, 0, 0], pixels[:, 0, 1] = number // 256, number % 256
        return Images(pixels, number % len(names))

    held = images(first + 32, 6) if validation else None
    origin = Origin(name, name.title(), f"source of {name}", "", f"split of {name}")
    return Dataset(images(first, 24), images(first + 24, 8), tuple(names), held, origin)


def numbers(images: Images) -> set[int]:
    first, second = images.images[:, 0, 0].long(), images.images[:, 0, 1].long()
    return set((first * 256 + second).tolist())


def test_the_names_that_are_promised_are_known() -> None:
    assert set(LOADERS) == {"mnist", "emnist-letters", "hanzi", "habits"}


def test_an_unknown_name_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"dataset 'mnits' is unknown; there are: mnist, emnist-letters, hanzi, habits, folder:PATH"
    ):
        load_dataset("mnits", tmp_path)


def test_a_name_without_more_is_its_loader(data_folder: Path, digits: Dataset) -> None:
    found = load_dataset("mnist", data_folder)
    assert torch.equal(found.train.images, digits.train.images)
    assert found.validation is None


def test_a_folder_is_read_by_its_path(tmp_path: Path) -> None:
    found = load_dataset(f"folder:{write_pictures(tmp_path / 'a+b', ['A', 'B'], 4)}")
    assert found.class_names == ("A", "B")
    assert (len(found.train), len(found.test)) == (6, 2)


def test_a_packed_folder_is_the_same_dataset(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "mine", ["A", "B"], 4)
    write_packed(tmp_path / "mine.h5", read_folder(folder))
    packed, loose = load_dataset(f"folder:{tmp_path / 'mine.h5'}"), load_dataset(f"folder:{folder}")
    assert torch.equal(packed.train.images, loose.train.images)
    assert torch.equal(packed.test.labels, loose.test.labels)


def test_digits_and_a_folder_are_mixed(tmp_path: Path, data_folder: Path) -> None:
    mine = write_pictures(tmp_path / "mine", ["7", "X"], 4)
    found = load_dataset(f"mnist+folder:{mine}", data_folder)
    assert found.class_names == (*"0123456789", "X")
    assert found.test.labels.bincount().tolist() == [4] * 7 + [5] + [4] * 2 + [1]
    assert found.train.labels.bincount()[10] == 3
    assert found.origin.name == "mnist+folder:mine"


@pytest.mark.parametrize("name", ["folder:", "mnist+folder:"])
def test_a_folder_without_a_path_is_refused(name: str, data_folder: Path) -> None:
    with pytest.raises(DataError, match="names no folder"):
        load_dataset(name, data_folder)


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has one class only, 'A'"):
        load_dataset(f"folder:{write_pictures(tmp_path, ['A'], 4)}")


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is too small: it has 2 images to train on and 0 to test"):
        load_dataset(f"folder:{write_pictures(tmp_path, ['A', 'B'], 1)}")


def test_the_same_dataset_twice_is_refused(data_folder: Path) -> None:
    with pytest.raises(DataError, match="names a dataset twice"):
        load_dataset("mnist+mnist", data_folder)


def test_a_folder_takes_the_side_of_what_it_is_mixed_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.datasets, "LOADERS", {"mnist": lambda folder: make("AB", side=40)})
    folder = write_pictures(tmp_path, ["A", "B"], 4)
    assert load_dataset(f"folder:{folder}+mnist").side == 40
    assert load_dataset("mnist", extra=(f"folder:{folder}",)).side == 40


def test_classes_are_united_by_name() -> None:
    mixed = mix([make("ABC"), make("CXA", first=100)])
    assert mixed.class_names == ("A", "B", "C", "X")
    for number, label in zip(mixed.train.images[:, 0, 1].tolist(), mixed.train.labels.tolist(), strict=True):
        own = "ABC"[number % 3] if number < 100 else "CXA"[number % 3]
        assert mixed.class_names[label] == own


def test_a_mix_holds_out_for_validation_only_if_a_part_does() -> None:
    assert mix([make("AB"), make("AB", first=100)]).validation is None
    mixed = mix([make("AB"), make("AB", first=100, validation=True)])
    assert mixed.validation is not None
    assert (len(mixed.train), len(mixed.validation), len(mixed.test)) == (22 + 24, 2 + 6, 16)
    assert not numbers(mixed.train) & (numbers(mixed.validation) | numbers(mixed.test))


def test_what_one_part_tests_with_another_does_not_train_on(capfd: pytest.CaptureFixture[str]) -> None:
    mixed = mix([make("AB"), make("AB", first=20)])
    assert not numbers(mixed.train) & numbers(mixed.test)
    assert "left out: " in capfd.readouterr().err


def test_a_mix_is_shuffled_the_same_way_each_time() -> None:
    first, again = (mix([make("AB"), make("AB", first=100)]) for _ in range(2))
    assert torch.equal(first.train.images, again.train.images)
    assert numbers(first.train.take(torch.arange(10))) & set(range(100, 200))


def test_parts_of_different_sizes_do_not_go_together() -> None:
    with pytest.raises(DataError, match="small and large do not go together: their images have 4 and 8 pixels a side"):
        mix([make("AB", name="small"), make("AB", name="large", side=8)])
    with pytest.raises(DataError, match="4 and 8 pixels a side"):
        add_extra(make("AB"), make("AB", side=8))


def test_origins_are_joined_in_words() -> None:
    origin = mix([make("AB", name="first"), make("AB", name="second", first=100)]).origin
    assert origin == Origin(
        "first+second", "First and Second", "First: source of first; Second: source of second", "",
        "First: split of first; Second: split of second",
    )  # fmt: skip


@pytest.mark.parametrize("validation", [False, True])
def test_all_extra_images_are_trained_on_and_nothing_else(validation: bool) -> None:
    before, extra = with_validation(make("AB", validation=validation)), make("B", name="extra", first=100, validation=True)
    found = add_extra(make("AB", validation=validation), extra)
    assert found.validation is not None
    assert before.validation is not None
    assert numbers(found.train) == numbers(before.train) | set(range(100, 138))
    assert numbers(found.validation) == numbers(before.validation)
    assert torch.equal(found.test.images, before.test.images)
    assert (found.train.labels[found.train.images[:, 0, 1] >= 100] == 1).all()
    assert "Extra added to the training images" in found.origin.title


def test_extra_images_that_are_tested_with_are_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    found = add_extra(make("AB"), make("AB"))
    assert found.validation is not None
    assert not numbers(found.train) & (numbers(found.test) | numbers(found.validation))
    assert "left out: 10 images" in capfd.readouterr().err


def test_a_single_correction_is_enough(tmp_path: Path, data_folder: Path) -> None:
    corrections = write_pictures(tmp_path / "corrections", ["7"], 1)
    found = load_dataset("mnist", data_folder, extra=(f"folder:{corrections}",))
    assert found.class_names == tuple("0123456789")
    assert len(found.train) == 120 - 10 + 1
    plain = with_validation(load_dataset("mnist", data_folder))
    assert found.train.labels.bincount()[7] == plain.train.labels.bincount()[7] + 1


def test_an_extra_class_that_the_dataset_lacks_is_named(tmp_path: Path, data_folder: Path) -> None:
    (tmp_path / "corrections" / "seven").mkdir(parents=True)
    draw("7").save(tmp_path / "corrections" / "seven" / "1.png")
    with pytest.raises(DataError, match="folder:corrections has classes that mnist lacks: 'seven'"):
        load_dataset("mnist", data_folder, extra=(f"folder:{tmp_path / 'corrections'}",))


def test_a_limit_is_for_the_dataset_and_not_for_what_is_added_to_it(data_folder: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "extra", "123", 2)
    extra = (f"folder:{tmp_path / 'extra'}",)
    few, whole = (load_dataset("mnist", data_folder, more, limit=24) for more in ((), extra))
    assert len(few.train) == 24
    added = read_folder(tmp_path / "extra").images
    assert added.images.numel()
    assert whole.validation is not None
    assert len(whole.train) + len(whole.validation) == 24 + len(added)
    trained = {image.tobytes() for image in whole.train.images.numpy()}
    assert {image.tobytes() for image in added.images.numpy()} <= trained


def test_every_extra_is_added(data_folder: Path, tmp_path: Path) -> None:
    first, second = (write_pictures(tmp_path / name, ["1"], 2) for name in "ab")
    for path in (second / "1").iterdir():
        draw("1", 5).save(path)
    joined = load_dataset("mnist", data_folder, extra=(f"folder:{first}+folder:{second}",))
    apart = load_dataset("mnist", data_folder, extra=(f"folder:{first}", f"folder:{second}"))
    assert len(joined.train) == len(apart.train) == 110 + 4
    assert np.array_equal(joined.train.images.numpy(), apart.train.images.numpy())
