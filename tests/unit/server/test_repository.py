"""The model repository: what lies in it is read, checked, and found by every name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from server.repository import RepositoryError, Variant, index_names, read_card, read_repository, refuse_unknown

CONTENT = b"stands for an ONNX file"


def write_model(root: Path, name: str = "digits", version: str = "1", **changes: Any) -> Path:
    """Publishes a model; a change of None removes the key."""
    folder = root / name / version
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(CONTENT)
    card = {
        "name": name,
        "version": version,
        "class_names": ["a", "b"],
        "input": {"height": 28, "width": 28},
        "max_batch_size": 64,
        "threshold": 0.5,
        "metrics": {"accuracy": 0.99, "n": 1000},
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    } | changes
    (folder / "model.json").write_text(json.dumps({key: value for key, value in card.items() if value is not None}))
    return folder


def test_a_card_says_what_model_json_says(tmp_path: Path) -> None:
    folder = write_model(tmp_path, labels=["stable"], description="two classes")
    card = read_card(folder)
    assert (card.name, card.version, card.path) == ("digits", "1", folder / "model.onnx")
    assert (card.labels, card.class_names, card.description) == (("stable",), ("a", "b"), "two classes")
    assert (card.size, card.max_batch_size, card.threshold) == (28, 64, 0.5)
    assert (card.accuracy, card.accuracy_n) == (0.99, 1000)


def test_versions_are_sorted_as_numbers(tmp_path: Path) -> None:
    for version in ("2", "10", "9"):
        write_model(tmp_path, version=version)
    write_model(tmp_path, name="chars")
    assert [(card.name, card.version) for card in read_repository(tmp_path)] == [
        ("chars", "1"),
        ("digits", "2"),
        ("digits", "9"),
        ("digits", "10"),
    ]


def test_what_is_no_model_is_passed_over(tmp_path: Path) -> None:
    write_model(tmp_path)
    for other in (".git/1", "digits/.2-half-written", "digits/latest", "digits/0", "Digits/1"):
        (tmp_path / other).mkdir(parents=True)
    (tmp_path / "README.md").write_text("about the models")
    assert len(read_repository(tmp_path)) == 1


def test_every_name_leads_to_its_version(tmp_path: Path) -> None:
    write_model(tmp_path, version="1", labels=["stable"])
    write_model(tmp_path, version="2", labels=["canary"])
    write_model(tmp_path, name="chars")
    found = {name: (card.name, card.version) for name, card in index_names(read_repository(tmp_path)).items()}
    assert found == {
        "": ("digits", "2"),
        "digits": ("digits", "2"),
        "digits:1": ("digits", "1"),
        "digits:2": ("digits", "2"),
        "digits@stable": ("digits", "1"),
        "digits@canary": ("digits", "2"),
        "chars": ("chars", "1"),
        "chars:1": ("chars", "1"),
    }


def test_without_digits_the_first_model_is_the_default(tmp_path: Path) -> None:
    write_model(tmp_path, name="letters")
    write_model(tmp_path, name="chars")
    assert index_names(read_repository(tmp_path))[""].name == "chars"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"threshold": None}, "'threshold' is missing"),
        ({"metrics": {}}, "'accuracy' is missing"),
        ({"input": {"height": 28, "width": 29}}, "input must be a square of 8 to 512 pixels, not 29 x 28"),
        ({"input": {"height": 4, "width": 4}}, "input must be a square"),
        ({"input": {"height": float("inf"), "width": 28}}, "infinity"),
        ({"input": [28, 28]}, "model.json"),
        ({"threshold": 1.5}, "threshold must be between 0 and 1, not 1.5"),
        ({"threshold": float("nan")}, "threshold must be between 0 and 1, not nan"),
        ({"threshold": "high"}, "could not convert"),
        ({"class_names": []}, "class_names must be a list"),
        ({"class_names": "digits"}, "class_names must be a list"),
        ({"max_batch_size": 0}, "max_batch_size must be between 1 and 4096, not 0"),
        ({"max_batch_size": 5000}, "max_batch_size must be between 1 and 4096, not 5000"),
        ({"sha256": "0" * 64}, "is not the file that model.json describes"),
        ({"sha256": None}, "is not the file that model.json describes"),
    ],
    ids=str,
)
def test_a_wrong_card_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    folder = write_model(tmp_path, **changes)
    with pytest.raises(RepositoryError) as caught:
        read_repository(tmp_path)
    assert str(folder) in str(caught.value)
    assert reason in str(caught.value)


def test_a_card_of_another_version_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    folder.rename(folder.with_name("2"))
    with pytest.raises(RepositoryError, match=r"describes digits 1, but lies in .*2$"):
        read_repository(tmp_path)


HALF = b"stands for the same in float16"


def write_variants(root: Path, **changes: Any) -> Path:
    """Publishes a model with a variant for CUDA; changes as in write_model()."""
    variants = {
        "fp32": {"file": "model.onnx", "sha256": hashlib.sha256(CONTENT).hexdigest()},
        "fp16": {"file": "model.fp16.onnx", "sha256": hashlib.sha256(HALF).hexdigest(), "accuracy": 0.99},
    }
    described: dict[str, Any] = {"variants": variants, "best": {"cpu": "fp32", "cuda": "fp16"}}
    folder = write_model(root, **described | changes)
    (folder / "model.fp16.onnx").write_bytes(HALF)
    return folder


def test_each_device_gets_the_variant_that_is_best_for_it(tmp_path: Path) -> None:
    folder = write_variants(tmp_path)
    card = read_card(folder)
    assert card.choose("cpu") == Variant("fp32", folder / "model.onnx")
    assert card.choose("cuda") == Variant("fp16", folder / "model.fp16.onnx")
    assert card.path == folder / "model.onnx"


@pytest.mark.parametrize(
    "changes",
    [{"variants": None, "best": None}, {"variants": None, "best": {"cpu": "fp32"}}, {"best": None}, {"best": {}}],
    ids=str,
)
def test_a_card_that_calls_nothing_best_means_float32(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = write_variants(tmp_path, **changes)
    for device in ("cpu", "cuda"):
        assert read_card(folder).choose(device) == Variant("fp32", folder / "model.onnx")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"best": {"cpu": "int4"}}, "best names 'int4' for 'cpu', but the variants are 'fp32', 'fp16'"),
        ({"best": {"cuda": ["fp16"]}}, "best names ['fp16'] for 'cuda'"),
        ({"best": {"cpu": "fp16"}, "variants": None}, "best names 'fp16' for 'cpu', but the variants are 'fp32'"),
        ({"best": {"cpu\nINFO": "x\ny"}}, r"best names 'x\ny' for 'cpu\nINFO'"),
        ({"best": "fp16"}, 'best must be an object such as {"cpu": "fp32"}'),
        ({"variants": ["fp16"]}, "variants must be an object"),
        ({"variants": {"fp16": "model.fp16.onnx"}}, "variants must be an object"),
        ({"variants": {"fp16": {"file": "model.fp16.onnx"}}}, "variant 'fp16' lacks its file or sha256"),
        ({"variants": {"fp16": {"sha256": "0"}}}, "variant 'fp16' lacks its file or sha256"),
    ],
    ids=str,
)
def test_wrong_variants_are_one_line_that_names_the_card(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    folder = write_variants(tmp_path, **changes)
    with pytest.raises(RepositoryError) as caught:
        read_card(folder)
    assert str(caught.value).startswith(f"{folder / 'model.json'}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


OUTSIDE = [
    "../model.onnx",
    "/etc/model.onnx",
    "sub/model.onnx",
    "..",
    "",
    ".onnx",
    "a\\b.onnx",
    "a\0.onnx",
    "model.json",
    7,
    None,
]


@pytest.mark.parametrize("file", OUTSIDE, ids=str)
def test_no_card_leads_out_of_its_folder(tmp_path: Path, file: object) -> None:
    (tmp_path / "digits").mkdir()
    for name in (tmp_path / "digits" / "model.onnx", tmp_path / "model.onnx"):
        name.write_bytes(HALF)
    variant = {"file": file, "sha256": hashlib.sha256(HALF).hexdigest()}
    folder = write_variants(tmp_path, variants={"fp16": variant}, best={"cuda": "fp16"})
    with pytest.raises(RepositoryError, match=r"expected the bare name of an \.onnx file in the same folder") as caught:
        read_card(folder)
    assert str(folder / "model.json") in str(caught.value)


def test_the_file_of_a_variant_must_be_there(tmp_path: Path) -> None:
    folder = write_variants(tmp_path)
    (folder / "model.fp16.onnx").unlink()
    with pytest.raises(RepositoryError) as caught:
        read_repository(tmp_path)
    assert str(caught.value) == f"{folder / 'model.fp16.onnx'} is missing"


@pytest.mark.parametrize("name", ["model.onnx", "model.fp16.onnx"])
def test_the_file_of_each_variant_must_be_the_one_described(tmp_path: Path, name: str) -> None:
    folder = write_variants(tmp_path)
    (folder / name).write_bytes(b"altered")
    with pytest.raises(RepositoryError, match=r"is not the file that model\.json describes") as caught:
        read_repository(tmp_path)
    assert str(caught.value).startswith(f"{folder / name} ")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = write_model(tmp_path)
    (folder / "model.json").write_bytes(content)
    with pytest.raises(RepositoryError, match=r"model\.json"):
        read_repository(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "model.onnx"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_model(tmp_path)
    (folder / name).unlink()
    with pytest.raises(RepositoryError) as caught:
        read_repository(tmp_path)
    assert str(caught.value) == f"{folder / name} is missing"


@pytest.mark.parametrize("name", ["model.json", "model.onnx"])
def test_a_file_that_cant_be_read_is_named(tmp_path: Path, name: str) -> None:
    folder = write_model(tmp_path)
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(RepositoryError, match=f"{name} can't be read"):
        read_repository(tmp_path)


def test_no_folder_and_no_model(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="is not a folder"):
        read_repository(tmp_path / "nowhere")
    with pytest.raises(RepositoryError, match="holds no model"):
        read_repository(tmp_path)


def test_a_very_long_name_is_cut_in_the_answer() -> None:
    error = refuse_unknown("x" * 1000, ["digits"])
    assert (error.code, error.field) == ("NOT_FOUND", "model")
    assert len(error.message) < 150
