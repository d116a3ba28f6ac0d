"""How host and port are written for gRPC. (Taken ports are tried for real in tests/e2e/test_start.py.)"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from server.address import ListenError, check_address, check_socket, join, listen, listen_on_socket, number_socket


@pytest.mark.parametrize(
    ("host", "joined"),
    [("127.0.0.1", "127.0.0.1:8"), ("localhost", "localhost:8"), ("::1", "[::1]:8"), ("[::]", "[::]:8")],
)
def test_an_ipv6_address_stands_in_brackets(host: str, joined: str) -> None:
    assert join(host, 8) == joined


class Server:
    """Takes port 7, or refuses."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def add_insecure_port(self, address: str) -> int:
        if self._error:
            raise self._error
        return 7


def test_the_port_that_was_taken_is_returned() -> None:
    assert listen(Server(), "127.0.0.1", 0) == "127.0.0.1:7"


def test_grpcs_refusal_becomes_ours() -> None:
    with pytest.raises(ListenError, match=r"^can't listen on 127\.0\.0\.1:80: taken meanwhile$"):
        listen(Server(RuntimeError("taken meanwhile")), "127.0.0.1", 80)


def test_grpcs_refusal_of_a_socket_becomes_ours_too() -> None:
    with pytest.raises(ListenError, match=r"^can't listen on /run/s: no room$"):
        listen_on_socket(Server(RuntimeError("no room")), "/run/s")


@pytest.mark.parametrize("host", ["a..b", "a" * 70, "\udcff"], ids=ascii)
def test_a_host_that_is_no_name_is_one_line(host: str) -> None:
    with pytest.raises(ListenError, match=r"^can't listen on .*:80: "):
        check_address(host, 80)


def test_the_workers_sockets_are_numbered_and_none_stays_none() -> None:
    assert [number_socket(path, 2) for path in ("/run/s", "")] == ["/run/s.2", ""]


def test_a_socket_that_nobody_listens_on_makes_room(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert path.is_socket()
    check_socket(str(path))
    assert not path.exists()


def test_what_is_no_socket_is_left_alone_and_named(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("kept")
    with pytest.raises(ListenError, match=r"/notes: there is something that is no socket$"):
        check_socket(str(path))
    assert path.read_text() == "kept"


def test_a_path_that_the_system_finds_too_long_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match=r"AF_UNIX path too long$"):
        check_socket(str(tmp_path / ("x" * 200)))
