from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torchvision.datasets import MNIST

from train.data import Dataset, Images, cache_folder, checksums, split
from train.errors import DataError
from train.mnist import load_mnist, prepare_mnist


def packed(folder: Path) -> dict[str, str]:
    """Turn a data folder into one that holds only .gz files; returns their md5 sums."""
    raw = folder / "MNIST" / "raw"
    sums = {}
    for path in sorted(raw.iterdir()):
        content = gzip.compress(path.read_bytes(), mtime=0)
        path.with_name(f"{path.name}.gz").write_bytes(content)
        sums[f"{path.name}.gz"] = hashlib.md5(content).hexdigest()
        path.unlink()
    return sums


def no_network(self: MNIST) -> None:
    Path(self.raw_folder).mkdir(parents=True, exist_ok=True)  # as torchvision does before it looks
    raise URLError("no network")


def test_split_is_disjoint_complete_and_always_the_same() -> None:
    first, again = split(1200), split(1200)
    assert len(first.validation) == 100
    assert torch.equal(torch.cat(first).sort().values, torch.arange(1200))
    assert torch.equal(first.validation, again.validation)
    assert not torch.equal(first.validation, torch.arange(100))


def test_checksums_tell_images_and_labels_apart(digits: Dataset) -> None:
    known = checksums(digits)
    assert known.keys() == {"train", "test"}
    assert checksums(digits) == known
    relabelled = digits._replace(test=Images(digits.test.images, digits.test.labels.roll(1)))
    assert checksums(relabelled)["train"] == known["train"]
    assert checksums(relabelled)["test"] != known["test"]
    assert checksums(digits._replace(validation=digits.test))["validation"] == known["test"]


def test_five_thousand_of_mnist_are_held_out() -> None:
    assert len(split(60_000).validation) == 5_000


def test_reads_a_folder_that_torchvision_left(data_folder: Path, digits: Dataset) -> None:
    found = load_mnist(data_folder)
    assert torch.equal(found.train.images, digits.train.images)
    assert torch.equal(found.test.labels, digits.test.labels)
    assert found.class_names == tuple("0123456789")


def test_the_environment_names_the_folder(data_folder: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITSERVE_DATA", str(data_folder))
    assert len(load_mnist().train) == len(digits.train)


def test_a_read_only_folder_of_archives_is_unpacked_into_the_cache(data_folder: Path, caches: Path) -> None:
    archives = packed(data_folder)
    before = sorted(data_folder.rglob("*"))
    root = prepare_mnist(data_folder, archives)
    assert root == caches
    assert len(load_mnist(root).test) == 40
    assert sorted(data_folder.rglob("*")) == before
    assert not list(caches.rglob("*.part"))


def test_a_damaged_archive_is_named_and_nothing_is_left(data_folder: Path, caches: Path) -> None:
    archives = packed(data_folder)
    broken = data_folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz"
    broken.write_bytes(broken.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz is damaged"):
        prepare_mnist(data_folder, archives)
    assert not (caches / "MNIST" / "raw" / "t10k-images-idx3-ubyte").exists()


def test_a_damaged_file_is_one_clear_line(data_folder: Path) -> None:
    images = data_folder / "MNIST" / "raw" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(DataError, match="is damaged") as caught:
        load_mnist(data_folder)
    assert "\n" not in str(caught.value)


def test_absent_data_without_a_network_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MNIST, "download", no_network)
    with pytest.raises(DataError, match=rf"no MNIST in {tmp_path}.*no network") as caught:
        load_mnist(tmp_path / "nowhere")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "nowhere").exists()


def test_what_has_been_downloaded_stays_for_the_next_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(self: MNIST) -> None:
        Path(self.raw_folder).mkdir(parents=True)
        (Path(self.raw_folder) / "train-labels-idx1-ubyte.gz").write_bytes(b"whole")
        raise RuntimeError("no network any more")

    monkeypatch.setattr(MNIST, "download", half)
    with pytest.raises(DataError, match="no network any more"):
        load_mnist(tmp_path / "new")
    assert [path.name for path in (tmp_path / "new" / "MNIST" / "raw").iterdir()] == ["train-labels-idx1-ubyte.gz"]


def test_the_cache_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache" / "digitserve"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "digitserve"
