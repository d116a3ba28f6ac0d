from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from server.preprocess import is_framed
from tests.unit.train.pictures import draw, write_pictures
from train.errors import DataError
from train.folder import load_folder, read_folder


def test_each_sub_folder_is_a_class(tmp_path: Path) -> None:
    found = read_folder(write_pictures(tmp_path, ["B", "A", "三"], 3))
    assert found.class_names == ("A", "B", "三")
    assert found.images.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert found.images.images.shape == (9, 28, 28)
    assert all(is_framed(found.images.images.numpy()))


def test_a_tenth_of_each_class_is_the_test(tmp_path: Path) -> None:
    found = load_folder(write_pictures(tmp_path / "mine", ["A", "B"], 10))
    assert found.test.labels.sort().values.tolist() == [0, 1]
    assert len(found.train) == 18
    assert found.origin.name == "folder:mine"
    assert str(tmp_path) not in str(found.origin)


def test_the_split_does_not_change(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path, ["A", "B"], 6)
    assert torch.equal(load_folder(folder).test.images, load_folder(folder).test.images)


def test_frames_are_as_large_as_asked_for(tmp_path: Path) -> None:
    assert load_folder(write_pictures(tmp_path, ["A", "B"], 3), side=40).side == 40


def test_pictures_may_lie_deeper_and_hidden_files_do_not_count(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_pictures(tmp_path / "mine", ["A", "B"], 2)
    write_pictures(folder / "A", ["more"], 1)
    write_pictures(folder, [".trash"], 3)
    (folder / "A" / ".DS_Store").write_text("not a picture")
    (folder / "notes.txt").write_text("beside the classes")
    found = read_folder(folder)
    assert found.images.labels.tolist() == [0, 0, 0, 1, 1]
    assert capfd.readouterr().err == ""


def test_one_name_in_two_spellings_is_one_class(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["\u00e9", "e\u0301", "A"], 1)
    found = read_folder(tmp_path)
    assert found.class_names == ("A", "\u00e9")
    assert found.images.labels.tolist() == [0, 1, 1]


def test_what_cannot_be_used_is_named_and_skipped(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path, ["A", "B"], 3)
    (tmp_path / "A" / "text.png").write_text("not a picture")
    Image.new("L", (40, 40), 255).save(tmp_path / "B" / "white.png")
    found = read_folder(tmp_path)
    assert found.images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith(f"skipped {tmp_path / 'A' / 'text.png'}: not a readable image file")
    assert lines[1].startswith(f"skipped {tmp_path / 'B' / 'white.png'}: it is blank")
    assert lines[2] == f"skipped 2 of 8 files in {tmp_path}"


def test_a_class_without_any_picture_is_left_out_aloud(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path, ["A", "C"], 2)
    (tmp_path / "B").mkdir()
    (tmp_path / "B" / "text.png").write_text("not a picture")
    found = read_folder(tmp_path)
    assert found.class_names == ("A", "C")
    assert found.images.labels.tolist() == [0, 0, 1, 1]
    assert f"class 'B' in {tmp_path} is left out" in capfd.readouterr().err
    (tmp_path / "D").mkdir()
    assert read_folder(tmp_path).class_names == ("A", "C")
    assert f"class 'D' in {tmp_path} is left out: it has no file that can be used" in capfd.readouterr().err


def test_most_files_unreadable_is_an_error(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["A"], 1)
    for number in range(2):
        (tmp_path / "A" / f"bad{number}.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"2 of 3 files in .* can't be used; the first of them is .*bad0\.png") as caught:
        read_folder(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["A", "B\udce9"], 1)
    with pytest.raises(DataError, match=r"B\\udce9' can't be a class name"):
        load_folder(tmp_path)


def test_no_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"^no folder at {tmp_path / 'nowhere'}$"):
        load_folder(tmp_path / "nowhere")


def test_an_empty_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no sub-folders"):
        load_folder(tmp_path)
    (tmp_path / "A").mkdir()
    with pytest.raises(DataError, match="hold no files"):
        load_folder(tmp_path)


def test_pictures_beside_each_other_without_classes_are_refused(tmp_path: Path) -> None:
    draw("A").save(tmp_path / "a.png")
    with pytest.raises(DataError, match="has no sub-folders: one is expected for each class"):
        load_folder(tmp_path)
