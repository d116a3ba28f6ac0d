from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.unit.client.fake_server import FakeServer, serve
from tests.unit.client.flavours import Flavour, call_async, call_sync


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serve() as running:
        yield running


@pytest.fixture(params=[call_sync, call_async], ids=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Flavour:
    flavour: Flavour = request.param
    return flavour


@pytest.fixture
def dead_target() -> Iterator[str]:
    """An address where nobody listens, kept so by holding its port."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{holder.getsockname()[1]}"
