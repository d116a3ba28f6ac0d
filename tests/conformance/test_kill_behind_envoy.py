"""Promise: a worker behind Envoy is killed under load, and callers that repeat nothing themselves see no failure."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from digitserve.v1 import recognizer_pb2 as pb

from tests.conformance.conftest import Proof
from tests.conformance.test_drain import Load
from tests.conftest import StartServer
from tests.e2e.conftest import Reference
from tests.e2e.test_envoy_servers import wait_until_healthy
from tests.e2e.test_workers import READY, find_workers
from tests.mnist import Digits
from tests.proxy_process import GRPC_WEB, ProxyProcess, ask, frame, read_web_answer

BROWSERS = 4
RECOGNIZE = "/digitserve.v1.Recognizer/Recognize"


class Browsers:
    """Callers by grpc-web, until the block ends; how their calls have ended."""

    def __init__(self, port: int, digits: Digits, reference: Reference) -> None:
        self.ends: Counter[str] = Counter()
        self._port, self._digits, self._reference = port, digits, reference
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(BROWSERS)
        self._calls = [self._pool.submit(self._call, number) for number in range(BROWSERS)]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._pool.shutdown()
        self.ends = sum((call.result() for call in self._calls), Counter())

    def _call(self, number: int) -> Counter[str]:
        ends: Counter[str] = Counter()
        while not self._stop.is_set():
            index = number % len(self._digits.images)
            raw = pb.RawImage(pixels=self._digits.images[index].tobytes(), width=28, height=28)
            message = frame(pb.RecognizeRequest(image=pb.Image(raw=raw)).SerializeToString())
            told = read_web_answer(ask(self._port, "POST", RECOGNIZE, message, GRPC_WEB))
            texts = [pb.RecognizeResponse.FromString(each).text for each in told.messages]
            is_right = told.trailers["grpc-status"] == "0" and texts == [self._reference.labels[index]]
            ends["right" if is_right else f"{texts} {told.trailers}"] += 1
            number += BROWSERS
        return ends


def test_kill_9_behind_envoy(
    start_server: StartServer,
    models_folder: Path,
    tmp_path: Path,
    mnist_test: Digits,
    reference: Reference,
    whole: bool,
    proof: Proof,
) -> None:
    tmp_path.joinpath("models").mkdir()
    tmp_path.joinpath("models/digits").symlink_to((models_folder / "digits").absolute())
    path, kills = str(tmp_path / "worker"), 20 if whole else 1
    server = start_server("--workers", "2", "--socket", path, models=tmp_path / "models")

    def kill_each_in_turn() -> None:
        for number in range(kills):
            ready = server.stderr.count(READY)
            os.kill(find_workers(server.pid)[number % 2], signal.SIGKILL)
            server.wait_for_lines(READY, ready + 1)
            wait_until_healthy(proxy, 2)

    with ProxyProcess(server.address, tmp_path, tmp_path, sockets=(f"{path}.1", f"{path}.2")) as proxy:
        wait_until_healthy(proxy, 2)
        load = Load(f"127.0.0.1:{proxy.port}", mnist_test, reference)
        with Browsers(proxy.port, mnist_test, reference) as browsers:
            asyncio.run(load.run(kill_each_in_turn))
    ends = load.ends + browsers.ends
    assert set(ends) == {"right"}, ends
    assert set(load.answers.values()) == {1}
    assert min(load.ends.total(), browsers.ends.total()) > 10 * kills
    proof(
        f"kill -9 of one of two workers behind Envoy, {kills} times: neither gRPC nor grpc-web callers notice, without retries",
        f"0 of {ends.total():,} calls",
    )
