"""Which signals ask a server to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from server.signals import STOPPING, ignore_stop, listen_for_stop


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_of_them_is_heard(number: signal.Signals) -> None:
    async def ask() -> None:
        asked_to_stop = listen_for_stop()
        os.kill(os.getpid(), number)
        await asyncio.wait_for(asked_to_stop.wait(), 30)
        ignore_stop()

    signal.signal(number, signal.SIG_DFL)
    asyncio.run(ask())


def test_under_nohup_a_terminal_that_closes_is_not_heard() -> None:
    async def listen() -> object:
        listen_for_stop()
        return signal.getsignal(signal.SIGHUP)

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert asyncio.run(listen()) == signal.SIG_IGN
