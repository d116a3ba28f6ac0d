from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import train.hanzi
from server.preprocess import is_framed
from tests.unit.train.pictures import draw
from train.errors import DataError
from train.hanzi import ARCHIVE, CLASS_NAMES, FILES, MISLABELLED, SIDE, load_hanzi, read_samples

REAL_DATA = Path(os.environ.get("DIGITSERVE_DATA", "nowhere"))  # read before the tests' own fixtures hide it
LABELS = (8, 10, 13, 14)  # of which some are published wrongly
WRITERS = (1, 48, 53, 80, 81, 86, 90, 91, 100)
ROWS = [(writer, sample, label) for writer in WRITERS for sample in (2, 3, 4) for label in LABELS]


def shown(label: int) -> Image.Image:
    """Thin and light on black, as published: a sign of its own for each class stands for the character."""
    return draw("ABCDEFGHKLMNPRS"[label]).resize((64, 64)).point(lambda level: 255 - level)


def write_archive(root: Path, rows: list[tuple[int, int, int]]) -> Path:
    path = root / ARCHIVE
    path.parent.mkdir(parents=True)
    writers, samples, labels = np.array(rows, np.uint8).T
    pictures = [np.asarray(shown(label)) for label in range(len(CLASS_NAMES))]
    images = np.stack([pictures[label] for label in labels])
    np.savez(path, images=images, labels=labels, suite_id=writers, sample_id=samples)
    return root


def test_it_is_split_by_writer_and_wrong_labels_are_not_trained_on(tmp_path: Path) -> None:
    found = load_hanzi(write_archive(tmp_path, ROWS))
    assert found.validation is not None
    each = 3 * len(LABELS)
    assert len(found.train) == 4 * each - 3
    assert len(found.validation) == 3 * each - 1
    assert len(found.test) == 2 * each
    assert found.train.labels.bincount()[[10, 13, 14]].tolist() == [11, 11, 11]
    assert found.class_names == tuple("零一二三四五六七八九十百千万亿")
    assert "by writer" in found.origin.split


def test_images_are_framed(tmp_path: Path) -> None:
    found = load_hanzi(write_archive(tmp_path, ROWS))
    assert found.train.images.shape[1:] == (SIDE, SIDE)
    assert all(is_framed(found.test.images.numpy()))


def test_wrong_labels_of_test_writers_stay_as_published() -> None:
    assert {writer for writer, _, _ in MISLABELLED if writer > 90} == set()
    assert {name for _, _, name in MISLABELLED} <= set(CLASS_NAMES)


def test_the_folder_of_files_gives_the_same_classes(tmp_path: Path) -> None:
    folder = tmp_path / FILES
    folder.mkdir(parents=True)
    for writer in (1, 81, 91):
        for label in range(len(CLASS_NAMES)):
            shown(label).save(folder / f"input_{writer}_1_{label + 1}.jpg")
    (folder / "notes.txt").write_text("not a picture")
    found = load_hanzi(tmp_path)
    parts = (found.train, found.validation, found.test)
    assert [sorted(part.labels.tolist()) for part in parts if part] == [list(range(15))] * 3


def test_absent_data_says_what_is_expected_and_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"chinese_mnist\.npz.*gpreda/chinese-mnist") as caught:
        load_hanzi(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_archive_is_one_clear_line(tmp_path: Path) -> None:
    path = write_archive(tmp_path, ROWS) / ARCHIVE
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match=r"chinese_mnist\.npz is damaged") as caught:
        load_hanzi(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    write_archive(tmp_path, [(1, 1, 3)])
    np.savez(tmp_path / ARCHIVE, images=np.zeros((3, 64, 64), np.uint8), labels=[1], suite_id=[1], sample_id=[1])
    with pytest.raises(DataError, match=r"shape \(3, 64, 64\) do not go with 1 labels"):
        read_samples(tmp_path)


def test_writers_that_are_missing_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images of some writers"):
        load_hanzi(write_archive(tmp_path, [(1, 1, 1), (2, 1, 1)]))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / FILES).mkdir(parents=True)
    (tmp_path / FILES / "input_1_1_1.jpg").write_text("not a picture")
    with pytest.raises(DataError, match=r"input_1_1_1\.jpg can't be used: not a readable image"):
        load_hanzi(tmp_path)


@pytest.mark.skipif(not (REAL_DATA / ARCHIVE).is_file(), reason=f"no {ARCHIVE} in the folder that DIGITSERVE_DATA names")
def test_the_real_archive_has_each_writer_and_class() -> None:
    found = read_samples(REAL_DATA)
    assert len(found.labels) == 15_000
    assert (np.bincount(found.labels) == 1_000).all()
    assert int(train.hanzi.mislabelled(found).sum()) == len(MISLABELLED)
    assert torch.equal(torch.from_numpy(np.unique(found.writers)), torch.arange(1, 101))
