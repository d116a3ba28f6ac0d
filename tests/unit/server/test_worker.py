"""A worker's end of the line to its supervisor."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from server import worker
from server.config import Settings
from server.metrics import METRICS
from tests.unit.server.test_scrape import make_recorder

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def hold_the_line(talk: Talk) -> bool:
    """Plays the supervisor. Whether the worker was asked to stop once that was over."""

    async def run() -> bool:
        theirs, ours = socket.socketpair()
        app: Any = SimpleNamespace(address="here:1", recorder=make_recorder())
        asked_to_stop = asyncio.Event()
        answering = asyncio.create_task(worker._answer(theirs, app, asked_to_stop))
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        await talk(reader, writer)
        assert not asked_to_stop.is_set()
        writer.close()
        await asyncio.wait_for(answering, 30)
        theirs.close()
        return asked_to_stop.is_set()

    return asyncio.run(run())


def test_it_says_that_it_serves_and_its_numbers_whenever_it_is_asked() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert json.loads(await reader.readline()) == {"serving": "here:1"}
        for _ in range(2):
            writer.write(b"\n")
            told = json.loads(await reader.readline())["metrics"]
            assert list(told) == [metric.name for metric in METRICS]
            assert told["digitserve_queue_images"] == [[["digits", "1"], 5]]
            assert told["digitserve_batch_images"][0][1][1] == 3

    assert hold_the_line(talk), "the end of the line asks it to stop"


def test_a_supervisor_that_dies_with_an_answer_unread_asks_it_to_stop_too() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"\n" * 50)

    assert hold_the_line(talk)


@pytest.mark.parametrize("reason", ["", "no model"])
def test_its_status_says_whether_it_could_start(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(worker.sys, "argv", ["worker", "3", "--port=7", "--workers=4"])  # type: ignore[attr-defined]
    monkeypatch.setattr(worker.socket, "socket", lambda fileno: theirs)  # type: ignore[attr-defined]
    given: list[int] = []

    def serve_here(settings: Settings, answer: object) -> str:
        given.append(settings.port)
        return reason

    monkeypatch.setattr(worker, "set_up_logging", lambda level, log_format, worker: given.append(worker))
    monkeypatch.setattr(worker, "serve_here", serve_here)
    assert worker.main() == (1 if reason else 0)
    assert given == [3, 7]
    with ours:
        assert ours.recv(1000) == (b'{"failed": "no model"}\n' if reason else b"")
