"""SIGTERM, SIGINT and SIGHUP, which ask a process of ours to stop."""

from __future__ import annotations

import asyncio
import signal

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def listen_for_stop() -> asyncio.Event:
    """An event that they set, from now on; but whoever started us under nohup wants no SIGHUP heard."""
    asked_to_stop = asyncio.Event()
    for number in STOPPING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    return asked_to_stop


def ignore_stop() -> None:
    """Asking again, now that all is done, must not spoil the exit status."""
    for number in STOPPING:
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
