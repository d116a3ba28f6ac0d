"""What the launcher prints can be opened: here, and from other devices."""

from __future__ import annotations

import dataclasses
import socket
import sys
from pathlib import Path

import pytest

import deploy.addresses
from deploy.addresses import list_addresses, name_origins
from deploy.bootstrap import Places
from deploy.main import ROOT, announce, suggest

ELSEWHERE = "192.0.2.7"
PROGRAM = ".venv/bin/digitserve"
PLACES = Places("127.0.0.1", 8080, 9901, "127.0.0.1", 50051, Path("/page"), (), 4096)


@pytest.fixture
def _one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy.addresses, "list_addresses", lambda: (ELSEWHERE,))


def test_the_listed_addresses_are_this_machines() -> None:
    found = list_addresses()
    assert not [address for address in found if address.startswith("127.")]
    for address in found:
        with socket.socket() as probe:
            probe.bind((address, 0))  # not listened on


@pytest.mark.usefixtures("_one_network")
@pytest.mark.parametrize(
    ("host", "port", "names"),
    [
        ("127.0.0.1", 8080, ("http://127.0.0.1:8080",)),
        ("192.0.2.9", 80, ("http://192.0.2.9",)),
        ("::1", 80, ("http://[::1]",)),
        ("::", 8080, ("http://[::1]:8080",)),
        ("0.0.0.0", 8080, ("http://127.0.0.1:8080", f"http://{ELSEWHERE}:8080")),
    ],
)
def test_every_name_of_the_page_can_be_opened(host: str, port: int, names: tuple[str, ...]) -> None:
    assert name_origins(host, port) == names


@pytest.mark.usefixtures("_one_network")
def test_what_is_printed_names_no_address_that_is_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "index.html").touch()
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "executable", str(ROOT / ".venv/bin/python"))
    announce(dataclasses.replace(PLACES, page_host="0.0.0.0", page=tmp_path))
    assert capsys.readouterr().out.splitlines() == [
        "page   http://127.0.0.1:8080/",
        f"       http://{ELSEWHERE}:8080/ from other devices",
        "JSON   http://127.0.0.1:8080/v1/models",
        "gRPC   127.0.0.1:50051",
        "Try in another terminal:",
        f"  {PROGRAM} recognize docs/examples/seven.png",
        f"  {PROGRAM} bench --duration 5",
        "Ctrl-C stops all.",
    ]


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1:50078"), ("::1", "[::1]:50078")])
def test_the_commands_to_try_name_a_server_that_is_not_where_they_look(host: str, address: str) -> None:
    recognize, bench = suggest(dataclasses.replace(PLACES, server_host=host, server_port=50078))
    assert f" recognize --server {address} " in recognize
    assert f" bench --server {address} --duration 5" in bench


def test_the_commands_to_try_work_from_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    recognize, _ = suggest(PLACES)
    program, _, picture = recognize.split()
    assert Path(program) == Path(sys.executable).with_name("digitserve")
    assert Path(picture).is_file()
