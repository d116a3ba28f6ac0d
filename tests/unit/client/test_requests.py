from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from digitserve.requests import Question, batch_request, checked_timeout_s, lone_request, pack_letters
from digitserve.tray import Letter
from digitserve.v1 import recognizer_pb2 as pb


def test_a_question_becomes_a_request() -> None:
    image = pb.Image(encoded=b"x")
    request = Question("digits:2", "single", "dark", 3, True).request_for(image)
    assert request == pb.RecognizeRequest(
        image=image, model="digits:2", layout=pb.LAYOUT_SINGLE, ink=pb.INK_DARK, top_k=3, explain=True
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"layout": "sideways"}, "layout is 'sideways', not one of auto, framed, single, line, page"),
        ({"ink": "blue"}, "ink is 'blue', not one of auto, light, dark"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_k": 2**32}, "top_k is 4294967296"),
    ],
)
def test_a_question_that_cannot_be_meant_is_named(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Question(**arguments)


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
    request = pack_letters(van, "m", "auto")
    assert request.images == b"".join(letter.pixels for letter in van)
    assert (request.model, request.layout, request.probabilities) == ("m", pb.LAYOUT_AUTO, True)


def test_a_lone_letter_is_an_ordinary_request() -> None:
    letter: Letter[Any] = Letter(bytes(784), 2, 1.0, None)
    raw = pb.RawImage(pixels=letter.pixels, width=28, height=28)
    expected = pb.RecognizeRequest(image=pb.Image(raw=raw), model="m", layout=pb.LAYOUT_FRAMED, top_k=2)
    assert lone_request(letter, "m", "framed") == expected


def test_a_batch_has_two_layouts() -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    assert batch_request(images, "", "auto", probabilities=False).layout == pb.LAYOUT_AUTO
    with pytest.raises(ValueError, match="layout is 'single'"):
        batch_request(images, "", "single", probabilities=False)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("inf"), float("nan")])
def test_every_call_has_a_deadline(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s is"):
        checked_timeout_s(timeout_s)
