"""Promise: a server that nobody asks costs nothing, and never much memory."""

from __future__ import annotations

import select

import pytest
from digitserve.v1 import recognizer_pb2 as pb

from tests.conftest import StartServer
from tests.server_process import ServerProcess, read_statistics

WATCHED_S = 3.0


@pytest.mark.parametrize("flags", [(), ("--max-queue-delay-ms", "5"), ("--event-loop", "asyncio")], ids=" ".join)
def test_an_idle_server_uses_less_than_a_hundredth_of_a_core(start_server: StartServer, flags: tuple[str, ...]) -> None:
    server = start_server(*flags)
    server.stub().ListModels(pb.ListModelsRequest(), timeout=60)  # start-up is over, and a client is connected
    before_s, _ = read_statistics(server.pid)
    watch(server)
    after_s, _ = read_statistics(server.pid)
    assert after_s - before_s < 0.01 * WATCHED_S


def watch(server: ServerProcess) -> None:
    """Spends the time over which the CPU is counted; a server that ends meanwhile is noticed."""
    poll = select.poll()
    poll.register(server.exit_descriptor(), select.POLLIN)
    assert not poll.poll(WATCHED_S * 1e3), f"the server ended:\n{server.stderr}"


def test_memory_at_rest(server: ServerProcess) -> None:
    assert read_statistics(server.pid)[1] < 350 * 2**20
