"""Promise: a call that its caller cancels is not computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conformance.conftest import Proof
from tests.conformance.doomed import count_drops, doom, start_heavy, wait_for
from tests.conftest import StartServer
from tests.server_process import ServerProcess


def test_cancelled_calls(start_server: StartServer, tmp_path: Path, whole: bool, proof: Proof) -> None:
    server, calls = start_heavy(start_server, tmp_path), 10_000 if whole else 1000
    sent = 0

    async def cancel(server: ServerProcess, wave: list[Any]) -> None:
        nonlocal sent
        sent += len(wave)
        await wait_for(server, "digitserve_queue_images", sent)  # the cancelled lie there, too, until it is looked through
        for call in wave:
            call.cancel()

    found = doom(server, calls, 600, cancel, busy_s=60 if whole else 6)
    assert found.ends == {"CANCELLED": calls}
    assert found.queued == calls
    assert count_drops(server) == {"cancelled": calls}
    assert found.computed == 0
    promise = f"{calls:,} calls that are cancelled in the queue: none is computed"
    proof(promise, f"{found.queued:,} came to the queue, 0 computed")
