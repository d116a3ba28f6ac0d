from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.unit.client.fake_server import FakeServer, serve


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serve() as running:
        yield running


@pytest.fixture
def dead_target() -> Iterator[str]:
    """An address where nobody listens, kept so by holding its port."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{holder.getsockname()[1]}"
