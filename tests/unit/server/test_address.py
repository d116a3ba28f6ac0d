"""How host and port are written for gRPC. (Taken ports are tried for real in tests/e2e/test_start.py.)"""

from __future__ import annotations

import pytest

from server.address import ListenError, join, listen


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
