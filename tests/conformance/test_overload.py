"""Promise: at five times what the model can do, goodput stays, and who is accepted does not wait long."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub

from tests.conformance.conftest import Proof
from tests.conftest import StartServer
from tests.e2e.test_admission import Load, find_capacity
from tests.heavy import publish_heavy


def test_overload(start_server: StartServer, tmp_path: Path, whole: bool, proof: Proof) -> None:
    server = start_server("--instances", "1", models=publish_heavy(tmp_path))
    duration_s = 30.0 if whole else 3.0

    async def run() -> tuple[float, float, Load, Load]:
        async with grpc.aio.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub: Any = RecognizerStub(channel)  # type: ignore[no-untyped-call]
            capacity = await find_capacity(stub)
            busy, flooded = Load(stub), Load(stub)
            await busy.come(0.8 * capacity, duration_s)
            elapsed_s = await flooded.come(5 * capacity, duration_s)
            return capacity, len(flooded.answered) / elapsed_s, busy, flooded

    capacity, goodput, busy, flooded = asyncio.run(run())
    p99_ms, flooded_ms = (np.percentile(load.answered, 99) * 1e3 for load in (busy, flooded))
    assert {error.code() for error in flooded.failures} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert len(flooded.refused) > 2 * len(flooded.answered)
    assert goodput > (0.9 if whole else 0.6) * capacity  # a short flood says little
    assert flooded_ms < (2 if whole else 6) * p99_ms
    promise = (
        f"Five times what a heavy model can do, {duration_s:.0f} s: goodput >= 0.9 of the peak, p99 <= 2 x that at 80 % load"
    )
    found = f"{goodput / capacity:.2f} of {capacity:.0f} calls/s; {flooded_ms:.0f} against {p99_ms:.0f} ms"
    refusal = f"{len(flooded.refused):,} refused, p50 {np.median(flooded.refused) * 1e3:.1f} ms"
    proof(promise, f"{found}; {refusal}")
