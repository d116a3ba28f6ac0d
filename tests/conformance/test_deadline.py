"""Promise: a call whose deadline has passed is not computed."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.conformance.conftest import Proof
from tests.conformance.waves import FLAGS, WAVE, count_arrived, count_computed, give_up
from tests.conftest import StartServer
from tests.mnist import Digits
from tests.server_process import ServerProcess


async def wait(server: ServerProcess, calls: list[Any]) -> None:
    await asyncio.gather(*(call.code() for call in calls))


def test_expired_calls(start_server: StartServer, mnist_test: Digits, whole: bool, proof: Proof) -> None:
    server, calls = start_server(*FLAGS), 10_000 if whole else WAVE
    ends = give_up(server, mnist_test, calls, 0.6, wait)
    arrived, (batches, images) = count_arrived(server), count_computed(server)
    assert ends == {"DEADLINE_EXCEEDED": calls}
    assert arrived > 0.9 * calls, "the others expired before they were sent"
    assert (batches, images) == (0, 0)
    proof(f"{calls:,} calls whose deadline passes in the queue: none is computed", f"{arrived:,} came to the queue, 0 computed")
