"""Promise: only who shows what the server asks for is answered, on every service, and renewals need no restart."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from digitserve import TLS, Client, Unauthenticated, Unavailable
from digitserve.bench.settings import MODES
from digitserve.cli import main
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from tritonclient.grpc.service_pb2 import ServerLiveRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from tests.certificates import Authority
from tests.conftest import StartServer
from tests.server_process import ServerProcess

TOKEN = "a-token-of-this-test"
BLANK = np.zeros((28, 28), np.uint8)
WITHIN_S = 10.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, models_folder: Path) -> Iterator[ServerProcess]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"test sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
    with ServerProcess("--port", "0", "--models", str(models_folder), "--tokens", str(tokens)) as running:
        yield running


def make_stub(channel: grpc.Channel) -> RecognizerStub:
    return RecognizerStub(channel)  # type: ignore[no-untyped-call]


Ask = Callable[[grpc.Channel, Any], Any]
CALLS: dict[str, Ask] = {
    "Recognize": lambda channel, how: make_stub(channel).Recognize(pb.RecognizeRequest(), **how),
    "RecognizeBatch": lambda channel, how: make_stub(channel).RecognizeBatch(pb.RecognizeBatchRequest(), **how),
    "RecognizeStream": lambda channel, how: next(make_stub(channel).RecognizeStream(iter(()), **how), None),
    "ListModels": lambda channel, how: make_stub(channel).ListModels(pb.ListModelsRequest(), **how),
    "ServerLive": lambda channel, how: GRPCInferenceServiceStub(channel).ServerLive(ServerLiveRequest(), **how),
    "ModelStreamInfer": lambda channel, how: next(GRPCInferenceServiceStub(channel).ModelStreamInfer(iter(()), **how), None),
    "reflection": lambda channel, how: next(
        ServerReflectionStub(channel).ServerReflectionInfo(iter([ServerReflectionRequest(list_services="")]), **how)
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
@pytest.mark.parametrize("shown", [None, "Bearer another", f"Basic {TOKEN}"])
def test_without_the_token_no_call_gets_in(guarded: ServerProcess, call: Ask, shown: str | None) -> None:
    metadata = None if shown is None else (("authorization", shown),)
    with pytest.raises(grpc.RpcError) as caught:
        call(guarded.connect(), {"metadata": metadata, "timeout": WITHIN_S})
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert caught.value.details() == "this server wants a token it knows: metadata authorization: Bearer TOKEN"


def test_a_caller_that_waits_with_its_first_request_is_refused_as_well(guarded: ServerProcess) -> None:
    def wait_for_ever() -> Iterator[pb.RecognizeStreamRequest]:
        answered.wait(WITHIN_S)
        yield from ()

    answered = threading.Event()
    try:
        with pytest.raises(grpc.RpcError) as caught:
            next(make_stub(guarded.connect()).RecognizeStream(wait_for_ever(), timeout=WITHIN_S))
    finally:
        answered.set()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_two_tokens_are_one_too_many(guarded: ServerProcess) -> None:
    both = (("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer another"))
    with pytest.raises(grpc.RpcError) as caught:
        CALLS["ListModels"](guarded.connect(), {"metadata": both, "timeout": WITHIN_S})
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_with_the_token_all_is_as_ever(guarded: ServerProcess) -> None:
    with Client(guarded.address, token=TOKEN) as client:
        assert client.recognize(BLANK).characters[0].unsure
        assert len(client.recognize_batch(BLANK[None]).labels) == 1
        assert len(list(client.recognize_stream([BLANK]))) == 1
        assert client.models()
    with Client(guarded.address) as client, pytest.raises(Unauthenticated, match="wants a token"):
        client.recognize(BLANK)


@pytest.mark.parametrize("mode", MODES)
def test_the_benchmark_client_shows_its_token_and_saves_it_nowhere(
    guarded: ServerProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str
) -> None:
    saved = tmp_path / "bench.json"
    ask = ("bench", "--server", guarded.address, "--mode", mode, "--count", "20", "--warmup", "0", "--json", str(saved))
    monkeypatch.setenv("DIGITSERVE_TOKEN", TOKEN)
    assert main(ask) == 0
    assert json.loads(saved.read_text())["figures"]["calls"] == 20
    assert TOKEN not in saved.read_text()
    monkeypatch.delenv("DIGITSERVE_TOKEN")
    assert main(ask) == 1


def test_health_is_open_to_all(guarded: ServerProcess) -> None:
    status = HealthStub(guarded.connect()).Check(health_pb2.HealthCheckRequest(), timeout=WITHIN_S).status
    assert status == health_pb2.HealthCheckResponse.SERVING


def test_a_token_is_nowhere_in_the_log(guarded: ServerProcess) -> None:
    assert TOKEN not in guarded.stderr


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> tuple[Path, Path]:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    authority.sign(certificate, key)
    return certificate, key


def make_flags(files: tuple[Path, Path]) -> tuple[str, ...]:
    return "--tls-certificate", str(files[0]), "--tls-key", str(files[1])


def read_serial(address: str, authority: Authority) -> str:
    """Of the certificate that the server shows."""
    host, _, port = address.rpartition(":")
    pem = ssl.get_server_certificate((host, int(port)), ca_certs=str(authority.path), timeout=WITHIN_S)
    return str(ssl.PEM_cert_to_DER_cert(pem).hex())


def test_tls(start_server: StartServer, authority: Authority, files: tuple[Path, Path]) -> None:
    address = start_server(*make_flags(files)).address
    with Client(address, tls=TLS(authority.path)) as client:
        assert client.recognize(BLANK).characters[0].unsure
    for stranger in (Client(address, timeout_s=1), Client(address, timeout_s=1, tls=TLS())):
        with stranger, pytest.raises(Unavailable):
            stranger.recognize(BLANK)


def complain(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command line says last."""
    assert main(words) == 1
    return capfd.readouterr().err.splitlines()[-1].removeprefix("digitserve: ")


def test_the_command_line_tells_a_server_with_tls_from_none(
    start_server: StartServer, authority: Authority, files: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = start_server(*make_flags(files)).address
    wants = f"the server at {address} closes the connection: perhaps it wants"
    assert complain(capfd, "models", "--server", address) == f"{wants} TLS"
    assert complain(capfd, "bench", "--server", address) == f"digitserve bench: {wants} TLS"
    others = str(Authority(tmp_path, "others").path)
    line = complain(capfd, "models", "--server", address, "--tls", "--tls-authorities", others)
    assert line == f"the certificate of the server at {address} is not taken: unable to get local issuer certificate"
    address = start_server(*make_flags(files), "--tls-client-authorities", str(authority.path)).address
    line = complain(capfd, "health", "--server", address, "--tls", "--tls-authorities", str(authority.path))
    assert line.endswith("perhaps it wants a certificate of yours, from an authority that it knows")


def test_the_installed_command_says_so_in_one_line(guarded: ServerProcess) -> None:
    words = [str(Path(sys.executable).with_name("digitserve")), "models", "--server", guarded.address, "--tls"]
    asked = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    told = f"digitserve: the server at {guarded.address} speaks no TLS: try without\n"
    assert (asked.returncode, asked.stdout, asked.stderr) == (1, "", told)


def test_a_new_certificate_without_a_restart(start_server: StartServer, authority: Authority, files: tuple[Path, Path]) -> None:
    server = start_server(*make_flags(files))
    with Client(server.address, tls=TLS(authority.path)) as before:
        before.models()
        first = read_serial(server.address, authority)
        authority.sign(*files)
        assert read_serial(server.address, authority) != first
        files[0].write_text("half a certif")
        assert read_serial(server.address, authority) != first
        before.models()  # the connection that was open goes on
    with Client(server.address, tls=TLS(authority.path)) as after:
        after.models()
    assert "certificate renewed from" in server.stderr
    assert "the certificate stays as it was" in server.stderr


@pytest.mark.parametrize("level", ["info", "debug"])
def test_handshakes_that_fail_fill_no_log_unless_somebody_looks_for_them(
    level: str, start_server: StartServer, authority: Authority, files: tuple[Path, Path]
) -> None:
    server = start_server(*make_flags(files), "--log-level", level)
    host, _, port = server.address.rpartition(":")
    for _ in range(5):
        with socket.create_connection((host, int(port)), timeout=WITHIN_S) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            while stranger.recv(1024):
                pass
    authority.sign(*files)
    read_serial(server.address, authority)
    server.wait_for_lines("certificate renewed from", 1)
    assert server.stderr.count("Handshake failed") == (5 if level == "debug" else 0)


def test_mutual_tls(start_server: StartServer, authority: Authority, files: tuple[Path, Path], tmp_path: Path) -> None:
    address = start_server(*make_flags(files), "--tls-client-authorities", str(authority.path)).address
    mine, others = authority.sign_new("client"), Authority(tmp_path, "others").sign_new("stranger")
    with Client(address, tls=TLS(authority.path, *mine)) as client:
        assert client.models()
    for tls in (TLS(authority.path), TLS(authority.path, *others)):
        with Client(address, timeout_s=1, tls=tls) as stranger, pytest.raises(Unavailable):
            stranger.models()
