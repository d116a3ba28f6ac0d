"""Promise: two servers behind Envoy are restarted one after the other, under load, and no caller notices."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub

from tests.conformance.conftest import Proof
from tests.e2e.conftest import Reference
from tests.e2e.test_envoy_servers import add_servers, wait_until_healthy
from tests.mnist import Digits
from tests.proxy_process import ProxyProcess
from tests.server_process import ServerProcess

CALLERS = 16


class Load:
    """Callers that ask one question after another until they are told to stop; what each of them heard."""

    def __init__(self, address: str, digits: Digits, reference: Reference) -> None:
        self.ends: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()  # to each question
        self._address, self._digits, self._reference = address, digits, reference
        self._numbers = itertools.count()
        self._stop = asyncio.Event()

    async def run(self, until: Any) -> None:
        """Calls until `until`, a function for a thread, is over."""
        async with grpc.aio.insecure_channel(self._address, [("grpc.enable_retries", 0)]) as channel:
            stub = RecognizerStub(channel)  # type: ignore[no-untyped-call]
            callers = [asyncio.create_task(self._call(stub)) for _ in range(CALLERS)]
            await asyncio.to_thread(until)
            self._stop.set()
            await asyncio.gather(*callers)

    async def _call(self, stub: Any) -> None:
        while not self._stop.is_set():
            number = next(self._numbers)
            index = number % len(self._digits.images)
            raw = pb.RawImage(pixels=self._digits.images[index].tobytes(), width=28, height=28)
            try:
                answer = await stub.Recognize(pb.RecognizeRequest(image=pb.Image(raw=raw)), timeout=60)
            except grpc.aio.AioRpcError as error:
                self.ends[f"{error.code().name}: {error.details()}"] += 1
                continue
            self.answers[number] += 1
            self.ends["right" if answer.text == self._reference.labels[index] else "wrong"] += 1


def test_rolling_restart(
    models_folder: Path, tmp_path: Path, mnist_test: Digits, reference: Reference, whole: bool, proof: Proof
) -> None:
    flags, rounds = ("--models", str(models_folder), "--port"), 5 if whole else 1
    with ExitStack() as stack:
        servers = [stack.enter_context(ServerProcess(*flags, "0")) for _ in range(2)]
        proxy = stack.enter_context(ProxyProcess(servers[0].address, tmp_path, tmp_path, add_servers([servers[1].address])))
        wait_until_healthy(proxy, 2)

        def restart_each() -> None:
            for number in [0, 1] * rounds:
                old = servers[number]
                old.terminate()
                assert old.wait() == 0
                wait_until_healthy(proxy, 1)
                servers[number] = stack.enter_context(ServerProcess(*flags, old.address.rpartition(":")[2]))
                wait_until_healthy(proxy, 2)

        load = Load(f"127.0.0.1:{proxy.port}", mnist_test, reference)
        asyncio.run(load.run(restart_each))
    calls = load.ends.total()
    assert load.ends == {"right": calls}
    assert set(load.answers.values()) == {1}
    assert calls > 10 * CALLERS
    proof(
        f"{2 * rounds} restarts in turn of two servers behind Envoy: no call fails, none is answered twice",
        f"0 of {calls:,} calls",
    )
