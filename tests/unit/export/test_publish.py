from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from export.publish import MAX_FILE_BYTES, PublishError, publish
from server.labels import index_names, read_own_labels
from server.repository import read_card, survey

CARD: dict[str, Any] = {"class_names": ["零", "一"], "threshold": 0.5}


def put(models: Path, model: bytes = b"model", **options: Any) -> Path:
    return publish(models, "digits", "1", files={"model.onnx": model}, card=CARD, **options)


def test_model_and_card_lie_side_by_side(tmp_path: Path) -> None:
    folder = put(tmp_path / "models")
    assert folder == tmp_path / "models" / "digits" / "1"
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.onnx"]
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert card == {
        "name": "digits",
        "version": "1",
        **CARD,
        "sha256": hashlib.sha256(b"model").hexdigest(),
        "size_bytes": 5,
    }


def test_variants_lie_beside_it_and_the_card_is_about_the_model_itself(tmp_path: Path) -> None:
    files = {"model.onnx": b"model", "model.fp16.onnx": b"half"}
    folder = publish(tmp_path, "digits", "1", files=files, card=CARD)
    assert {path.name: path.read_bytes() for path in folder.glob("*.onnx")} == files
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert (card["sha256"], card["size_bytes"]) == (hashlib.sha256(b"model").hexdigest(), 5)


def test_a_variant_that_is_no_longer_made_goes_with_the_old_version(tmp_path: Path) -> None:
    publish(tmp_path, "digits", "1", files={"model.onnx": b"model", "model.int8.onnx": b"bytes"}, card=CARD)
    folder = put(tmp_path, force=True)
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.onnx"]


@pytest.mark.parametrize("file", ["model.onnx", "model.fp16.onnx"])
def test_a_file_that_is_too_large_is_named_and_nothing_written(tmp_path: Path, file: str) -> None:
    files = {"model.onnx": b"model", "model.fp16.onnx": b"half", file: bytes(MAX_FILE_BYTES + 1)}
    with pytest.raises(PublishError, match=rf"^{file} has 2,000,001 bytes; 2,000,000 are allowed$"):
        publish(tmp_path / "models", "digits", "1", files=files, card=CARD)
    assert not (tmp_path / "models").exists()


def test_others_may_read_it(tmp_path: Path) -> None:
    assert put(tmp_path).stat().st_mode & 0o777 == 0o755


def test_a_published_version_is_not_replaced(tmp_path: Path) -> None:
    put(tmp_path)
    with pytest.raises(PublishError, match="is published already"):
        put(tmp_path, b"another")
    assert (tmp_path / "digits" / "1" / "model.onnx").read_bytes() == b"model"


def test_unless_forced(tmp_path: Path) -> None:
    put(tmp_path)
    put(tmp_path, b"another", force=True)
    assert (tmp_path / "digits" / "1" / "model.onnx").read_bytes() == b"another"
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["1"]


@pytest.mark.parametrize("force", [False, True])
def test_a_disk_that_is_full_after_the_first_file_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    if force:
        put(tmp_path)
    write = Path.write_bytes

    def full_disk(path: Path, content: bytes) -> int:
        if path.name == "model.int8.onnx":
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    files = {"model.onnx": b"another", "model.int8.onnx": b"bytes"}
    with pytest.raises(PublishError, match="No space left on device"):
        publish(tmp_path, "digits", "1", files=files, card=CARD, force=force)
    found = {path.name: path.read_bytes() for path in tmp_path.glob("digits/*/*.onnx")}
    assert found == ({"model.onnx": b"model"} if force else {})


@pytest.mark.parametrize("force", [False, True])
def test_a_failed_write_leaves_nothing_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    if force:
        put(tmp_path)
    before = sorted(tmp_path.glob("digits/*"))

    def full_disk(path: Path, text: str, encoding: str) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(PublishError, match="No space left on device"):
        put(tmp_path, b"another", force=force)
    assert sorted(tmp_path.glob("digits/*")) == before


def test_a_failed_move_brings_the_old_version_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path)
    rename = Path.rename

    def stubborn(path: Path, target: Path) -> Path:
        if path.name.startswith(".") and not path.name.endswith("-old"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", stubborn)
    with pytest.raises(PublishError, match="Input/output error"):
        put(tmp_path, b"another", force=True)
    assert (tmp_path / "digits" / "1" / "model.onnx").read_bytes() == b"model"
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["1"]


BAD_NAMES = ["", "../x", "Digits", "7segment", "-digits", "digits:2", "digits@stable", "two words", "digits\n", "été", "d" * 65]
BAD_VERSIONS = ["", "0", "01", "-1", "1.0", "v2", "1/2", "stable", "1\n", "٣", "1" * 10]
BAD_TARGETS = [(name, "1") for name in BAD_NAMES] + [("digits", version) for version in BAD_VERSIONS]


@pytest.mark.parametrize(("name", "version"), BAD_TARGETS)
def test_what_the_server_would_not_serve_is_refused(tmp_path: Path, name: str, version: str) -> None:
    with pytest.raises(PublishError, match=r"^model (name|version) .*: use a .*$") as caught:
        publish(tmp_path, name, version, files={"model.onnx": b""}, card=CARD)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


SERVED: dict[str, Any] = {
    **CARD,
    "input": {"height": 28, "width": 28},
    "max_batch_size": 256,
    "metrics": {"accuracy": 0.99, "n": 100},
    "labels": ["stable"],
}


@pytest.mark.parametrize(("name", "version"), [("digits", "1"), ("d", "12"), ("d-7_x", "2"), ("d" * 64, "9" * 9)])
def test_what_is_published_the_server_reaches(tmp_path: Path, name: str, version: str) -> None:
    publish(tmp_path, name, version, files={"model.onnx": b"model"}, card=SERVED)
    assert list(survey(tmp_path).versions) == [(name, version)]
    cards = [read_card(tmp_path / name / version)]
    assert set(index_names(cards, read_own_labels(cards), name)) == {"", name, f"{name}:{version}", f"{name}@stable"}
