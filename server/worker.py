"""`python -m server.worker`: one of several server processes on a port. supervisor.py starts it and holds the other end of its
descriptor 0, on which the two exchange JSON objects, one a line."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from server.config import read_settings
from server.logs import set_up_logging
from server.main import serve_here
from server.metrics import METRICS

if TYPE_CHECKING:
    from server.app import App
    from server.recorder import Recorder


def main() -> int:
    """Serves until it is told to stop, or nobody holds the other end. Returns the exit status: 0 drained, 1 can't start."""
    number, *flags = sys.argv[1:]
    settings = read_settings(flags, {})
    set_up_logging(settings.log_level, settings.log_format, worker=int(number))
    with socket.socket(fileno=0) as line:
        if reason := serve_here(settings, partial(_answer, line)):
            line.send(_write(failed=reason))
    return 1 if reason else 0


async def _answer(line: socket.socket, app: App, asked_to_stop: asyncio.Event) -> None:
    """Says that it serves, and its numbers whenever it is asked."""
    reader, writer = await asyncio.open_unix_connection(sock=line)
    with closing(writer), suppress(OSError):  # the supervisor was killed, with words of ours unread
        writer.write(_write(serving=app.address))
        while await reader.readline():
            writer.write(_write(metrics=await _read_all(app.recorder) if app.recorder else {}))
    asked_to_stop.set()


async def _read_all(recorder: Recorder) -> dict[str, Any]:
    """What totals.py calls a snapshot, for JSON. As with Scrape, no call waits for the whole of it."""
    told = {}
    for metric in METRICS:
        told[metric.name] = list(metric.read(recorder))
        await asyncio.sleep(0)
    return told


def _write(**told: Any) -> bytes:
    return json.dumps(told).encode() + b"\n"


if __name__ == "__main__":
    sys.exit(main())
