"""Promise: a call that its caller cancels is not computed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.conformance.conftest import Proof
from tests.conformance.doomed import PATIENCE_S, count_drops, doom, start_heavy
from tests.conftest import StartServer
from tests.e2e.metrics import read_metrics, total
from tests.server_process import ServerProcess


def test_cancelled_calls(start_server: StartServer, tmp_path: Path, whole: bool, proof: Proof) -> None:
    server, calls = start_heavy(start_server, tmp_path), 10_000 if whole else 1000
    came = 0

    async def cancel(server: ServerProcess, wave: list[Any]) -> None:
        """Once all have come: none of them can be answered, so each is in the queue, or stands by."""
        nonlocal came
        async with asyncio.timeout(PATIENCE_S):
            while (running := await count_running(server)) < len(wave) + 1:  # with the one that keeps the model busy
                pass
            came += running - 1
            for call in wave:
                call.cancel()
            while await count_running(server) > 1:
                pass

    found = doom(server, calls, 600, cancel, busy_s=60 if whole else 6)
    assert found.ends == {"CANCELLED": calls}
    assert came == calls
    assert count_drops(server) == {"cancelled": calls}
    assert found.computed == 0
    promise = f"{calls:,} calls that are cancelled in the queue: none is computed"
    proof(promise, f"{came:,} came to the queue, 0 computed")


async def count_running(server: ServerProcess) -> int:
    """Calls that the server is at."""
    return int(total(await asyncio.to_thread(read_metrics, server), "digitserve_running_calls"))
