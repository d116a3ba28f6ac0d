"""The order of start and drain, with everything that would open a socket played by stand-ins."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server import app
from server.accepted import Accepted
from server.config import Settings
from server.errors import Draining
from server.repository import ModelCard
from server.servicer import Served
from server.session import CPU


def test_channel_options_bound_messages_both_ways_and_share_no_port() -> None:
    options = dict(app.channel_options(Settings(max_message_bytes=1234)))
    assert options["grpc.max_receive_message_length"] == options["grpc.max_send_message_length"] == 1234
    assert options["grpc.so_reuseport"] == 0
    assert dict(app.channel_options(Settings(workers="2")))["grpc.so_reuseport"] == 1, "but workers do"


class Done:
    """What a batcher's close() gives to wait for, already over; health's close() gives nothing to wait for."""

    def __await__(self) -> Iterator[None]:
        return iter(())


MODEL_CARD = ModelCard("digits", "1", Path("unused"), (), ("0",), 28, 8, 0.5, 0.9, 10, "")


class Recorder:
    """Stands for server, catalog, health, batcher and executor at once, and writes down what is asked of it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.accepted: Accepted
        self.pressing = 0  # rounds in which calls still come
        self.running = 0  # how many more times somebody must wait for them

    async def look_no_more(self) -> None:
        self.done.append("look no more")

    def drain(self) -> None:
        self.done.append("not serving")

    async def pause(self, seconds: float) -> None:
        self.done.append(f"pause {seconds}")
        if not self.accepted.draining.done():
            return
        if self.pressing:
            self.pressing -= 1
            with pytest.raises(Draining), self.accepted:
                pass
        elif self.accepted.running:
            self.running -= 1
            self.accepted.running = int(self.running > 0)

    async def stop(self, grace_s: float) -> None:
        self.done.append(f"stop {grace_s:.0f}")

    def close(self) -> Done:
        self.done.append("close")
        return Done()

    def shutdown(self) -> None:
        self.done.append("shutdown")


def drain(monkeypatch: pytest.MonkeyPatch, recorder: Recorder, grace_s: float = 7.0) -> list[str]:
    anything: Any = recorder
    served = Served(MODEL_CARD, anything, CPU)
    catalog: Any = SimpleNamespace(models={"": served, "digits": served}, close=recorder.look_no_more)
    ours = app.App(anything, anything, anything, catalog, anything, "127.0.0.1:1", anything)

    async def run() -> None:
        recorder.accepted = Accepted()
        recorder.accepted.running = int(recorder.running > 0)
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "sleep", recorder.pause)
            await app.drain(ours, Settings(drain_delay_s=3.0, drain_grace_s=grace_s))

    asyncio.run(run())
    return recorder.done


def test_draining_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drain(monkeypatch, Recorder()) == [
        "look no more",
        "not serving",
        "pause 3.0",
        "close",  # health: its watchers
        "pause 0.1",
        "stop 7",
        "close",  # the one batcher, once
        "shutdown",
        "close",  # the metrics, after all that they could tell of
    ]


def test_calls_that_still_come_are_refused_before_the_stop_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = Recorder(), Recorder()
    few.pressing, many.pressing = 4, 10_000
    assert drain(monkeypatch, few).count("pause 0.1") == 5
    assert drain(monkeypatch, many).count("pause 0.1") == 20


def test_grpc_is_stopped_once_every_call_is_answered_but_the_wait_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped earlier, it closes a connection with the last answers unsent, now and then."""
    few, many = Recorder(), Recorder()
    few.running, many.running = 5, sys.maxsize  # one of which the tenth of a second is enough for
    done = drain(monkeypatch, few)
    assert done[done.index("pause 0.1") + 1 : done.index("stop 7")] == ["pause 0.01"] * 4
    assert drain(monkeypatch, many, grace_s=0.05)[-5:-3] == ["pause 0.01", "stop 0"]


def test_draining_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "digitserve"):
        drain(monkeypatch, Recorder())
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["draining", "drained"]
