from __future__ import annotations

import os
import string
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from torchvision.datasets import EMNIST

from server.preprocess import frame, is_framed
from tests.unit.train.pictures import draw
from tests.unit.train.printed import write_idx
from train.emnist import ARCHIVE, CLASS_NAMES, TEST_SHARE, load_letters
from train.errors import DataError
from train.framing import Grey

REAL_DATA = Path(os.environ.get("DIGITSERVE_DATA", "nowhere"))  # read before the tests' own fixtures hide it
LETTERS = np.arange(26).repeat(10)


def shown(label: int) -> Grey:
    """A letter as EMNIST has it: light on black, 28 x 28, upright."""
    return 255 - np.asarray(draw(string.ascii_uppercase[label]).resize((28, 28)))


def write_archive(root: Path, labels: Grey) -> Path:
    (root / ARCHIVE).parent.mkdir(parents=True)
    np.savez(root / ARCHIVE, images=np.stack([shown(label) for label in labels]), labels=labels.astype(np.uint8))
    return root


def write_published(root: Path) -> Path:
    """As torchvision unpacks it: every image with rows and columns exchanged, and letters from 1."""
    raw = root / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.stack([shown(label).T for label in range(26)])
    for part in ("train", "test"):
        write_idx(raw / f"emnist-letters-{part}-images-idx3-ubyte", images)
        write_idx(raw / f"emnist-letters-{part}-labels-idx1-ubyte", np.arange(1, 27, dtype=np.uint8))
    return root


def no_network(self: EMNIST) -> None:
    raise URLError("no network")


def test_a_tenth_of_each_letter_is_the_test(tmp_path: Path) -> None:
    found = load_letters(write_archive(tmp_path, LETTERS.astype(np.uint8)))
    assert found.class_names == CLASS_NAMES == tuple(string.ascii_uppercase)
    assert found.test.labels.bincount().tolist() == [10 // TEST_SHARE] * 26
    assert len(found.train) + len(found.test) == len(LETTERS)
    assert "our own" in found.origin.split


def test_letters_are_framed_as_the_server_frames_them(tmp_path: Path) -> None:
    found = load_letters(write_archive(tmp_path, LETTERS.astype(np.uint8)))
    assert all(is_framed(found.test.images.numpy()))


def test_published_letters_are_turned_upright(tmp_path: Path) -> None:
    found = load_letters(write_published(tmp_path))
    assert found.train.labels.tolist() == list(range(26))
    assert np.array_equal(found.train.images[5].numpy(), frame(shown(5)).pixels)
    assert found.origin.split.startswith("as published")


def test_a_damaged_archive_is_one_clear_line(tmp_path: Path) -> None:
    path = write_archive(tmp_path, np.arange(26, dtype=np.uint8)) / ARCHIVE
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match=r"emnist_letters\.npz is damaged") as caught:
        load_letters(tmp_path)
    assert "\n" not in str(caught.value)


def test_labels_that_are_no_letters_are_refused(tmp_path: Path) -> None:
    write_archive(tmp_path, np.arange(26, dtype=np.uint8))
    np.savez(tmp_path / ARCHIVE, images=np.zeros((1, 28, 28), np.uint8), labels=np.array([26], np.uint8))
    with pytest.raises(DataError, match="not within 26 letters"):
        load_letters(tmp_path)


def test_damaged_published_files_are_one_clear_line(tmp_path: Path) -> None:
    images = write_published(tmp_path) / "EMNIST" / "raw" / "emnist-letters-test-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged") as caught:
        load_letters(tmp_path)
    assert "\n" not in str(caught.value)


def test_absent_data_without_a_network_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EMNIST, "download", no_network)
    with pytest.raises(DataError, match=rf"no EMNIST letters in {tmp_path}.*no network") as caught:
        load_letters(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not (REAL_DATA / ARCHIVE).is_file(), reason=f"no {ARCHIVE} in the folder that DIGITSERVE_DATA names")
def test_the_server_would_take_no_real_letter_for_framed() -> None:
    """Why letters are trained on as the server frames them, and not as they are published."""
    with np.load(REAL_DATA / ARCHIVE) as stored:
        images = stored["images"][:2000]
    assert not any(is_framed(images))
