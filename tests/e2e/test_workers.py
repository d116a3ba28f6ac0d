"""Promise: with --workers several processes serve one port as one server. What dies is replaced, and no caller notices."""

from __future__ import annotations

import asyncio
import os
import re
import select
import shutil
import signal
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from digitserve import Client
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub

from server.address import ListenError, check_address, reserve_address
from tests.conftest import StartServer
from tests.e2e.conftest import Reference, newest
from tests.e2e.metrics import read_metrics, scrape, total
from tests.e2e.test_drain import HANG_S, PATIENCE_S, Load
from tests.e2e.test_metrics import make_request
from tests.e2e.test_start import append_a_byte, refuse
from tests.mnist import Digits
from tests.promql import Series
from tests.server_process import SERVING, ServerProcess, start_process

CALLERS = 8
READY = "one more worker on"


@pytest.fixture(scope="module")
def digits_alone(models_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the digits model alone: many servers start here."""
    root = tmp_path_factory.mktemp("models")
    root.joinpath("digits").symlink_to((models_folder / "digits").absolute())
    return root


@pytest.fixture(scope="module")
def fleet(start_server: StartServer, digits_alone: Path) -> ServerProcess:
    """Two workers, with metrics. Tests that end one of them wait for the next."""
    return start_server("--workers", "2", "--metrics-port", "0", "--log-level", "info", models=digits_alone)


def find_workers(supervisor: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()]


def count_connections(pid: int, port: int) -> int:
    """How many callers of that port the process talks to."""
    own = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    here = f":{port:04X}"
    return sum(fields[1].endswith(here) and fields[3] == "01" and f"socket:[{fields[9]}]" in own for fields in lines)


def wait_for_end(pids: list[int]) -> None:
    """Until these processes, which are not our children, are gone."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        with os.fdopen(descriptor):
            assert select.select([descriptor], [], [], HANG_S)[0], f"{pid} lives on"


def test_it_is_one_server_to_whoever_waits_for_it(fleet: ServerProcess) -> None:
    assert len(SERVING.findall(fleet.stderr)) == 1
    assert fleet.stderr.index(READY) < fleet.stderr.index("serving on")
    assert [fleet.stderr.count(f" INFO [w{number}] digitserve.app: {READY} {fleet.address}") for number in (1, 2, 3)] == [
        1,
        1,
        0,
    ]
    assert fleet.stderr.count("settings: ") == 1


def test_both_processes_answer(fleet: ServerProcess, mnist_test: Digits, reference: Reference) -> None:
    request = make_request(mnist_test.images[0].tobytes())
    channels = [fleet.connect() for _ in range(24)]
    stubs = [RecognizerStub(channel) for channel in channels]  # type: ignore[no-untyped-call]
    assert [stub.Recognize(request).text for stub in stubs] == reference.labels[:1] * 24
    connections = [count_connections(pid, int(fleet.address.rpartition(":")[2])) for pid in find_workers(fleet.pid)]
    assert len(connections) == 2
    assert sum(connections) >= 24
    assert min(connections) > 0, "24 connections all went to one worker"
    for channel in channels:
        channel.close()


class Callers:
    """Clients as ours is, which repeat what ends UNAVAILABLE; they call until the block ends."""

    def __init__(self, server: ServerProcess, digits: Digits, reference: Reference) -> None:
        self.ends: Counter[str] = Counter()
        self._server, self._digits, self._reference = server, digits, reference
        self._done = threading.Event()
        self._ended = threading.Condition()

    def __enter__(self) -> Callers:
        self._pool = ThreadPoolExecutor(CALLERS)
        self._calls = [self._pool.submit(self._call, number) for number in range(CALLERS)]
        self.go_on(200)
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._pool.shutdown()
        for call in self._calls:
            call.result()

    def go_on(self, calls: int) -> None:
        """Returns once so many more calls have ended."""
        with self._ended:
            target = self.ends.total() + calls
            assert self._ended.wait_for(lambda: self.ends.total() >= target, HANG_S), self.ends

    def _call(self, number: int) -> None:
        with Client(self._server.address) as client:
            while not self._done.is_set():
                try:
                    text = client.recognize(self._digits.images[number]).text
                    end = "right" if text == self._reference.labels[number] else "wrong"
                except Exception as error:
                    end = repr(error)
                with self._ended:
                    self.ends[end] += 1
                    self._ended.notify()
                number = (number + CALLERS) % len(self._digits.images)


def test_kill_9_of_a_worker_under_load_is_noticed_by_nobody(
    fleet: ServerProcess, mnist_test: Digits, reference: Reference
) -> None:
    seen: list[Series] = []
    with Callers(fleet, mnist_test, reference) as callers:
        seen.append(read_metrics(fleet))
        ready, before = fleet.stderr.count(READY), find_workers(fleet.pid)
        os.kill(before[0], signal.SIGKILL)
        seen.append(read_metrics(fleet))
        fleet.wait_for_lines(READY, ready + 1)
        callers.go_on(200)
        seen.append(read_metrics(fleet))
    assert set(callers.ends) == {"right"}, callers.ends
    assert len(set(find_workers(fleet.pid)) - set(before)) == 1, "one is new"
    check_sums(seen, restarts=1)
    assert re.search(r"ERROR digitserve\.workers: worker \d was ended by SIGKILL \(1 in a row\); it starts again", fleet.stderr)


def check_sums(seen: list[Series], restarts: int) -> None:
    """No counter has fallen, though one of those who counted is gone."""
    for earlier, later in pairwise(seen):
        for name in earlier:
            if name.endswith(("_total", "_bucket", "_sum", "_count")):
                fallen = {labels for labels, value in earlier[name].items() if later[name].get(labels, -1.0) < value}
                assert not fallen, name
    assert total(seen[-1], "digitserve_calls_total") > total(seen[0], "digitserve_calls_total") + 300
    assert total(seen[-1], "digitserve_worker_restarts_total") == restarts
    assert [total(series, "digitserve_serving") for series in seen] == [1.0] * len(seen)
    assert (total(seen[0], "digitserve_workers"), total(seen[-1], "digitserve_workers")) == (2, 2)
    assert total(seen[-1], "digitserve_model_info", model="digits") == 1


def test_a_worker_that_hangs_is_left_out_of_the_scrape_and_what_it_counted_is_not(fleet: ServerProcess) -> None:
    before = read_metrics(fleet)
    assert total(before, "digitserve_workers") == 2
    hanging = find_workers(fleet.pid)[0]
    os.kill(hanging, signal.SIGSTOP)
    try:
        without = read_metrics(fleet)
    finally:
        os.kill(hanging, signal.SIGCONT)
    assert total(without, "digitserve_workers") == 1
    assert total(without, "digitserve_calls_total") >= total(before, "digitserve_calls_total") > 0
    assert total(without, "process_resident_memory_bytes") < total(before, "process_resident_memory_bytes")
    while total(read_metrics(fleet), "digitserve_workers") < 2:
        pass


def test_a_worker_that_is_told_to_end_drains_and_is_replaced(fleet: ServerProcess) -> None:
    ready, drained = fleet.stderr.count(READY), fleet.stderr.count("drained")
    os.kill(find_workers(fleet.pid)[0], signal.SIGTERM)
    fleet.wait_for_lines(READY, ready + 1)
    assert fleet.stderr.count("drained") == drained + 1
    assert "ended with exit status 0 (" in fleet.stderr


def test_all_drain_together_and_nothing_is_lost(
    start_server: StartServer, digits_alone: Path, mnist_test: Digits, reference: Reference
) -> None:
    server = start_server("--workers", "2", "--drain-delay-s", "0.5", models=digits_alone)

    async def run() -> list[Load]:
        # Without retries, which would hide what the server loses.
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        channels = [grpc.aio.insecure_channel(server.address, options) for _ in range(4)]
        loads = [Load(RecognizerStub(channel), mnist_test, reference) for channel in channels]  # type: ignore[no-untyped-call]
        watching = [asyncio.create_task(load.watch(channel)) for load, channel in zip(loads, channels, strict=True)]
        working = [asyncio.create_task(load.work(number)) for load in loads for number in range(4)]
        await asyncio.gather(*(load.flowing.wait() for load in loads))
        server.terminate()
        os.kill(server.pid, signal.SIGINT)
        await asyncio.wait_for(asyncio.gather(*working, *watching), HANG_S)
        for channel in channels:
            await channel.close()
        return loads

    loads = asyncio.run(run())
    assert server.wait(PATIENCE_S) == 0
    for load in loads:
        assert {end for end, _ in load.ends} <= {"right", "UNAVAILABLE"}
        assert load.ends["UNAVAILABLE", "before"] == 0
        assert load.ends["right", "after"] > 0
    assert server.stderr.count("draining: ") == 2, "each of them drains once"
    assert server.stderr.splitlines()[-1].endswith("digitserve.workers: all workers have drained")


def test_none_lives_on_whose_supervisor_was_killed(digits_alone: Path) -> None:
    with start_process("--port", "0", "--workers", "2", "--models", str(digits_alone)) as process:
        assert process.stderr
        while not SERVING.search(line := process.stderr.readline()):
            assert line, "it did not start"
        workers = find_workers(process.pid)
        assert len(workers) == 2
        process.kill()
        wait_for_end(workers)
        said = process.stderr.read()
    assert said.count(": drained") == 2, said
    assert "Traceback" not in said


def test_what_a_worker_cant_do_is_told_once(models_folder: Path, digits_alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "digits" / newest(models_folder).name
    shutil.copytree(newest(models_folder), folder)
    append_a_byte(folder, {})
    status, line = refuse("--port", "0", "--workers", "2", "--models", str(tmp_path))
    assert status == 1
    assert line.startswith(f"{folder}")
    assert "is not the file that model.json describes" in line


def test_a_port_that_is_taken_is_told_before_any_worker_starts(fleet: ServerProcess, digits_alone: Path) -> None:
    flags = ("--workers", "2", "--models", str(digits_alone))
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        assert refuse("--port", taken, *flags) == (1, f"can't listen on 127.0.0.1:{taken}: Address already in use")
    ours = fleet.address.rpartition(":")[2]
    for alone in (flags, flags[2:]):
        line = f"can't listen on 127.0.0.1:{ours}: Address already in use"
        assert refuse("--port", ours, *alone) == (1, line), "another fleet is another server"
    metrics = re.findall(r"metrics at http://127\.0\.0\.1:(\d+)/", fleet.stderr)[0]
    line = f"can't listen on 127.0.0.1:{metrics}: Address already in use"
    assert refuse("--port", "0", "--metrics-port", metrics, *flags) == (1, line)
    assert scrape(fleet)


def test_a_port_that_is_held_is_nobody_elses_though_nobody_listens() -> None:
    with reserve_address("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        with pytest.raises(ListenError, match=f"^can't listen on 127.0.0.1:{port}: Address already in use$"):
            check_address("127.0.0.1", port)
    check_address("127.0.0.1", port)


def test_a_port_can_be_held_where_connections_of_the_last_server_linger() -> None:
    with socket.create_server(("127.0.0.1", 0)) as last:
        port = last.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as caller:
            last.accept()[0].close()  # who closes first remembers the connection for a minute
            assert caller.recv(1) == b""
    with reserve_address("127.0.0.1", port) as held:
        assert held.getsockname()[1] == port
