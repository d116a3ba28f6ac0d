"""Promise: one setting bounds messages; what is over it is refused by its length alone, and says so."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from digitserve import Client, MessageTooLarge
from digitserve.v1 import recognizer_pb2 as pb
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.conftest import StartServer
from tests.details import read_failure
from tests.server_process import ServerProcess

LIMIT = 1024 * 1024
FITTING = LIMIT // 784  # and room is left for the field's own tag and length


@pytest.fixture(scope="module")
def narrow(start_server: StartServer) -> ServerProcess:
    return start_server("--max-message-bytes", str(LIMIT))


def make_request(images: int) -> pb.RecognizeBatchRequest:
    return pb.RecognizeBatchRequest(images=bytes(784 * images))


def test_just_under_the_limit(narrow: ServerProcess) -> None:
    request = make_request(FITTING)
    assert LIMIT - 784 < request.ByteSize() <= LIMIT
    assert len(narrow.stub().RecognizeBatch(request, timeout=60).classes) == FITTING


def test_just_over_the_limit(narrow: ServerProcess) -> None:
    request = make_request(FITTING + 1)
    assert LIMIT < request.ByteSize() < LIMIT + 784
    with pytest.raises(grpc.RpcError) as caught:
        narrow.stub().RecognizeBatch(request, timeout=60)
    failure = read_failure(caught.value)
    assert failure.code == "RESOURCE_EXHAUSTED"
    assert "larger than max" in failure.message


def test_the_connection_survives(narrow: ServerProcess) -> None:
    stub = narrow.stub()
    with pytest.raises(grpc.RpcError):
        stub.RecognizeBatch(make_request(FITTING * 4), timeout=60)
    assert len(stub.RecognizeBatch(make_request(2), timeout=60).classes) == 2


def test_the_default_takes_what_grpcs_own_four_megabytes_would_refuse(server: ServerProcess) -> None:
    assert make_request(10_000).ByteSize() > 4 * 1024 * 1024
    assert len(server.stub().RecognizeBatch(make_request(10_000), timeout=60).classes) == 10_000


def test_the_client_names_it(narrow: ServerProcess) -> None:
    with Client(narrow.address, timeout_s=60) as client, pytest.raises(MessageTooLarge):
        client.recognize_batch(np.zeros((FITTING + 1, 28, 28), np.uint8))


def test_an_answer_over_the_limit_is_refused_by_name_and_its_stream_goes_on(start_server: StartServer) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(start_server("--max-message-bytes", "300000").connect())

    def make(images: int, *outputs: str) -> service_pb2.ModelInferRequest:
        request = service_pb2.ModelInferRequest(model_name="digits", raw_input_contents=[bytes(784 * images)])
        request.inputs.add(name="image", datatype="UINT8", shape=[images, 28, 28])
        for name in outputs:
            request.outputs.add(name=name)
        return request

    reason = "bytes, more than max_message_bytes allows: ask for fewer images, or for probabilities alone"
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(make(256), timeout=60)
    failure = read_failure(caught.value)
    assert failure.code == "INVALID_ARGUMENT"
    assert reason in failure.message
    assert stub.ModelInfer(make(256, "probabilities"), timeout=60).raw_output_contents
    answers = list(stub.ModelStreamInfer(iter([make(1), make(256), make(1)]), timeout=60))
    assert [reason in answer.error_message for answer in answers] == [False, True, False]
    assert answers[2].infer_response.raw_output_contents
