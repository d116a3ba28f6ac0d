"""Promise: a stock Triton client gets the same answers as ours, and loses as little when the server goes."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from tests.conftest import StartServer
from tests.e2e.conftest import Reference
from tests.mnist import Digits
from tests.open_inference import SERVICE, ask_for, encoded_input, image_input, make_request, open_stub, read_classes
from tests.pictures import encode_grey, paint
from tests.server_process import ServerProcess

COUNT = 1000
BATCH = 250
TOLERANCE = 1e-5  # the order of additions differs from batch to batch
WORKERS = 16
HANG_S = 30.0


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Any:
    with tritonclient.grpc.InferenceServerClient(server.address) as connected:
        yield connected


@pytest.fixture(scope="module")
def recognized(stub: RecognizerStub, mnist_test: Digits) -> list[Any]:
    """What Recognize says of the first digits, one by one: (label, probability)."""
    raws = [pb.RawImage(pixels=image.tobytes(), width=28, height=28) for image in mnist_test.images[:COUNT]]
    requests = [pb.RecognizeStreamRequest(request=pb.RecognizeRequest(image=pb.Image(raw=raw))) for raw in raws]
    answers = stub.RecognizeStream(iter(requests), timeout=60)
    characters = [answer.response.characters[0] for answer in answers]
    return [(one.label, one.probability) for one in characters]


def infer(client: Any, images: NDArray[Any]) -> NDArray[np.float32]:
    parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    outputs = ask_for("probabilities")
    rows = [client.infer("digits", [image_input(part)], outputs=outputs).as_numpy("probabilities") for part in parts]
    return np.concatenate(rows)


@pytest.mark.parametrize("kind", ["UINT8", "FP32", "one by one"])
def test_a_thousand_digits_get_the_answers_of_recognize(
    client: Any, mnist_test: Digits, reference: Reference, recognized: list[Any], kind: str
) -> None:
    images = mnist_test.images[:COUNT]
    if kind == "one by one":
        rows = np.concatenate([infer(client, images[number : number + 1]) for number in range(COUNT)])
    else:
        rows = infer(client, images if kind == "UINT8" else images / np.float32(255))
    np.testing.assert_allclose(rows, reference.probabilities[:COUNT], rtol=0, atol=TOLERANCE)
    assert [reference.names[index] for index in rows.argmax(axis=1)] == [label for label, _ in recognized]
    np.testing.assert_allclose(rows.max(axis=1), [probability for _, probability in recognized], rtol=0, atol=TOLERANCE)


def test_pictures_get_the_answers_of_recognize(client: Any, stub: RecognizerStub, mnist_test: Digits) -> None:
    pictures = [encode_grey(paint(digit, side=200), "JPEG") for digit in mnist_test.images[:20]]
    texts = [stub.Recognize(pb.RecognizeRequest(image=pb.Image(encoded=one)), timeout=60).text for one in pictures]
    listed = client.infer("digits", [encoded_input(pictures)], outputs=ask_for("probabilities", classes=1))
    assert [row[0].decode().split(":")[2] for row in listed.as_numpy("probabilities")] == texts


def test_evidence_is_that_of_recognize_and_has_the_shape_that_is_announced(
    client: Any, stub: RecognizerStub, mnist_test: Digits
) -> None:
    result = client.infer("digits", [image_input(mnist_test.images[:1])])
    evidence = result.as_numpy("evidence")[0, result.as_numpy("probabilities")[0].argmax()]
    raw = pb.RawImage(pixels=mnist_test.images[0].tobytes(), width=28, height=28)
    answer = stub.Recognize(pb.RecognizeRequest(image=pb.Image(raw=raw), explain=True), timeout=60)
    np.testing.assert_allclose(evidence.ravel(), answer.characters[0].evidence.values, rtol=0, atol=1e-4)
    announced = {one.name: list(one.shape) for one in client.get_model_metadata("digits").outputs}
    assert announced["evidence"][1:] == list(result.as_numpy("evidence").shape[1:])


def test_every_model_of_the_repository_is_there_and_answers(client: Any) -> None:
    index = client.get_model_repository_index().models
    assert {one.state for one in index} == {"READY"}
    for one in index:
        (image, _) = client.get_model_metadata(one.name, one.version).inputs
        drawn = np.eye(*image.shape[1:], dtype=np.uint8)[None] * np.uint8(255)
        result = client.infer(one.name, [image_input(drawn)], model_version=one.version)
        assert result.as_numpy("probabilities").sum() == pytest.approx(1, abs=1e-3)


def test_reflection_and_health_know_the_service(server: ServerProcess) -> None:
    assert SERVICE.full_name in ProtoReflectionDescriptorDatabase(server.connect()).get_services()
    request = health_pb2.HealthCheckRequest(service=SERVICE.full_name)
    assert server.health_stub().Check(request, timeout=HANG_S).status == health_pb2.HealthCheckResponse.SERVING


class Load:
    """Workers that infer one after another until the server sends them away, and what became of every call."""

    def __init__(self, stub: Any, digits: Digits, reference: Reference) -> None:
        self.stub = stub
        self.images = digits.images
        self.right = reference.probabilities.argmax(axis=1)
        self.ends: Counter[str] = Counter()
        self.flowing = asyncio.Event()

    async def work(self, number: int) -> None:
        while not self.ends["UNAVAILABLE"]:
            request = make_request(0, raw_input_contents=[self.images[number].tobytes()])
            try:
                answer = await self.stub.ModelInfer(request, timeout=HANG_S)
                self.ends["right" if read_classes(answer) == [self.right[number]] else "wrong"] += 1
            except grpc.aio.AioRpcError as error:
                self.ends[error.code().name] += 1
            number += WORKERS
            if self.ends["right"] > 200:
                self.flowing.set()


def test_the_drain_answers_what_it_accepted_and_sends_the_rest_elsewhere(
    start_server: StartServer, mnist_test: Digits, reference: Reference
) -> None:
    server = start_server("--drain-delay-s", "0.3")

    async def run() -> tuple[Load, list[bool]]:
        # Without retries: a client that repeats its calls would hide what the server loses.
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(server.address, options) as channel:
            stub = open_stub(channel)
            load = Load(stub, mnist_test, reference)
            workers = [asyncio.create_task(load.work(number)) for number in range(WORKERS)]
            await load.flowing.wait()
            ready = [(await stub.ServerReady(service_pb2.ServerReadyRequest())).ready]
            server.terminate()
            while ready[-1]:
                ready.append((await stub.ServerReady(service_pb2.ServerReadyRequest())).ready)
            before = load.ends["right"]
            answer = await stub.ModelInfer(make_request(0, raw_input_contents=[mnist_test.images[0].tobytes()]))
            assert read_classes(answer) == [load.right[0]], "during drain_delay calls are still answered"
            await asyncio.wait_for(asyncio.gather(*workers), HANG_S)
            assert load.ends["right"] > before
            return load, ready

    load, ready = asyncio.run(run())
    assert server.wait(HANG_S) == 0
    assert (ready[0], ready[-1]) == (True, False)
    assert set(load.ends) == {"right", "UNAVAILABLE"}, "no other end is allowed"


def test_what_waits_in_the_tray_is_answered(start_server: StartServer, mnist_test: Digits, reference: Reference) -> None:
    server = start_server("--max-queue-delay-ms", "1000", "--drain-delay-s", "0.2")
    stub = open_stub(server.connect())
    requests = [make_request(0, raw_input_contents=[image.tobytes()]) for image in mnist_test.images[:20]]
    calls = [stub.ModelInfer.future(request, timeout=HANG_S) for request in requests]
    stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=HANG_S)  # behind them on the same connection: they have arrived
    server.terminate()
    assert [read_classes(call.result())[0] for call in calls] == reference.probabilities[:20].argmax(axis=1).tolist()
    assert server.wait(HANG_S) == 0
