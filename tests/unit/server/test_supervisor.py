"""Who is started again, when, and what is said of it. (Real processes: tests/e2e/test_workers.py.)"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from server import supervisor
from server.config import Settings
from server.supervisor import Fleet, Worker, WorkerError, choose_wait_s, share_out

TWO = Settings(workers="2")


def test_who_keeps_dying_waits_longer_and_not_for_ever() -> None:
    assert [choose_wait_s(deaths) for deaths in range(1, 10)] == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert choose_wait_s(100_000) == 30


@pytest.mark.parametrize(("workers", "instances", "expected"), [("2", 0, 4), ("3", 0, 2), ("9", 0, 1), ("2", 7, 7)])
def test_the_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch, workers: str, instances: int, expected: int) -> None:
    monkeypatch.setattr(supervisor, "count_cores", lambda: 8)
    shared = share_out(Settings(workers=workers, instances=instances, port=0), 1234)
    assert shared == Settings(workers=workers, instances=expected, port=1234)


class Puppet(Worker):
    """A worker without a process: it serves and ends when it is told to."""

    made: list[Puppet]

    def __init__(self, number: int, on_serving: Callable[[], object]) -> None:
        super().__init__(number, on_serving)
        self.runs = 0
        self.signals: list[signal.Signals] = []
        self.obeys = True
        self.last_status = 0
        self.made.append(self)

    async def run(self, settings: Settings) -> str:
        self.runs += 1
        self.status, self.snapshot = None, {}
        self._end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        end = await self._end
        self.address = ""
        return end

    def serve(self) -> None:
        self._hear(serving=f"here:{self.number}")

    def end(self, status: int, how: str) -> None:
        self.status = status
        self._end.set_result(how)

    def signal(self, number: signal.Signals) -> None:
        self.signals.append(number)
        if not self._end.done() and (self.obeys or number is signal.SIGKILL):
            self.end(self.last_status if self.obeys else -number, f"heard {number.name}")


async def turn(rounds: int = 5) -> None:
    """Lets whatever can happen without time happen."""
    for _ in range(rounds):
        await asyncio.sleep(0)


Test = Callable[[Fleet, list[Puppet]], Coroutine[Any, Any, None]]


def play(test: Test, monkeypatch: pytest.MonkeyPatch, clock: Callable[[], float] = lambda: 0.0) -> None:
    monkeypatch.setattr(supervisor, "Worker", Puppet)
    Puppet.made = []

    async def run() -> None:
        fleet = Fleet(TWO, clock)
        fleet.start()
        await turn()
        await test(fleet, Puppet.made)
        await fleet.drain()

    asyncio.run(asyncio.wait_for(run(), 30))


def test_the_fleet_serves_once_all_of_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(fleet: Fleet, workers: list[Puppet]) -> None:
        workers[1].serve()
        assert not fleet.serving.done()
        workers[0].serve()
        assert fleet.serving.result() == "here:1"
        assert [worker.runs for worker in workers] == [1, 1]

    play(test, monkeypatch)


@pytest.mark.parametrize(
    ("reason", "told"), [("", "worker 1 was ended by SIGSEGV before all served"), ("no model", "no model")]
)
def test_the_first_that_cant_start_is_named_and_none_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reason: str, told: str
) -> None:
    async def test(fleet: Fleet, workers: list[Puppet]) -> None:
        workers[1].last_status = 1  # it fails, too, while all are told to stop
        workers[0].reason = reason
        workers[0].end(1, "was ended by SIGSEGV")
        await turn()
        with pytest.raises(WorkerError, match=f"^{told}$"):
            fleet.serving.result()
        assert [worker.runs for worker in workers] == [1, 1]

    play(test, monkeypatch)
    assert caplog.text == ""


def test_who_dies_later_is_started_again_and_who_keeps_dying_waits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr(supervisor, "choose_wait_s", lambda deaths: 0.0)

    async def test(fleet: Fleet, workers: list[Puppet]) -> None:
        nonlocal now
        for worker in workers:
            worker.serve()
        for lived_s in (1, 2, 31, 3):
            now += lived_s
            workers[0].end(-9, "was ended by SIGKILL")
            while workers[0].status is not None:
                await asyncio.sleep(0)
        assert [worker.runs for worker in workers] == [5, 1]

    play(test, monkeypatch, lambda: now)
    said = [record.getMessage() for record in caplog.records]
    text = "worker 1 was ended by SIGKILL ({} in a row); it starts again in 0.0 s"
    assert said == [text.format(deaths) for deaths in (1, 2, 1, 2)]


def test_the_drain_waits_for_no_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "choose_wait_s", lambda deaths: 3600.0)

    async def test(fleet: Fleet, workers: list[Puppet]) -> None:
        for worker in workers:
            worker.serve()
        workers[0].end(1, "ended with exit status 1")
        await turn()

    play(test, monkeypatch)
    assert [worker.runs for worker in Puppet.made] == [1, 1]


@pytest.mark.parametrize(("status", "reason", "lines"), [(0, "", 0), (-15, "", 0), (1, "no model", 0), (1, "", 1), (-9, "", 1)])
def test_who_drains_badly_is_named_and_who_had_not_started_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int, reason: str, lines: int
) -> None:
    async def test(fleet: Fleet, workers: list[Puppet]) -> None:
        for worker in workers:
            worker.serve()
        workers[0].last_status, workers[0].reason = status, reason

    play(test, monkeypatch)
    assert len(caplog.records) == lines


def test_a_stop_during_the_start_is_no_failure(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async def test(fleet: Fleet, workers: list[Puppet]) -> None:
        workers[0].serve()
        await fleet.drain()
        assert not fleet.serving.done()

    play(test, monkeypatch)
    assert caplog.records == []


def test_who_does_not_drain_in_time_is_killed_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "MARGIN_S", -20.0)  # the default grace

    async def test(fleet: Fleet, workers: list[Puppet]) -> None:
        for worker in workers:
            worker.serve()
        workers[1].obeys = False

    play(test, monkeypatch)
    assert [worker.signals[:2] for worker in Puppet.made] == [[signal.SIGTERM, signal.SIGKILL]] * 2
    assert [record.getMessage() for record in caplog.records] == ["worker 2 heard SIGKILL while it drained"]


def collect(fleet: Fleet) -> Coroutine[Any, Any, dict[str, float]]:
    """What the fleet tells, of what has no labels."""

    async def run() -> dict[str, float]:
        families = [family async for family in fleet.collect()]
        return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}

    return run()


def test_what_a_worker_told_before_it_was_replaced_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "choose_wait_s", lambda deaths: 0.0)

    async def answer(worker: Puppet) -> bool:
        worker.snapshot = {"digitserve_padding_images_total": {(): 5}, "digitserve_workers": {(): 1}}
        return True

    async def die_after_answering(worker: Puppet) -> bool:
        await answer(worker)
        if worker.number == 1:
            worker.end(-9, "was ended by SIGKILL")
            while worker.status is not None:
                await asyncio.sleep(0)
            worker.serve()
        return True

    async def test(fleet: Fleet, workers: list[Puppet]) -> None:
        for worker in workers:
            worker.serve()
        monkeypatch.setattr(Puppet, "ask", answer)
        assert (await collect(fleet))["digitserve_padding_images_total"] == 10
        monkeypatch.setattr(Puppet, "ask", die_after_answering)
        assert (await collect(fleet))["digitserve_padding_images_total"] == 10, "the new one has counted nothing"
        monkeypatch.setattr(Puppet, "ask", answer)
        told = await collect(fleet)
        assert (told["digitserve_padding_images_total"], told["digitserve_worker_restarts_total"]) == (15, 1)

    play(test, monkeypatch)


def test_who_does_not_answer_in_time_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "SCRAPE_PATIENCE_S", 0.001)

    async def test(fleet: Fleet, workers: list[Puppet]) -> None:
        told = await collect(fleet)
        assert (told["digitserve_workers"], told["digitserve_serving"]) == (0, 0), "nobody serves yet"
        for worker in workers:
            worker.serve()
            worker._writer = SimpleNamespace(write=lambda asked: None)  # type: ignore[assignment]
        assert (await collect(fleet))["digitserve_workers"] == 0

    play(test, monkeypatch)


class Process:
    """Stands for a process that ends at its first signal."""

    pid = 77
    returncode: int | None = None

    def send_signal(self, number: signal.Signals) -> None:
        self.returncode = -number

    async def wait(self) -> int:
        assert self.returncode is not None
        return self.returncode


def test_a_worker_that_is_being_started_is_asked_to_stop_once_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(*command: str, **how: Any) -> Process:
        worker.ask_to_stop()
        return Process()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    worker = Worker(1, lambda: None)
    assert asyncio.run(worker.run(TWO)) == "was ended by SIGTERM"


def test_a_process_that_cant_be_had_is_a_death_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(*command: str, **how: Any) -> Process:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    assert asyncio.run(Worker(1, lambda: None).run(TWO)) == "can't be started: Resource temporarily unavailable"


@pytest.mark.parametrize(("socket_path", "own"), [("/run/s", "/run/s.3"), ("", "")])
def test_a_worker_is_told_its_own_socket(monkeypatch: pytest.MonkeyPatch, socket_path: str, own: str) -> None:
    told: list[str] = []

    async def start(*command: str, **how: Any) -> Process:
        told.extend(command)
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    asyncio.run(Worker(3, lambda: None).run(Settings(workers="4", socket=socket_path)))
    assert f"--socket={own}" in told


def hear(*told: bytes, status: int = 1) -> tuple[Worker, str]:
    """A worker whose process has said this and then ended, and how that is told."""
    served: list[str] = []

    async def start(*command: str, stdin: int, **how: Any) -> Process:
        with socket.fromfd(stdin, socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.sendall(b"".join(told))
        process = Process()
        process.returncode = status
        return process

    worker = Worker(1, lambda: served.append(worker.address))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "create_subprocess_exec", start)
        end = asyncio.run(worker.run(TWO))
    assert served == (["h:1"] if b"h:1" in told[0] else [])
    assert worker.address == "", "it serves no more"
    return worker, end


def test_what_a_worker_says_is_heard_to_the_end() -> None:
    serving, metrics = (json.dumps(each).encode() + b"\n" for each in ({"serving": "h:1"}, {"metrics": {"a": [[["x"], 2]]}}))
    worker, end = hear(serving, metrics)
    assert worker.snapshot == {"a": {("x",): 2}}
    assert end == "ended with exit status 1"


def test_its_own_reason_says_more_than_its_status() -> None:
    worker, end = hear(b'{"failed": "no model"}\n')
    assert (worker.reason, end) == ("no model", "can't start: no model")


def test_who_is_killed_in_the_middle_of_a_word_has_said_what_came_before() -> None:
    _, end = hear(b'{"serving": "h:1"}\n', b'{"metr', status=-9)
    assert end == "was ended by SIGKILL"


def test_it_says_nothing_of_its_own_accord(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "digitserve"):
        hear(b"")
    assert caplog.records == []
