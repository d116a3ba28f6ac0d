from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch

import train.packed
from tests.unit.train.printed import print_digits
from train.data import Images
from train.errors import DataError
from train.packed import Collection, read_packed, write_packed

NAMES = ("零", "一", "two words", "a/b", *"456789")


@pytest.fixture
def collection() -> Collection:
    return Collection(print_digits(300, seed=1), NAMES)


def test_what_is_written_is_read(tmp_path: Path, collection: Collection, capfd: pytest.CaptureFixture[str]) -> None:
    write_packed(tmp_path / "a.h5", collection)
    found = read_packed(tmp_path / "a.h5")
    assert torch.equal(found.images.images, collection.images.images)
    assert torch.equal(found.images.labels, collection.images.labels)
    assert found.class_names == NAMES
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    assert capfd.readouterr().err == ""


def test_other_programs_can_read_it(tmp_path: Path, collection: Collection) -> None:
    write_packed(tmp_path / "a.h5", collection)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["images"].shape == (300, 28, 28)
        assert file["images"].compression == "gzip"
        assert (file["labels"].dtype, file.attrs["side"]) == ("int64", 28)


@pytest.mark.parametrize("cut", [10, 3000, 100_000])
def test_a_cut_file_is_one_clear_line(tmp_path: Path, collection: Collection, cut: int) -> None:
    path = tmp_path / "a.h5"
    write_packed(path, collection)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DataError, match=r"a\.h5 is no packed folder, or a damaged one") as caught:
        read_packed(path)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_noticed(tmp_path: Path, collection: Collection) -> None:
    path = tmp_path / "a.h5"
    write_packed(path, collection)
    with h5py.File(path) as file:
        place = file["images"].id.get_chunk_info(0).byte_offset + 100
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read_packed(path)


def test_an_absent_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no packed folder at"):
        read_packed(tmp_path / "a.h5")


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("not HDF5")
    with pytest.raises(DataError, match="no packed folder"):
        read_packed(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.attrs["format"] = "something else"
    with pytest.raises(DataError, match="its format is 'something else'"):
        read_packed(tmp_path / "b.h5")


@pytest.mark.parametrize(("name", "value"), [("class_names", ["only one"]), ("class_names", ["same"] * 10), ("side", 27)])
def test_contradictions_are_refused(tmp_path: Path, collection: Collection, name: str, value: Any) -> None:
    write_packed(tmp_path / "a.h5", collection)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs[name] = value
    with pytest.raises(DataError, match="do not go with"):
        read_packed(tmp_path / "a.h5")


def test_another_framing_is_said(
    tmp_path: Path, collection: Collection, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_packed(tmp_path / "a.h5", collection)
    monkeypatch.setattr(train.packed, "framing_version", lambda: "another")
    assert len(read_packed(tmp_path / "a.h5").images) == 300
    assert "framed by another version" in capfd.readouterr().err


def test_a_full_disk_leaves_nothing(tmp_path: Path, collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_half(path: Path, content: bytes) -> int:
        with path.open("wb") as sink:
            sink.write(content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.h5").write_text("what was there before")
    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(DataError, match=r"cannot write .*a\.h5: No space left on device"):
        write_packed(tmp_path / "a.h5", collection)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["what was there before"]


def test_one_image_can_be_packed(tmp_path: Path) -> None:
    write_packed(tmp_path / "a.h5", Collection(Images(torch.ones(1, 40, 40, dtype=torch.uint8), torch.tensor([0])), ("A",)))
    assert read_packed(tmp_path / "a.h5").images.images.shape == (1, 40, 40)
