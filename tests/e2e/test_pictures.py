"""Promise: a picture of one digit is read whatever file it comes in; a blank one is no error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub
from numpy.typing import NDArray
from PIL import Image

from tests.mnist import Digits
from tests.pictures import encode, encode_grey, paint, paint_on_glass, photograph

SIDE = 168
CLOSE = 15.0  # mean grey levels between two frames of one picture: compression, rounding, soft edges that one bit has lost


@pytest.fixture(scope="module")
def digit(mnist_test: Digits) -> NDArray[np.uint8]:
    """A 7 that nobody could take for anything else, and which is another figure when turned or mirrored."""
    assert mnist_test.labels[0] == 7
    return np.asarray(mnist_test.images[0])


def read(stub: Any, content: bytes, **options: Any) -> pb.RecognizeResponse:
    request = pb.RecognizeRequest(image=pb.Image(encoded=content), explain=True, **options)
    answer: pb.RecognizeResponse = stub.Recognize(request, timeout=60)
    return answer


def frame_of(answer: pb.RecognizeResponse) -> NDArray[np.float64]:
    return np.frombuffer(answer.characters[0].evidence.frame, np.uint8).astype(np.float64)


def distance(one: pb.RecognizeResponse, other: pb.RecognizeResponse) -> float:
    """Mean grey levels between what the network saw of the two."""
    return float(abs(frame_of(one) - frame_of(other)).mean())


FILES = {
    "PNG": lambda picture: encode_grey(picture),
    "JPEG": lambda picture: encode_grey(picture, "JPEG", quality=90),
    "progressive JPEG": lambda picture: encode_grey(picture, "JPEG", progressive=True),
    "WebP": lambda picture: encode_grey(picture, "WEBP"),
    "BMP": lambda picture: encode_grey(picture, "BMP"),
    "GIF": lambda picture: encode_grey(picture, "GIF"),
    "JPEG with others behind it": lambda picture: animate(picture, "MPO"),
    "animated GIF": lambda picture: animate(picture, "GIF"),
    "animated WebP": lambda picture: animate(picture, "WEBP"),
    "RGB": lambda picture: encode(Image.fromarray(picture).convert("RGB")),
    "CMYK JPEG": lambda picture: encode(Image.fromarray(picture).convert("CMYK"), "JPEG", quality=90),
    "16-bit PNG": lambda picture: encode(Image.fromarray(picture.astype(np.uint16) * 257)),
    "1-bit PNG": lambda picture: encode(Image.fromarray(picture).point(lambda value: 255 * (value > 127), "1")),
    "palette": lambda picture: encode(Image.fromarray(picture).convert("P")),
    "palette with transparency": lambda picture: encode(Image.fromarray(picture).convert("P"), transparency=255),
    "grey with transparency": lambda picture: encode(Image.fromarray(picture), transparency=0),
    "opaque RGBA": lambda picture: encode(Image.fromarray(picture).convert("RGBA")),
    "interlaced": lambda picture: encode(Image.fromarray(picture).convert("RGB"), "PNG", interlace=1),
    "camera upright": lambda picture: photograph(picture, 1),
    "camera upside down": lambda picture: photograph(picture, 3),
    "camera on its left": lambda picture: photograph(picture, 6),
    "camera on its right": lambda picture: photograph(picture, 8),
}


def animate(picture: NDArray[np.uint8], kind: str) -> bytes:
    """The picture first, then others: a mirrored one and a black one."""
    others = [Image.fromarray(picture[:, ::-1].copy()), Image.new("L", (SIDE, SIDE))]
    return encode(Image.fromarray(picture), kind, save_all=True, append_images=others, duration=50)


@pytest.mark.parametrize("make", FILES.values(), ids=list(FILES))
def test_it_is_read(stub: RecognizerStub, digit: NDArray[np.uint8], make: Any) -> None:
    picture = paint(digit, side=SIDE)
    answer = read(stub, make(picture))
    assert answer.text == "7"
    assert distance(answer, read(stub, encode_grey(picture))) < CLOSE


@pytest.mark.parametrize("ink", [0, 40, 255], ids=["black", "dark", "white"])
def test_a_drawing_on_a_transparent_layer(stub: RecognizerStub, digit: NDArray[np.uint8], ink: int) -> None:
    answer = read(stub, encode(paint_on_glass(digit, ink=ink, side=SIDE)))
    assert answer.text == "7"
    assert distance(answer, read(stub, encode_grey(paint(digit, side=SIDE)))) < CLOSE


@pytest.mark.parametrize(("ink", "paper"), [(20, 235), (235, 20), (90, 160), (160, 90)])
def test_either_polarity_and_faint_ink(stub: RecognizerStub, digit: NDArray[np.uint8], ink: int, paper: int) -> None:
    answer = read(stub, encode_grey(paint(digit, side=SIDE, ink=ink, paper=paper)))
    assert answer.text == "7"
    assert distance(answer, read(stub, encode_grey(paint(digit, side=SIDE)))) < CLOSE


@pytest.mark.parametrize("side", [20, 28, 40, 100, 700, 2000])
def test_any_size(stub: RecognizerStub, digit: NDArray[np.uint8], side: int) -> None:
    assert read(stub, encode_grey(paint(digit, side=side))).text == "7"


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_box_lies_in_the_upright_image(stub: RecognizerStub, digit: NDArray[np.uint8], orientation: int) -> None:
    page = np.full((900, 1200), 235, np.uint8)
    page[500 : 500 + SIDE, 100 : 100 + SIDE] = paint(digit, side=SIDE)
    box = read(stub, photograph(page, orientation)).characters[0].box
    rows, columns = np.nonzero(page < 128)
    expected = (columns.min(), rows.min(), np.ptp(columns), np.ptp(rows))
    np.testing.assert_allclose((box.left, box.top, box.width, box.height), expected, atol=20)


BLANKS = {
    "1 x 1": encode_grey(np.full((1, 1), 130, np.uint8)),
    "black frame": encode_grey(np.zeros((28, 28), np.uint8)),
    "white frame": encode_grey(np.full((28, 28), 255, np.uint8)),
    "grey page": encode_grey(np.full((600, 400), 140, np.uint8), "JPEG"),
    "nothing but glass": encode(Image.new("RGBA", (100, 100), (0, 0, 0, 0))),
    "a line of one pixel": encode_grey(np.full((1, 500), 200, np.uint8)),
    "16-bit black": encode(Image.fromarray(np.zeros((50, 50), np.uint16))),
}


@pytest.mark.parametrize("content", BLANKS.values(), ids=list(BLANKS))
def test_a_blank_image_is_an_unsure_answer(stub: RecognizerStub, content: bytes) -> None:
    answer = read(stub, content)
    (character,) = answer.characters
    assert (answer.text, character.label, character.probability, character.unsure) == ("", "", 0.0, True)
    assert character.box.width >= 1
    assert answer.model.name == "digits"


def test_blank_images_in_a_batch(stub: RecognizerStub, mnist_test: Digits) -> None:
    images = mnist_test.images[:5].copy()
    images[[1, 3]] = 0
    request = pb.RecognizeBatchRequest(images=images.tobytes(), probabilities=True)
    answer = stub.RecognizeBatch(request, timeout=60)
    full = stub.RecognizeBatch(pb.RecognizeBatchRequest(images=mnist_test.images[:5].tobytes()), timeout=60)
    expected = list(full.classes)
    expected[1] = expected[3] = -1
    assert list(answer.classes) == expected
    assert [answer.unsure[1], answer.unsure[3]] == [True, True]
    sums = np.frombuffer(answer.probabilities, "<f4").reshape(5, -1).sum(axis=1)
    np.testing.assert_allclose(sums, [1, 0, 1, 0, 1], atol=1e-5)


def test_a_batch_of_unframed_images_is_framed_where_it_is_needed(stub: RecognizerStub, mnist_test: Digits) -> None:
    small = np.asarray(Image.fromarray(mnist_test.images[0]).resize((18, 18), Image.Resampling.BICUBIC))
    corner = np.zeros((28, 28), np.uint8)
    corner[:18, 10:] = small
    images = np.stack([mnist_test.images[1], corner])
    answer = stub.RecognizeBatch(pb.RecognizeBatchRequest(images=images.tobytes(), layout=pb.LAYOUT_AUTO), timeout=60)
    assert list(answer.classes) == [2, 7]
    whole, found = answer.boxes[:4], answer.boxes[4:]
    assert list(whole) == [0, 0, 28, 28]
    assert found[0] > 10
    assert found[1] + found[3] <= 18
