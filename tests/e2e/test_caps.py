"""Promise: whatever a caller brings in any number has a cap, and what is no message is called so, in silence."""

from __future__ import annotations

import socket

import grpc
import pytest
from digitserve.v1 import recognizer_pb2 as pb
from grpc_health.v1 import health_pb2

from tests.conftest import StartServer
from tests.details import read_failure
from tests.server_process import ServerProcess

HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # the preface, and empty settings
CONNECTIONS, STREAMS = 3, 2
RPCS = (
    "/digitserve.v1.Recognizer/Recognize",
    "/digitserve.v1.Recognizer/RecognizeBatch",
    "/inference.GRPCInferenceService/ModelInfer",
    "/grpc.health.v1.Health/Check",
    "/digitserve.v1.Recognizer/RecognizeStream",
    "/inference.GRPCInferenceService/ModelStreamInfer",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)


@pytest.fixture(scope="module")
def narrow(start_server: StartServer) -> ServerProcess:
    return start_server("--max-connections", str(CONNECTIONS), "--max-streams", str(STREAMS))


def greet(address: str) -> tuple[socket.socket, bytes]:
    """A connection, and what the server first says on it: nothing, if it closes it."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    try:
        connection.sendall(HELLO)
        return connection, connection.recv(9)
    except ConnectionError:
        return connection, b""


def test_connections_have_a_cap_and_room_comes_back(narrow: ServerProcess) -> None:
    greeted = [greet(narrow.address) for _ in range(CONNECTIONS + 2)]
    assert [bool(said) for _, said in greeted] == [True] * CONNECTIONS + [False] * 2
    for connection, _ in greeted:
        connection.close()
    while not (again := greet(narrow.address))[1]:  # until the server has seen that they are closed
        again[0].close()
    again[0].close()


def test_calls_on_one_connection_wait_for_each_other_and_none_is_refused(narrow: ServerProcess) -> None:
    channel = narrow.connect()
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch", lambda sent: sent.SerializeToString(), None)
    watches = [watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(STREAMS)]
    for each in watches:
        next(each)
    stub = channel.unary_unary("/digitserve.v1.Recognizer/ListModels")
    late = stub.future(b"", timeout=60)
    with pytest.raises(grpc.FutureTimeoutError):
        late.result(timeout=0.2)
    watches[0].cancel()
    assert pb.ListModelsResponse.FromString(late.result()).models
    watches[1].cancel()


def test_metadata_under_the_cap_is_never_refused_by_chance(server: ServerProcess) -> None:
    stub = server.stub()
    for _ in range(30):
        assert stub.ListModels(pb.ListModelsRequest(), metadata=(("x-note", "a" * 15_000),), timeout=60).models


def test_metadata_has_a_cap(server: ServerProcess) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.stub().ListModels(pb.ListModelsRequest(), metadata=(("x-note", "a" * 20_000),), timeout=60)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("path", RPCS)
def test_what_is_no_message_is_refused_as_such_and_never_logged(server: ServerProcess, path: str) -> None:
    before = server.stderr
    answers = server.connect().stream_stream(path)(iter([b"\xff" * 20]), timeout=60)  # one message is a stream of one
    with pytest.raises(grpc.RpcError) as caught:
        list(answers)
    failure = read_failure(caught.value)
    assert failure.code == "INVALID_ARGUMENT"
    assert failure.message.startswith("the message can't be parsed as ")
    assert server.stderr == before
