"""Promise: a Unix socket is another door of the same server, or of one of its workers, and nobody's door is taken away."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from digitserve import Client
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub

from tests.certificates import Authority
from tests.conftest import StartServer
from tests.e2e.test_start import refuse
from tests.e2e.test_workers import READY, find_workers, wait_for_end
from tests.server_process import ROOT, SERVING, ServerProcess, start_process

SEVEN = ROOT / "docs/examples/seven.png"
WITHIN_S = 10.0


def recognize(address: str) -> str:
    with Client(address) as client:
        return client.recognize(SEVEN).text


def test_both_doors_lead_to_one_server(models_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with ServerProcess("--port", "0", "--models", str(models_folder), "--socket", str(path)) as server:
        assert [recognize(address) for address in (server.address, f"unix:{path}")] == ["7", "7"]
        line = f"can't listen on {path}: Address already in use"
        assert refuse("--port", "0", "--socket", str(path)) == (1, line)
        assert recognize(f"unix:{path}") == "7", "who was refused has taken nothing along"
    assert not path.exists()


def test_each_worker_has_its_own_and_keeps_it_through_a_kill(models_folder: Path, tmp_path: Path) -> None:
    path, flags = tmp_path / "socket", ("--workers", "2", "--models", str(models_folder))
    doors = [f"unix:{path}.{number}" for number in (1, 2)]
    with ServerProcess("--port", "0", "--socket", str(path), *flags) as server:
        assert [recognize(door) for door in doors] == ["7", "7"]
        assert refuse("--port", "0", "--socket", str(path), *flags) == (1, f"can't listen on {path}.1: Address already in use")
        for victim in find_workers(server.pid):
            ready = server.stderr.count(READY)
            os.kill(victim, signal.SIGKILL)
            server.wait_for_lines(READY, ready + 1)
        assert [recognize(door) for door in doors] == ["7", "7"]
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_server_has_left_is_in_nobodys_way(models_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    flags = ("--port", "0", "--models", str(models_folder), "--socket", str(path))
    with start_process(*flags) as process:
        assert process.stderr
        while not SERVING.search(line := process.stderr.readline()):
            assert line, "it did not start"
        process.kill()
        wait_for_end([process.pid])
    assert path.is_socket()
    with ServerProcess(*flags):
        assert recognize(f"unix:{path}") == "7"


def leave_a_file(path: Path) -> None:
    path.write_text("mine")


def leave_no_folder(path: Path) -> None:
    path.parent.rmdir()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(leave_a_file, "there is something that is no socket"), (leave_no_folder, "No such file or directory")],
)
def test_where_no_socket_can_be_made_it_says_why(spoil: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "folder/socket"
    path.parent.mkdir()
    spoil(path)
    assert refuse("--port", "0", "--socket", str(path)) == (1, f"can't listen on {path}: {reason}")
    assert not path.exists() or path.read_text() == "mine"


def test_with_tls_the_socket_speaks_it_too(start_server: StartServer, tmp_path: Path) -> None:
    authority, path = Authority(tmp_path), tmp_path / "socket"
    certificate, key = authority.sign_new("server")
    start_server("--tls-certificate", str(certificate), "--tls-key", str(key), "--socket", str(path))
    request = pb.RecognizeRequest(image=pb.Image(encoded=SEVEN.read_bytes()))
    with grpc.insecure_channel(f"unix:{path}") as plain, pytest.raises(grpc.RpcError) as caught:
        RecognizerStub(plain).Recognize(request, timeout=WITHIN_S)  # type: ignore[no-untyped-call]
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    named = [("grpc.ssl_target_name_override", "localhost")]
    with grpc.secure_channel(f"unix:{path}", grpc.ssl_channel_credentials(authority.pem), named) as channel:
        stub = RecognizerStub(channel)  # type: ignore[no-untyped-call]
        assert stub.Recognize(request, timeout=WITHIN_S).text == "7"


def test_a_server_that_hangs_is_still_a_server(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as hanging, socket.socket(socket.AF_UNIX) as first:
        hanging.bind(path)
        hanging.listen(0)
        first.connect(path)  # there is no more room
        status, line = refuse("--port", "0", "--socket", path)
        assert (status, line) == (1, f"can't listen on {path}: Resource temporarily unavailable")
        assert Path(path).is_socket()
