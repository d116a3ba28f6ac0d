from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from digitserve.answers import batch_from, joined, model_from, recognition_from, rows_for
from digitserve.errors import Internal
from digitserve.results import BatchRecognition, ModelVersion, Timing
from digitserve.tray import Letter
from digitserve.v1 import recognizer_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.client.fake_server import CLASS_NAMES, MODEL, answer, answer_batch


def packed(*brightest: int, model: str = "") -> pb.RecognizeBatchRequest:
    pixels = b"".join(bytes(783) + bytes([value]) for value in brightest)
    return pb.RecognizeBatchRequest(images=pixels, model=model, probabilities=True)


def letters(*top_ks: int) -> list[Letter[Any]]:
    return [Letter(b"", top_k, 1.0, None) for top_k in top_ks]


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 12)), min_size=1, max_size=20))
def test_a_packed_answer_is_the_answer_to_each_alone(images: list[tuple[int, int]]) -> None:
    rows = rows_for(letters(*(top_k for _, top_k in images)), answer_batch(packed(*(value for value, _ in images))))
    for row, (value, top_k) in zip(rows, images, strict=True):
        raw = pb.RawImage(pixels=bytes(783) + bytes([value]), width=28, height=28)
        assert row == recognition_from(answer(pb.RecognizeRequest(image=pb.Image(raw=raw), top_k=top_k)))


def test_a_blank_has_no_text_and_is_unsure() -> None:
    (row,) = rows_for(letters(3), answer_batch(packed(0)))
    (character,) = row.characters
    assert (row.text, character.label, character.probability, character.unsure) == ("", "", 0.0, True)
    assert character.alternatives == ()


def test_boxes_are_used_where_given() -> None:
    (row,) = rows_for(letters(0), answer_batch(packed(7, model="boxed")))
    box = row.characters[0].box
    assert (box.left, box.top, box.width, box.height) == (1, 2, 3, 4)


def test_a_batch_is_arrays() -> None:
    batch = batch_from(answer_batch(packed(7, 0, 3)), 3, probabilities=True)
    assert batch.labels == ["7", "", "3"]
    assert batch.classes.tolist() == [7, -1, 3]
    assert batch.unsure.tolist() == [False, True, True]
    assert batch.probabilities is not None
    assert batch.probabilities.shape == (3, 10)
    assert batch.probabilities.dtype == np.float32
    assert not batch.probabilities[1].any()
    assert batch.boxes is None
    assert (batch.class_names, str(batch.model), len(batch)) == (CLASS_NAMES, "digits:1", 3)
    assert repr(batch) == "BatchRecognition(3 images, 2 unsure, model='digits:1')"


def test_a_batch_without_probabilities_has_none_and_boxes_are_a_table() -> None:
    batch = batch_from(answer_batch(packed(7, 3, model="boxed")), 2, probabilities=False)
    assert batch.probabilities is None
    assert batch.boxes is not None
    assert batch.boxes.tolist() == [[1, 2, 3, 4]] * 2


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ({"classes": [1]}, "asked about 2 images, but the server answered 1"),
        ({"unsure": [True]}, "asked about 2 images"),
        ({"classes": [1, 10]}, "outside its own 10 class names"),
        ({"classes": [1, -2]}, "outside its own 10 class names"),
        ({"probabilities": b"1234"}, "holds 4 bytes where 2 x 10 numbers belong"),
        ({"boxes": [1, 2, 3]}, "holds 12 bytes where 2 x 4 numbers belong"),
    ],
)
def test_an_answer_that_makes_no_sense_is_internal(damage: dict[str, Any], reason: str) -> None:
    message = answer_batch(packed(7, 3))
    for field in damage:
        message.ClearField(field)
    message.MergeFrom(pb.RecognizeBatchResponse(**damage))
    with pytest.raises(Internal, match=reason):
        batch_from(message, 2, probabilities=True)


def part(*brightest: int, model: str = "", **fields: Any) -> BatchRecognition:
    message = answer_batch(packed(*brightest, model=model))
    message.MergeFrom(pb.RecognizeBatchResponse(**fields))
    return batch_from(message, len(brightest), probabilities=True)


def test_joined_parts_are_the_answer_to_all() -> None:
    whole, both = part(7, 0, 3), joined([part(7, 0), part(3)], 28, 28)
    assert (both.labels, both.class_names, both.model) == (whole.labels, whole.class_names, whole.model)
    for name in ("classes", "unsure", "probabilities"):
        found, expected = getattr(both, name), getattr(whole, name)
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
    assert both.boxes is None


def test_joined_parts_without_probabilities_have_none() -> None:
    bare = batch_from(answer_batch(packed(7)), 1, probabilities=False)
    assert joined([bare, bare], 28, 28).probabilities is None


def test_a_part_without_boxes_takes_whole_images_beside_one_that_has_them() -> None:
    both = joined([part(7, 1), part(3, model="boxed")], 30, 32)
    assert both.boxes is not None
    assert both.boxes.dtype == np.int32
    assert both.boxes.tolist() == [[0, 0, 32, 30], [0, 0, 32, 30], [1, 2, 3, 4]]


def test_joined_timing_is_the_longest_of_each() -> None:
    timings = [pb.Timing(queue_ms=9, compute_ms=1, batch_size=64), pb.Timing(queue_ms=2, compute_ms=5, batch_size=256)]
    assert joined([part(7, timing=timing) for timing in timings], 28, 28).timing == Timing(9.0, 5.0, 256)


@pytest.mark.parametrize("change", [{"model": ModelVersion("digits", "2")}, {"class_names": tuple("abcdefghij")}])
def test_parts_from_two_models_are_not_joined(change: dict[str, Any]) -> None:
    with pytest.raises(Internal, match=r"the model changed from digits:1 to digits:\d while the batch was read"):
        joined([part(7), replace(part(3), **change)], 28, 28)


def explained() -> pb.RecognizeResponse:
    raw = pb.RawImage(pixels=bytes([7]) * 784, width=28, height=28)
    return answer(pb.RecognizeRequest(image=pb.Image(raw=raw), explain=True, top_k=2))


def test_evidence_is_a_map_over_its_frame() -> None:
    recognition = recognition_from(explained())
    evidence = recognition.characters[0].evidence
    assert evidence is not None
    assert evidence.values.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert evidence.values.dtype == np.float32
    assert evidence.frame.shape == (28, 28)
    assert repr(evidence) == "Evidence(values=(2, 3), frame=(28, 28))"


def test_evidence_of_the_wrong_size_is_internal() -> None:
    message = explained()
    message.characters[0].evidence.width = 4
    with pytest.raises(Internal, match="evidence"):
        recognition_from(message)


def test_reprs_say_what_matters() -> None:
    recognition = recognition_from(explained())
    assert repr(recognition) == "Recognition('7', [Character('7', 0.7188)], model='digits:1')"
    (unsure,) = rows_for(letters(0), answer_batch(packed(3)))
    assert repr(unsure.characters[0]) == "Character('3', 0.5938, unsure)"


def test_results_are_frozen() -> None:
    recognition = recognition_from(explained())
    with pytest.raises(AttributeError):
        recognition.text = "8"  # type: ignore[misc]
    assert not hasattr(recognition, "__dict__")


def test_a_model_is_read_whole() -> None:
    model = model_from(MODEL)
    assert (model.name, model.version, model.labels, model.class_names) == ("digits", "1", ("stable",), CLASS_NAMES)
    assert (model.input_height, model.input_width, model.accuracy_n, model.max_batch_size) == (28, 28, 10_000, 256)
    assert (model.threshold, model.accuracy) == pytest.approx((0.5, 0.9965))
    assert (model.execution_provider, model.description) == ("CPUExecutionProvider", "handwritten digits")
