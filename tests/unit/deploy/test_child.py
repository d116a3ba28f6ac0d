"""A child's lines are passed on once, and its end is reported in words."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from deploy.child import Child, DiedError
from deploy.main import choose_signals

LONG_S = 60.0


def watch(script: str, then: Callable[[Child], Awaitable[str]]) -> str:
    async def run() -> str:
        child = await Child.start("worker", [sys.executable, "-c", script], Path())
        try:
            return await then(child)
        finally:
            await child.stop(LONG_S)

    return asyncio.run(run())


async def report(child: Child) -> str:
    await child.ended
    return str(child.report())


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("", "worker ended with exit status 0"),
        ("import sys; sys.exit(3)", "worker ended with exit status 3"),
        ("import os; os.kill(os.getpid(), 9)", "worker was ended by SIGKILL"),
        ("import sys; print('a'); sys.exit('b')", "worker ended with exit status 1; its last lines stand above"),
    ],
)
def test_its_end_is_reported(script: str, told: str) -> None:
    assert watch(f"import sys; sys.stdout.reconfigure(line_buffering=True)\n{script}", report) == told


def test_what_it_says_is_passed_on_once(capfd: pytest.CaptureFixture[str]) -> None:
    told = watch("for number in range(3): print(number)", report)
    assert capfd.readouterr().err == "0\n1\n2\n"
    assert told == "worker ended with exit status 0; its last lines stand above"


def test_a_very_long_line_ends_nobody() -> None:
    async def then(child: Child) -> str:
        return (await child.wait_for(re.compile("ready (.)")))[1]

    assert watch("print('x' * 1_000_000); print('ready 1')", then) == "1"


def test_who_ends_before_he_says_it_is_reported() -> None:
    async def then(child: Child) -> str:
        with pytest.raises(DiedError, match="worker ended with exit status 0"):
            await child.wait_for(re.compile("ready"))
        return "reported"

    assert watch("print('not yet')", then) == "reported"


def test_who_does_not_stop_is_killed() -> None:
    async def then(child: Child) -> str:
        await child.wait_for(re.compile("deaf"))
        return str(await child.stop(0.0))

    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    assert watch(deaf, then) == str(-signal.SIGKILL)


def test_under_nohup_a_terminal_that_closes_is_not_heard() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert choose_signals() == [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert choose_signals() == [signal.SIGINT, signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)
