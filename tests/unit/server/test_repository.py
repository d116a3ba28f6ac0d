"""The model repository: what lies in it is seen, and what is read is checked."""

from __future__ import annotations

import hashlib
import os
import shutil
import tracemalloc
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.golden import pack
from server.repository import ModelCard, RepositoryError, Variant, read_card, refuse_unknown, survey
from tests.repository import CONTENT, write_model


def read_repository(root: Path) -> list[ModelCard]:
    return [read_card(root.joinpath(*version)) for version in survey(root).versions]


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


def change_in_place(folder: Path) -> None:
    with (folder / "model.onnx").open("r+b") as file:
        file.write(b"Stands")
    os.utime(folder / "model.onnx", ns=(1, 1))


CHANGES: dict[str, Callable[[Path], object]] = {
    "longer": lambda folder: (folder / "model.onnx").write_bytes(CONTENT * 2),
    "in place": change_in_place,
    "another card": lambda folder: (folder / "model.json").write_text("{}"),
    "a variant more": lambda folder: (folder / "model.int8.onnx").write_bytes(CONTENT),
    "a file less": lambda folder: (folder / "model.onnx").unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_whatever_changes_a_version_changes_its_stamp(tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = write_model(tmp_path)
    write_model(tmp_path, version="2")
    before = survey(tmp_path).versions
    change(folder)
    after = survey(tmp_path).versions
    assert before["digits", "1"] != after["digits", "1"]
    assert before["digits", "2"] == after["digits", "2"]


def test_what_is_no_part_of_a_version_does_not_change_its_stamp(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    before = survey(tmp_path)
    (folder / "README.md").write_text("about this version")
    (folder / ".model.json").write_text("half of a new card")
    assert survey(tmp_path) == before


def test_the_same_content_under_another_inode_is_another_stamp(tmp_path: Path) -> None:
    """As rsync and cp -p leave it: the time and the size are those of the file that was there."""
    folder = write_model(tmp_path)
    before, file = survey(tmp_path), folder / "model.onnx"
    times = file.stat()
    (folder / "new").write_bytes(CONTENT)
    os.utime(folder / "new", ns=(times.st_atime_ns, times.st_mtime_ns))
    (folder / "new").replace(file)
    assert survey(tmp_path) != before


def test_labels_are_seen_as_they_lie_there(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path, name="chars")
    (tmp_path / "digits" / "labels.json").write_bytes(b"{")
    assert survey(tmp_path).labels == {"digits": b"{"}


def test_a_model_that_nobody_could_ask_for_is_noticed_unless_it_is_hidden(tmp_path: Path) -> None:
    good = write_model(tmp_path)
    for place in ("Digits/1", "digits/v2", "digits/.2-copying", ".hidden/1", "lost+found/empty"):
        shutil.copytree(good, tmp_path / place)
    (tmp_path / "lost+found/empty/model.json").unlink()
    found = survey(tmp_path)
    assert list(found.versions) == [("digits", "1")]
    assert found.misnamed == {tmp_path / "Digits", tmp_path / "digits/v2"}


@pytest.mark.parametrize("gone", ["digits/2/model.onnx", "digits/2", "digits"])
def test_what_goes_while_it_is_looked_at_is_gone_and_the_rest_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    for name, version in [("chars", "1"), ("digits", "1"), ("digits", "2"), ("digits", "3"), ("letters", "1")]:
        write_model(tmp_path, name=name, version=version)
    scan, hidden = os.scandir, tmp_path / "hidden"

    def hide_then_scan(path: Path) -> Any:
        if (tmp_path / gone).parent == Path(path) and not hidden.exists():
            listed = list(scan(path))
            (tmp_path / gone).rename(hidden)
            return nullcontext(listed)
        return scan(path)

    monkeypatch.setattr(os, "scandir", hide_then_scan)
    found = list(survey(tmp_path).versions)
    assert hidden.exists(), "the test must do what it says"
    assert {("chars", "1"), ("letters", "1")} <= set(found)
    assert ("digits", "2") not in found
    assert [version for version in ("1", "3") if ("digits", version) in found] == ([] if gone == "digits" else ["1", "3"])


@pytest.mark.parametrize("unreadable", [".", "digits", "digits/1"])
def test_a_folder_that_cant_be_listed_is_no_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreadable: str
) -> None:
    write_model(tmp_path)
    scan = os.scandir

    def fail_or_scan(path: Path) -> Any:
        if Path(path) == tmp_path / unreadable:
            raise OSError(5, "Input/output error")
        return scan(path)

    monkeypatch.setattr(os, "scandir", fail_or_scan)
    with pytest.raises(RepositoryError, match=r"can't be listed: .*Input/output error"):
        survey(tmp_path)


FRAMES = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
PACKED = pack(FRAMES, {"a": 0.75, "b": 1.0})


def test_a_card_may_have_golden_images(tmp_path: Path) -> None:
    golden = read_card(write_model(tmp_path, golden=PACKED)).golden
    assert golden
    np.testing.assert_array_equal(golden.images, FRAMES)
    assert golden.answers == (("a", 0.75), ("b", 1.0))


def test_golden_images_that_unpack_to_very_much_are_not_unpacked(tmp_path: Path) -> None:
    folder = write_model(tmp_path, golden=pack(np.zeros(10**8, np.uint8), {"a": 1.0}))
    tracemalloc.start()
    try:
        with pytest.raises(RepositoryError, match="golden frames are not 1 images of 28 x 28"):
            read_card(folder)
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("golden", "reason"),
    [
        ([], "golden must be an object with frames and answers"),
        ({"frames": PACKED["frames"]}, "golden must be an object with frames and answers"),
        (PACKED | {"answers": {"a": 0.75, "c": 1.0}}, "golden answers 'c', which is not among class_names"),
        (PACKED | {"answers": {"a": 0.75}}, "golden frames are not 1 images of 28 x 28"),
        (PACKED | {"answers": {"a": "sure", "b": 1}}, "golden answers must be a probability for each class"),
        (PACKED | {"answers": {"a": None, "b": 1}}, "golden answers must be a probability for each class"),
        (PACKED | {"frames": "no base64!"}, "golden frames can't be unpacked"),
        (PACKED | {"frames": "QUJD"}, "golden frames can't be unpacked"),
        (pack(FRAMES[:1], {"a": 0.75, "b": 1.0}), "golden frames are not 2 images of 28 x 28"),
    ],
    ids=range(9),
)
def test_wrong_golden_images_are_refused(tmp_path: Path, golden: object, reason: str) -> None:
    folder = write_model(tmp_path, golden=golden)
    with pytest.raises(RepositoryError) as caught:
        read_card(folder)
    assert str(caught.value).startswith(f"{folder / 'model.json'}: {reason}")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"threshold": None}, "'threshold' is missing"),
        ({"metrics": {}}, "'metrics.accuracy' is missing"),
        ({"metrics": None}, "'metrics' is missing"),
        ({"metrics": [1]}, "metrics must be an object, not [1]"),
        ({"metrics": {"accuracy": None, "n": 1}}, "metrics.accuracy must be a number, not None"),
        ({"metrics": {"accuracy": 1.0, "n": "all"}}, "metrics.n must be a whole number, not 'all'"),
        ({"max_batch_size": "x"}, "max_batch_size must be a whole number, not 'x'"),
        ({"labels": 7}, "labels must be a list of names, not 7"),
        ({"input": {"height": 28, "width": 29}}, "input must be a square of 8 to 512 pixels, not 29 x 28"),
        ({"input": {"height": 4, "width": 4}}, "input must be a square"),
        ({"input": {"height": float("inf"), "width": 28}}, "input.height must be a whole number, not inf"),
        ({"input": [28, 28]}, "input must be an object, not [28, 28]"),
        ({"threshold": 1.5}, "threshold must be between 0 and 1, not 1.5"),
        ({"threshold": float("nan")}, "threshold must be between 0 and 1, not nan"),
        ({"threshold": "high"}, "threshold must be a number, not 'high'"),
        ({"input": {"height": 28.9, "width": 28}}, "input.height must be a whole number, not 28.9"),
        *[({"class_names": odd}, "class_names must be a list of at least one name, each") for odd in ([], "ab", ["a", "a"])],
        ({"max_batch_size": 0}, "max_batch_size must be between 1 and 4096, not 0"),
        ({"max_batch_size": 5000}, "max_batch_size must be between 1 and 4096, not 5000"),
        ({"sha256": "0" * 64}, "is not the file that model.json describes"),
        ({"sha256": None}, "is not the file that model.json describes"),
        *[({"labels": ["a", odd]}, "labels must be names of letters, digits, . _ and -") for odd in ("", "a:b", "@", "a" * 65)],
    ],
    ids=str,
)
def test_a_wrong_card_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    folder = write_model(tmp_path, **changes)
    with pytest.raises(RepositoryError) as caught:
        read_repository(tmp_path)
    assert str(folder) in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("changes", [{"description": "\ud800"}, {"class_names": ["0", "\udfff"]}], ids=ascii)
def test_text_that_no_answer_could_hold_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_model(tmp_path, **changes)
    with pytest.raises(RepositoryError, match=r"model\.json can't be read: .*surrogates not allowed") as caught:
        read_repository(tmp_path)
    assert str(caught.value).isascii()


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
    assert card.choose("cpu-vnni") == card.choose("cpu"), "the card is silent on it"
    assert card.path == folder / "model.onnx"


def test_a_special_kind_of_processor_has_a_best_of_its_own(tmp_path: Path) -> None:
    folder = write_variants(tmp_path, best={"cpu": "fp32", "cpu-vnni": "fp16"})
    assert read_card(folder).choose("cpu-vnni") == Variant("fp16", folder / "model.fp16.onnx")
    assert read_card(folder).choose("cpu") == Variant("fp32", folder / "model.onnx")


@pytest.mark.parametrize(
    "changes",
    [{"variants": None, "best": None}, {"variants": None, "best": {"cpu": "fp32"}}, {"best": None}, {"best": {}}],
    ids=str,
)
def test_a_card_that_calls_nothing_best_means_float32(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = write_variants(tmp_path, **changes)
    for device in ("cpu", "cpu-vnni", "cuda"):
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
    assert refuse_unknown("", ["a", "b"]).message == "no model is named, and no 'digits' is served; there are: a, b"
    assert refuse_unknown("digits", []).message == "no model 'digits' is served; there are: none"
    error = refuse_unknown("x" * 1000, ["digits"])
    assert (error.code, error.field) == ("NOT_FOUND", "model")
    assert len(error.message) < 150
