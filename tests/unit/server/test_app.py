"""The order of start and drain, with everything that would open a socket played by stand-ins."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server import app
from server.config import Settings
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
    """Stands for server, servicer, catalog, health, batcher and executor at once, and writes down what is asked of it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.refused = 0
        self.pressing = 0  # rounds in which calls still come

    async def look_no_more(self) -> None:
        self.done.append("look no more")

    def drain(self) -> None:
        self.done.append("not serving")

    async def pause(self, seconds: float) -> None:
        self.done.append(f"pause {seconds}")
        if self.pressing:
            self.pressing -= 1
            self.refused += 1

    def refuse(self) -> None:
        self.done.append("refuse")

    async def stop(self, grace_s: float) -> None:
        self.done.append(f"stop {grace_s}")

    def close(self) -> Done:
        self.done.append("close")
        return Done()

    def shutdown(self) -> None:
        self.done.append("shutdown")


def drain(monkeypatch: pytest.MonkeyPatch, recorder: Recorder) -> list[str]:
    anything: Any = recorder
    served = Served(MODEL_CARD, anything, CPU)
    catalog: Any = SimpleNamespace(models={"": served, "digits": served}, close=recorder.look_no_more)
    ours = app.App(anything, anything, anything, catalog, anything, "127.0.0.1:1", anything)

    async def run() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "sleep", recorder.pause)
            await app.drain(ours, Settings(drain_delay_s=3.0, drain_grace_s=7.0))

    asyncio.run(run())
    return recorder.done


def test_draining_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drain(monkeypatch, Recorder()) == [
        "look no more",
        "not serving",
        "pause 3.0",
        "close",  # health: its watchers
        "refuse",
        "pause 0.1",
        "stop 7.0",
        "close",  # the one batcher, once
        "shutdown",
        "close",  # the metrics, after all that they could tell of
    ]


def test_calls_that_still_come_are_refused_before_the_stop_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = Recorder(), Recorder()
    few.pressing, many.pressing = 4, 10_000
    assert drain(monkeypatch, few).count("pause 0.1") == 4
    assert drain(monkeypatch, many).count("pause 0.1") == 20


def test_draining_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "digitserve"):
        drain(monkeypatch, Recorder())
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["draining", "drained"]
