from __future__ import annotations

from pathlib import Path

import pytest
import torch

from train.checkpoint import FORMAT, KEYS, load_checkpoint, save_checkpoint
from train.errors import CheckpointError


class Intruder:
    """What a hostile file might hold: unpickling it would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code from a checkpoint has run",))


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    content = {**dict.fromkeys(KEYS, 1), "weights": {"w": torch.arange(3)}}
    save_checkpoint(tmp_path / "last.pt", content)
    found = load_checkpoint(tmp_path / "last.pt")
    assert torch.equal(found["weights"]["w"], torch.arange(3))
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_failed_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    path = tmp_path / "last.pt"
    save_checkpoint(path, dict.fromkeys(KEYS, 1))
    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(CheckpointError, match="No space left"):
        save_checkpoint(path, dict.fromkeys(KEYS, 2))
    assert load_checkpoint(path)["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*none\.pt"):
        load_checkpoint(tmp_path / "none.pt")


def test_a_run_is_not_its_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a folder: a run's checkpoint is the file best\.pt in it"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_another_kind_of_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"other\.pt is not a checkpoint") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_another_programs_checkpoint(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
        load_checkpoint(tmp_path / "other.pt")


def test_incomplete(tmp_path: Path) -> None:
    torch.save({"format": FORMAT, **dict.fromkeys(KEYS[1:], 1)}, tmp_path / "part.pt")
    with pytest.raises(CheckpointError, match=f"lacks {KEYS[0]}"):
        load_checkpoint(tmp_path / "part.pt")


def test_code_in_a_file_is_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"format": FORMAT, "settings": Intruder()}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load_checkpoint(tmp_path / "bad.pt")
    assert capsys.readouterr().out == ""
