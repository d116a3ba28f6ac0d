from __future__ import annotations

from typing import Any, get_args

import digitserve.requests
import numpy as np
import pytest
from digitserve.requests import (
    CALLS_IN_FLIGHT,
    IMAGES_PER_CALL,
    INKS,
    LAYOUTS,
    PRIORITIES,
    Ink,
    Layout,
    Priority,
    Question,
    batch_parts,
    batch_request,
    deadline_in,
    lone_request,
    needs_several_calls,
    pack_letters,
)
from digitserve.tray import Letter
from digitserve.v1 import recognizer_pb2 as pb

from server.config import Settings


@pytest.mark.parametrize(("words", "known"), [(Layout, LAYOUTS), (Ink, INKS), (Priority, PRIORITIES)])
def test_an_editor_offers_the_words_of_the_contract(words: Any, known: dict[str, Any]) -> None:
    assert get_args(words) == tuple(known)


def test_a_question_becomes_a_request() -> None:
    image = pb.Image(encoded=b"x")
    request = Question("digits:2", "single", "dark", 3, True, "bulk").request_for(image)
    assert request == pb.RecognizeRequest(
        image=image,
        model="digits:2",
        layout=pb.LAYOUT_SINGLE,
        ink=pb.INK_DARK,
        top_k=3,
        explain=True,
        priority=pb.PRIORITY_BULK,
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"layout": "sideways"}, "layout is 'sideways', not one of auto, framed, single, line, page"),
        ({"ink": "blue"}, "ink is 'blue', not one of auto, light, dark"),
        ({"priority": "high"}, "priority is 'high', not one of interactive, bulk"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_k": 2**32}, "top_k is 4294967296"),
        ({"model": "\ud800"}, "model is '.ud800', which is no text"),
    ],
)
def test_a_question_that_cannot_be_meant_is_named(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Question(**arguments)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("model", 5),
        ("model", None),
        ("layout", 2),
        ("layout", ["auto"]),
        ("ink", b"dark"),
        ("priority", None),
        ("top_k", 1.5),
        ("top_k", "3"),
        ("explain", "yes"),
    ],
)
def test_an_argument_of_another_type_is_named(argument: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{argument} is "):
        Question(**{argument: value})


def test_numbers_of_numpy_are_numbers() -> None:
    arguments: dict[str, Any] = {"top_k": np.int64(3), "explain": np.True_}
    request = Question(**arguments).request_for(pb.Image(encoded=b"x"))
    assert (request.top_k, request.explain) == (3, True)


@pytest.mark.parametrize(
    ("question", "may"),
    [
        (Question(), True),
        (Question("digits:2", "framed", top_k=3), True),
        (Question(layout="single"), False),
        (Question(ink="light"), False),
        (Question(explain=True), False),
    ],
)
def test_only_what_a_batch_can_ask_is_packed(question: Question, may: bool) -> None:
    assert question.may_be_packed is may


def test_letters_are_packed_in_order_with_probabilities() -> None:
    van: list[Letter[Any]] = [Letter(bytes([index]) * 784, 0, 1.0, None) for index in range(3)]
    request = pack_letters(van, "m", "auto", "interactive")
    assert request.images == b"".join(letter.pixels for letter in van)
    assert (request.model, request.layout, request.probabilities) == ("m", pb.LAYOUT_AUTO, True)
    assert (request.height, request.width) == (28, 28)
    assert request.priority == pb.PRIORITY_INTERACTIVE, "a single image is no bulk for being packed with others"


def test_a_lone_letter_is_an_ordinary_request() -> None:
    letter: Letter[Any] = Letter(bytes(784), 2, 1.0, None)
    raw = pb.RawImage(pixels=letter.pixels, width=28, height=28)
    expected = pb.RecognizeRequest(
        image=pb.Image(raw=raw), model="m", layout=pb.LAYOUT_FRAMED, top_k=2, priority=pb.PRIORITY_BULK
    )
    assert lone_request(letter, "m", "framed", "bulk") == expected


def test_a_batch_has_two_layouts() -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    assert batch_request(images, "", "auto", "bulk", probabilities=False).layout == pb.LAYOUT_AUTO
    with pytest.raises(ValueError, match="layout is 'single'"):
        batch_request(images, "", "single", "bulk", probabilities=False)
    with pytest.raises(ValueError, match="priority is 'high'"):
        batch_request(images, "", "auto", "high", probabilities=False)
    arguments: dict[str, Any] = {"model": "", "layout": "auto", "priority": "bulk", "probabilities": False}
    for argument, value in {"model": 5, "layout": ["auto"], "priority": None, "probabilities": "yes"}.items():
        with pytest.raises(TypeError, match=f"^{argument} is "):
            batch_request(images, **arguments | {argument: value})


def test_a_batch_says_how_large_its_images_are() -> None:
    request = batch_request(np.zeros((4, 14, 56), np.uint8), "", "auto", "bulk", probabilities=False)
    assert (request.height, request.width) == (14, 56)


def test_only_what_is_over_a_call_needs_several() -> None:
    assert not needs_several_calls(np.zeros((IMAGES_PER_CALL, 28, 28), np.uint8))
    assert needs_several_calls(np.zeros((IMAGES_PER_CALL + 1, 28, 28), np.uint8))


@pytest.mark.parametrize("images", [None, [0] * 5000, np.uint8(1), np.zeros(()), np.zeros((5000, 784), np.uint8)])
def test_what_is_no_stack_of_images_is_refused_whole(images: Any) -> None:
    assert not needs_several_calls(images)
    with pytest.raises((TypeError, ValueError), match=r"images has (type|dtype|shape \(5000, 784\))"):
        batch_request(images, "", "auto", "bulk", probabilities=False)


def test_parts_keep_the_order_and_share_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digitserve.requests, "IMAGES_PER_CALL", 2)
    monkeypatch.setattr(digitserve.requests, "monotonic", iter([100.0, 100.0, 103.0, 111.0]).__next__)
    images = np.arange(5 * 784, dtype=np.uint8).reshape(5, 28, 28)
    parts = list(batch_parts(images, "m", "auto", "interactive", deadline_in(10.0), probabilities=True))
    assert [(part.size, part.timeout_s) for part in parts] == [(2, 10.0), (2, 7.0), (1, -1.0)]
    assert b"".join(part.request.images for part in parts) == images.tobytes()
    assert all(part.request.model == "m" and part.request.probabilities for part in parts)
    assert {(part.request.layout, part.request.priority) for part in parts} == {(pb.LAYOUT_AUTO, pb.PRIORITY_INTERACTIVE)}


def test_full_parts_pass_a_proxy_and_leave_half_of_the_queue_to_others() -> None:
    images = np.zeros((IMAGES_PER_CALL + 1, 28, 28), np.uint8)
    (part, _) = batch_parts(images, "", "auto", "bulk", deadline_in(1.0), probabilities=True)
    assert part.request.ByteSize() <= 4 * 1024 * 1024
    assert Settings().max_queue_size / 2 >= CALLS_IN_FLIGHT * IMAGES_PER_CALL
