from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

import train.framing
from server.preprocess import frame, is_framed
from tests.unit.train.pictures import draw, write_pictures
from train.data import Dataset
from train.framing import BLANK, SOURCES, frame_all, frame_file


def grey(text: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(draw(text))


def test_pictures_are_framed_as_the_server_frames_them(tmp_path: Path) -> None:
    pictures = np.stack([grey("7"), grey("A")])
    frames = frame_all(pictures, 28, tmp_path)
    assert all(is_framed(frames.pixels))
    assert np.array_equal(frames.pixels[1], frame(pictures[1]).pixels)
    assert frames.problems == ("", "")


def test_what_is_framed_already_is_left_as_it_is(tmp_path: Path) -> None:
    framed = frame_all(np.stack([grey("7")]), 28, tmp_path).pixels
    assert np.array_equal(frame_all(framed, 28, tmp_path).pixels, framed)


@pytest.mark.parametrize("side", [28, 40])
def test_a_frame_has_the_side_that_was_asked_for(tmp_path: Path, side: int) -> None:
    assert frame_all([write_pictures(tmp_path, ["7"], 1) / "7" / "00.png"], side, tmp_path).pixels.shape == (1, side, side)


def test_each_file_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    Image.new("L", (50, 50), 255).save(tmp_path / "blank.png")
    names = ("text.png", "empty.png", "blank.png", "absent.png")
    problems = frame_all([tmp_path / name for name in names], 28, tmp_path / "cache").problems
    assert [problem.split(":")[0] for problem in problems] == [
        "not a readable image file",
        "the image is empty",
        BLANK.split(":")[0],
        "No such file or directory",
    ]


def test_a_file_over_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_pictures(tmp_path, ["7"], 1) / "7" / "00.png"
    monkeypatch.setattr(train.framing, "MAX_FILE_BYTES", 10)
    assert "larger than 10 bytes" in frame_file(path, 28)[1]


def test_frames_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted((write_pictures(tmp_path, ["7"], 2) / "7").iterdir())
    (tmp_path / "7" / "bad.png").write_text("bad")
    files.append(tmp_path / "7" / "bad.png")
    first = frame_all(files, 28, tmp_path / "cache")
    monkeypatch.setattr(train.framing, "frame_file", None)
    again = frame_all(files, 28, tmp_path / "cache")
    assert np.array_equal(again.pixels, first.pixels)
    assert again.problems == first.problems
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npz"]


def test_a_changed_file_is_framed_anew(tmp_path: Path) -> None:
    path = write_pictures(tmp_path, ["7"], 1) / "7" / "00.png"
    first = frame_all([path], 28, tmp_path / "cache")
    draw("1").save(path)
    assert not np.array_equal(frame_all([path], 28, tmp_path / "cache").pixels, first.pixels)


def test_damaged_frames_are_made_again(tmp_path: Path) -> None:
    pictures = np.stack([grey("7")])
    first = frame_all(pictures, 28, tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:-40])
    assert np.array_equal(frame_all(pictures, 28, tmp_path).pixels, first.pixels)


@pytest.mark.parametrize("library", [np, PIL], ids=["numpy", "Pillow"])
def test_another_library_makes_other_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    frame_all(np.stack([grey("7")]), 28, tmp_path)
    monkeypatch.setattr(library, "__version__", "0")
    frame_all(np.stack([grey("7")]), 28, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("place", range(len(SOURCES)), ids=[Path(source).name for source in SOURCES])
def test_other_code_makes_other_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    frame_all(np.stack([grey("7")]), 28, tmp_path / "cache")
    changed = tmp_path / "changed.py"
    changed.write_bytes(Path(SOURCES[place]).read_bytes() + b"# changed")
    monkeypatch.setattr(train.framing, "SOURCES", (*SOURCES[:place], str(changed), *SOURCES[place + 1 :]))
    frame_all(np.stack([grey("7")]), 28, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_the_code_that_decides_is_the_code_that_runs(tmp_path: Path) -> None:
    """Whatever module of ours a picture passes through must be in the fingerprint, and nothing else need be."""
    files = sorted((write_pictures(tmp_path, ["7"], 3) / "7").iterdir())
    seen: set[str] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        seen.add(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        for path in files:
            frame_file(path, 28)
    finally:
        sys.setprofile(before)
    root = Path(train.framing.__file__).parents[1]
    ours = {path for path in seen if Path(path).parent in (root / "train", root / "server")}
    assert ours == set(SOURCES)


def test_sharing_the_work_out_changes_nothing(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = digits.train.images[:12].numpy()
    alone = frame_all(images, 28, tmp_path / "alone")
    monkeypatch.setattr(train.framing, "CHUNK", 6)
    monkeypatch.setattr(train.framing, "count_cores", lambda: 2)
    assert np.array_equal(frame_all(images, 28, tmp_path / "shared").pixels, alone.pixels)
