"""What a client shows of itself, and what it refuses to send. (Against a real server with TLS: tests/e2e/test_security.py.)"""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest
from digitserve import TLS, AsyncClient, Client, cli
from digitserve.bench.connection import open_channel
from digitserve.bench.settings import BenchError

from tests.unit.client.fake_server import FakeServer
from tests.unit.client.flavours import Flavour

SEVEN = np.full((28, 28), 7, np.uint8)


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("token", ["my token", "secret\n", "schlüssel"])
def test_what_is_no_token_is_refused_and_not_shown(client: type[Client] | type[AsyncClient], token: str) -> None:
    with pytest.raises(ValueError, match=r"^token holds a space, a line break or a sign that is not ASCII") as caught:
        client("localhost:1", token=token)
    assert token.strip() not in str(caught.value)


def test_the_token_goes_with_every_call(call: Flavour, server: FakeServer) -> None:
    for use in (
        lambda client: client.recognize(SEVEN),
        lambda client: client.recognize(b"1234567"),
        lambda client: client.recognize_batch(SEVEN[None]),
        lambda client: client.models(),
    ):
        call(server.target, use, token="secret")
    assert len(server.recognizer.calls) == 4
    assert [one.metadata.get("authorization") for one in server.recognizer.calls] == ["Bearer secret"] * 4
    call(server.target, lambda client: client.models())
    assert "authorization" not in server.recognizer.calls[-1].metadata


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_tls_belongs_to_the_clients_own_channel(client: type[Client] | type[AsyncClient]) -> None:
    with (
        grpc.insecure_channel("localhost:1") as channel,
        pytest.raises(ValueError, match=r"^tls is for the channel that the client opens"),
    ):
        client(channel=channel, tls=TLS())


def test_a_certificate_without_its_key(tmp_path: Path) -> None:
    for halves in ({"certificate": tmp_path / "c"}, {"key": tmp_path / "k"}):
        with pytest.raises(ValueError, match=r"^certificate and key belong together"):
            TLS(**halves)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--tls-key", "k"], "--tls-authorities, --tls-certificate and --tls-key are of no use without --tls"),
        (["--tls", "--tls-key", "k"], "certificate and key belong together: one of them is missing"),
        (["--tls", "--tls-authorities", "/nowhere.pem"], "/nowhere.pem can't be read: No such file or directory"),
    ],
)
def test_the_command_line_says_what_is_wrong(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", *words]) == 1
    assert capsys.readouterr().err == f"digitserve: {line}\n"


def test_the_command_line_takes_the_token_from_the_environment(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITSERVE_TOKEN", "secret")
    assert cli.main(["models", "--server", server.target]) == 0
    assert server.recognizer.calls[-1].metadata["authorization"] == "Bearer secret"
    monkeypatch.setenv("DIGITSERVE_TOKEN", "two words")
    assert cli.main(["models", "--server", server.target]) == 1


def test_the_benchmark_names_the_file_that_it_cant_read() -> None:
    with pytest.raises(BenchError, match=r"^/nowhere.pem can't be read: No such file or directory$"):
        open_channel("localhost:1", "/nowhere.pem")
