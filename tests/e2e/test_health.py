"""Promise: health answers for the server, its service and each model by every name; a watcher sees each change."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from digitserve import Client
from grpc_health.v1 import health_pb2

from tests.conftest import StartServer
from tests.server_process import ServerProcess

Response = health_pb2.HealthCheckResponse
TIMEOUT_S = 30.0


def ask(name: str = "") -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=name)


def test_every_name_is_known(server: ServerProcess, card: dict[str, Any]) -> None:
    health = server.health_stub()
    name, version = card["name"], card["version"]
    names = ["", "digitserve.v1.Recognizer", name, f"{name}:{version}", *(f"{name}@{label}" for label in card["labels"])]
    assert [health.Check(ask(name), timeout=TIMEOUT_S).status for name in names] == [Response.SERVING] * len(names)


@pytest.mark.parametrize("name", ["nobody", "digits:999", "Recognizer", "x" * 10_000])
def test_an_unknown_name_is_not_found(server: ServerProcess, name: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.health_stub().Check(ask(name), timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_an_unknown_name_can_be_watched(server: ServerProcess) -> None:
    watching = server.health_stub().Watch(ask("nobody"), timeout=TIMEOUT_S)
    assert next(watching).status == Response.SERVICE_UNKNOWN
    watching.cancel()


def test_the_client_asks_too(server: ServerProcess) -> None:
    with Client(server.address, timeout_s=TIMEOUT_S) as client:
        assert (client.health(), client.health("digits"), client.health("nobody")) == (
            "SERVING",
            "SERVING",
            "SERVICE_UNKNOWN",
        )


def test_one_watcher_leaves_and_the_other_sees_the_drain(start_server: StartServer) -> None:
    server = start_server("--drain-delay-s", "0.3")
    leaving = server.health_stub().Watch(ask(), timeout=TIMEOUT_S)
    staying = [server.health_stub().Watch(ask(name), timeout=TIMEOUT_S) for name in ("", "digits")]
    assert [next(watching).status for watching in [leaving, *staying]] == [Response.SERVING] * 3
    leaving.cancel()
    server.terminate()
    assert [next(watching).status for watching in staying] == [Response.NOT_SERVING] * 2
    assert server.wait(15) == 0, "a watcher that stays must not hold up the drain for its whole grace"
    assert [end_of(watching) for watching in staying] == [grpc.StatusCode.UNAVAILABLE] * 2


def end_of(watching: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        next(watching)
    code: grpc.StatusCode = caught.value.code()
    return code
