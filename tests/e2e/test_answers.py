"""Promise: what is served is what the model says, for every real digit and through every RPC."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
import numpy as np
from digitserve import AsyncClient, Client
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub
from numpy.typing import NDArray

from tests.e2e.conftest import Reference
from tests.mnist import Digits
from tests.server_process import ServerProcess

TOLERANCE = 1e-5  # the order of additions differs from batch to batch
IN_FLIGHT = 64


def assert_same(names: Iterable[str], probabilities: NDArray[np.float32], reference: Reference) -> None:
    """The right labels, and the winning probability of each image to within rounding."""
    assert list(names) == reference.labels
    np.testing.assert_allclose(probabilities, reference.probabilities.max(axis=1), rtol=0, atol=TOLERANCE)


def test_batches(stub: RecognizerStub, mnist_test: Digits, reference: Reference) -> None:
    requests = [pb.RecognizeBatchRequest(images=part.tobytes(), probabilities=True) for part in split(mnist_test.images)]
    answers = [stub.RecognizeBatch(request, timeout=60) for request in requests]
    classes = np.concatenate([np.array(answer.classes) for answer in answers])
    rows = [np.frombuffer(answer.probabilities, "<f4").reshape(len(answer.classes), -1) for answer in answers]
    np.testing.assert_array_equal(classes, reference.probabilities.argmax(axis=1))
    np.testing.assert_allclose(np.concatenate(rows), reference.probabilities, rtol=0, atol=TOLERANCE)


def split(images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Into batches of every size: 1, 2, 3, ... and the rest."""
    return [part for part in np.split(images, np.cumsum(np.arange(1, 100))) if len(part)]


def test_a_stream(stub: RecognizerStub, mnist_test: Digits, reference: Reference) -> None:
    answers = list(stub.RecognizeStream(stream_requests(mnist_test), timeout=60))
    assert [answer.id for answer in answers] == list(range(10_000))
    characters = [answer.response.characters[0] for answer in answers]
    assert_same([one.label for one in characters], np.array([one.probability for one in characters]), reference)


def stream_requests(digits: Digits) -> Iterator[pb.RecognizeStreamRequest]:
    for number, image in enumerate(digits.images):
        yield pb.RecognizeStreamRequest(request=framed_request(image), id=number)


def framed_request(image: NDArray[np.uint8]) -> pb.RecognizeRequest:
    raw = pb.RawImage(pixels=image.tobytes(), width=28, height=28)
    return pb.RecognizeRequest(image=pb.Image(raw=raw))


def test_single_calls(server: ServerProcess, mnist_test: Digits, reference: Reference) -> None:
    answers = asyncio.run(call_singly(server.address, mnist_test.images))
    assert [answer.text for answer in answers] == reference.labels
    characters = [answer.characters[0] for answer in answers]
    assert_same([one.label for one in characters], np.array([one.probability for one in characters]), reference)


async def call_singly(address: str, images: NDArray[np.uint8]) -> list[Any]:
    answers: list[Any] = [None] * len(images)
    numbers = iter(range(len(images)))

    async def work(stub: Any) -> None:
        for number in numbers:
            answers[number] = await stub.Recognize(framed_request(images[number]), timeout=60)

    async with grpc.aio.insecure_channel(address) as channel:
        stub = RecognizerStub(channel)  # type: ignore[no-untyped-call]
        await asyncio.gather(*(work(stub) for _ in range(IN_FLIGHT)))
    return answers


def test_the_client_coalesces_and_gives_everyone_the_right_answer(
    server: ServerProcess, mnist_test: Digits, reference: Reference
) -> None:
    async def run() -> list[str]:
        async with AsyncClient(server.address, timeout_s=60) as client:
            answers = await asyncio.gather(*(client.recognize(image) for image in mnist_test.images[:2000]))
            return [answer.text for answer in answers]

    assert asyncio.run(run()) == reference.labels[:2000]


def test_the_accuracy_is_the_one_that_is_published(server: ServerProcess, card: dict[str, Any], mnist_test: Digits) -> None:
    with Client(server.address, timeout_s=60) as client:
        labels = client.recognize_batch(mnist_test.images).labels
        (model,) = [each for each in client.models() if (each.name, each.version) == (card["name"], card["version"])]
    right = sum(label == str(truth) for label, truth in zip(labels, mnist_test.labels, strict=True))
    assert card["metrics"]["n"] == len(labels) == model.accuracy_n
    assert right / len(labels) == card["metrics"]["accuracy"]
    assert model.accuracy == np.float32(card["metrics"]["accuracy"])


def test_alternatives_and_evidence_belong_to_the_answer(stub: RecognizerStub, mnist_test: Digits, reference: Reference) -> None:
    request = framed_request(mnist_test.images[0])
    request.top_k, request.explain = 3, True
    (character,) = stub.Recognize(request, timeout=60).characters
    best = np.argsort(-reference.probabilities[0])[:3]
    assert [each.label for each in character.alternatives] == [reference.names[index] for index in best]
    np.testing.assert_allclose(
        [each.probability for each in character.alternatives], reference.probabilities[0][best], rtol=0, atol=TOLERANCE
    )
    assert character.evidence.frame == mnist_test.images[0].tobytes()
    assert len(character.evidence.values) == character.evidence.width * character.evidence.height > 0


def test_every_name_of_a_model_leads_to_it(stub: RecognizerStub, card: dict[str, Any], mnist_test: Digits) -> None:
    name, version = card["name"], card["version"]
    for asked in ("", name, f"{name}:{version}", *(f"{name}@{label}" for label in card.get("labels", []))):
        request = pb.RecognizeBatchRequest(images=mnist_test.images[0].tobytes(), model=asked)
        assert stub.RecognizeBatch(request, timeout=60).model == pb.ModelVersion(name=name, version=version)
