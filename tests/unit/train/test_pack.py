from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import train.pack
from tests.unit.train.pictures import write_pictures
from train.pack import SUMMARY, main
from train.packed import Collection, read_packed


def test_a_folder_becomes_one_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_pictures(tmp_path / "mine", ["A", "三"], 3)
    (folder / "A" / "text.png").write_text("not a picture")
    assert main([str(folder), str(tmp_path / "mine.h5")]) == 0
    found = read_packed(tmp_path / "mine.h5")
    assert found.class_names == ("A", "三")
    assert found.images.images.shape == (6, 28, 28)
    said = capfd.readouterr()
    assert "packed 6 images of 2 classes" in said.out
    assert f"skipped {folder / 'A' / 'text.png'}: not a readable image file" in said.err


def test_corrections_of_one_class_alone_can_be_packed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(write_pictures(tmp_path / "mine", ["7"], 2)), str(tmp_path / "mine.h5")]) == 0
    assert "packed 2 images of 1 class into" in capfd.readouterr().out


def test_the_side_can_be_chosen(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "mine", ["A", "B"], 1)
    assert main([str(folder), str(tmp_path / "mine.h5"), "--side", "40"]) == 0
    assert read_packed(tmp_path / "mine.h5").images.images.shape == (2, 40, 40)


def test_a_file_that_is_there_is_replaced_only_on_demand(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, output = write_pictures(tmp_path / "mine", ["A", "B"], 1), tmp_path / "mine.h5"
    output.write_text("something dear")
    assert main([str(folder), str(output)]) == 1
    assert "exists already; --force replaces it" in capfd.readouterr().err
    assert output.read_text() == "something dear"
    assert main([str(folder), str(output), "--force"]) == 0
    assert len(read_packed(output).images) == 2


def test_what_is_no_file_is_not_replaced(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A device or a pipe would be gone for everybody else."""
    folder, pipe = write_pictures(tmp_path / "mine", ["A", "B"], 1), tmp_path / "pipe"
    os.mkfifo(pipe)
    assert main([str(folder), str(pipe), "--force"]) == 1
    assert "pipe is no regular file" in capfd.readouterr().err
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("folder", "arguments", "words"),
    [
        ("nowhere", ["out.h5"], "no folder at"),
        ("", ["out.h5"], "has no sub-folders"),
        ("mine", ["missing/out.h5"], "cannot write"),
        ("mine", ["out.h5", "--side", "4"], "--side must be within 8 and 512, not 4"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], folder: str, arguments: list[str], words: str
) -> None:
    root = tmp_path / "empty"
    root.mkdir()
    write_pictures(tmp_path / "mine", ["A", "B"], 1)
    source = tmp_path / folder if folder else root
    assert main([str(source), str(tmp_path / arguments[0]), *arguments[1:]]) == 1
    said = capfd.readouterr().err
    assert words in said
    assert said.startswith("train pack: ")
    assert said.count("\n") == 1
    assert not list(tmp_path.rglob("*.h5*"))


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = write_pictures(tmp_path / "mine", ["A", "B"], 1)
    monkeypatch.setattr(Path, "write_bytes", full)
    assert main([str(folder), str(tmp_path / "mine.h5")]) == 1
    assert capfd.readouterr().err == f"train pack: cannot write {tmp_path / 'mine.h5'}: No space left on device\n"


def test_an_interruption_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt(folder: Path, side: int) -> Collection:
        raise KeyboardInterrupt

    monkeypatch.setattr(train.pack, "read_folder", interrupt)
    assert main([str(write_pictures(tmp_path / "mine", ["A", "B"], 1)), str(tmp_path / "mine.h5")]) == 130
    assert "nothing was packed" in capfd.readouterr().err
    assert not (tmp_path / "mine.h5").exists()


def test_help_has_a_line_for_it() -> None:
    assert "\n" not in SUMMARY
