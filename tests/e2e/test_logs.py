"""Promise: with --log-format json every line of the log is one object, and an error's request id is in it."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from digitserve.v1 import recognizer_pb2 as pb

from tests.conftest import StartServer
from tests.e2e.test_dashboard import make_request, write_fragile_model
from tests.server_process import ServerProcess, start_process

TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def read_log(text: str) -> list[dict[str, Any]]:
    """The log's objects. Every line must be one."""
    told = [json.loads(line) for line in text.splitlines()]
    for each in told:
        assert TIME.fullmatch(each["time"])
        assert each["level"] in ("debug", "info", "warning", "error", "critical")
        assert {"logger", "message"} <= set(each) <= {"time", "level", "logger", "message", "request_id", "exception"}
    return told


def test_an_errors_request_id_is_in_the_log(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--log-format", "json", models=write_fragile_model(tmp_path))
    stub = server.stub()
    stub.Recognize(make_request(100))
    told = []
    for metadata in ((("x-request-id", "order-17"),), None):
        with pytest.raises(grpc.RpcError) as caught:
            stub.Recognize(make_request(255), metadata=metadata)
        failed: Any = caught.value
        told.append(dict(failed.trailing_metadata())["x-request-id"])
    with pytest.raises(grpc.RpcError):
        stub.Recognize(pb.RecognizeRequest(model="nothing"), metadata=(("x-request-id", "mistaken"),))
    server.terminate()
    assert server.wait() == 0
    log = read_log(server.stderr)
    assert told[0] == "order-17"
    assert [each["request_id"] for each in log if "request_id" in each] == told, "a caller's own mistake is not logged"
    failures = [each for each in log if "exception" in each]
    assert len(failures) == 2
    assert all("out of data bounds" in each["exception"] and "\n" in each["exception"] for each in failures)
    batches = [re.search("batch ([0-9a-f]{16}) of 1 requests failed", each["message"]) for each in failures]
    requests = [each["message"] for each in log if "request_id" in each]
    for batch, request in zip(batches, requests, strict=True):
        assert batch
        assert batch[1] in request, "the request's line leads to the batch's"
    assert log[-1]["message"] == "drained"


def test_the_reason_for_not_starting_is_an_object_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start_process("--port", str(port), "--log-format", "json")
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    last = read_log(said)[-1]
    assert (last["level"], last["message"]) == ("critical", f"can't listen on 127.0.0.1:{port}: Address already in use")


def test_text_is_the_default(server: ServerProcess) -> None:
    assert re.search(r" INFO digitserve\.app: serving on ", server.stderr)
