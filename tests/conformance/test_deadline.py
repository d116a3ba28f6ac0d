"""Promise: a call whose deadline has passed is not computed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.conformance.conftest import Proof
from tests.conformance.doomed import count_drops, doom, start_heavy
from tests.conftest import StartServer
from tests.server_process import ServerProcess

DEADLINE_S = 1.5


async def wait(server: ServerProcess, calls: list[Any]) -> None:
    await asyncio.gather(*(call.code() for call in calls))


def test_expired_calls(start_server: StartServer, tmp_path: Path, whole: bool, proof: Proof) -> None:
    server, calls = start_heavy(start_server, tmp_path), 10_000 if whole else 1000
    found = doom(server, calls, DEADLINE_S, wait, busy_s=90 if whole else 8)
    assert found.ends == {"DEADLINE_EXCEEDED": calls}
    drops = count_drops(server)
    assert set(drops) <= {"deadline_passed", "cancelled"}, "none was refused"
    assert drops.total() > 0.9 * calls, "the others expired before they were sent"
    assert drops["deadline_passed"] > 0, "the server's clock and the caller's race: the server must win now and then"
    assert found.computed == 0
    promise = f"{calls:,} calls whose deadline passes in the queue: none is computed"
    proof(promise, f"{drops.total():,} came to the queue, 0 computed")
