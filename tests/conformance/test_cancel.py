"""Promise: a call that its caller cancels is not computed."""

from __future__ import annotations

from typing import Any

from tests.conformance.conftest import Proof
from tests.conformance.waves import FLAGS, WAVE, count_arrived, count_computed, give_up, wait_for_queue
from tests.conftest import StartServer
from tests.mnist import Digits
from tests.server_process import ServerProcess


async def cancel(server: ServerProcess, calls: list[Any]) -> None:
    await wait_for_queue(server, len(calls))
    for call in calls:
        call.cancel()


def test_cancelled_calls(start_server: StartServer, mnist_test: Digits, whole: bool, proof: Proof) -> None:
    server, calls = start_server(*FLAGS), 10_000 if whole else WAVE
    ends = give_up(server, mnist_test, calls, 60, cancel)
    arrived, (batches, images) = count_arrived(server), count_computed(server)
    assert ends == {"CANCELLED": calls}
    assert arrived == calls
    assert (batches, images) == (0, 0)
    proof(f"{calls:,} calls that are cancelled in the queue: none is computed", f"{arrived:,} came to the queue, 0 computed")
