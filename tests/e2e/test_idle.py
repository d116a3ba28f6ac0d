"""Promise: a server that nobody asks costs nothing, and never much memory."""

from __future__ import annotations

import select

import pytest
from digitserve.v1 import recognizer_pb2 as pb

from tests.conftest import StartServer
from tests.server_process import ServerProcess, read_statistics

WATCHED_S = 3.0


KINDS = ((), ("--max-queue-delay-ms", "5"), ("--event-loop", "asyncio"))


@pytest.fixture(scope="module")
def spent_s(start_server: StartServer) -> dict[tuple[str, ...], float]:
    """CPU seconds of an idle server of each kind. All are watched at the same time."""
    servers = [start_server(*flags) for flags in KINDS]
    for server in servers:
        server.stub().ListModels(pb.ListModelsRequest(), timeout=60)  # start-up is over, and a client is connected
    before_s = [read_statistics(server.pid)[0] for server in servers]
    watch(servers)
    after_s = [read_statistics(server.pid)[0] for server in servers]
    return {flags: after - before for flags, before, after in zip(KINDS, before_s, after_s, strict=True)}


@pytest.mark.parametrize("flags", KINDS, ids=" ".join)
def test_an_idle_server_uses_less_than_a_hundredth_of_a_core(
    spent_s: dict[tuple[str, ...], float], flags: tuple[str, ...]
) -> None:
    assert spent_s[flags] < 0.01 * WATCHED_S


def watch(servers: list[ServerProcess]) -> None:
    """Spends the time over which the CPU is counted; a server that ends meanwhile is noticed."""
    poll = select.poll()
    for server in servers:
        poll.register(server.exit_descriptor(), select.POLLIN)
    assert not poll.poll(WATCHED_S * 1e3), "a server ended:\n" + "\n".join(server.stderr for server in servers)


def test_memory_at_rest(server: ServerProcess) -> None:
    assert read_statistics(server.pid)[1] < 350 * 2**20
