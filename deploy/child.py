"""One process that was started here: what it said, and its end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LONGEST_LINE_BYTES = 16 * 1024 * 1024


class DiedError(Exception):
    """A process ended that should have gone on; the message says which and how."""


class Child:
    """A process in a group of its own, so that Ctrl-C reaches it in the right order: through its parent.

    What it says goes to stderr.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self._has_spoken = False
        self._said: list[tuple[re.Pattern[str], asyncio.Future[re.Match[str]]]] = []
        self.ended = asyncio.create_task(self._follow())

    @classmethod
    async def start(cls, name: str, command: Sequence[str], folder: Path) -> Child:
        """Starts `command` in `folder`.

        Raises:
            OSError: there is no such program.
        """
        output = asyncio.subprocess.STDOUT
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=output,
            start_new_session=True, limit=LONGEST_LINE_BYTES,
        )  # fmt: skip
        return cls(name, process)

    async def wait_for(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """The first match of `pattern` in a line that it says from now on.

        Raises:
            DiedError: it ended before.
        """
        said: asyncio.Future[re.Match[str]] = asyncio.get_running_loop().create_future()
        self._said.append((pattern, said))
        either: set[asyncio.Future[Any]] = {said, self.ended}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not said.done():
            raise self.report()
        return said.result()

    def report(self) -> DiedError:
        """How it ended."""
        status = self._process.returncode
        how = f"was ended by {signal.Signals(-status).name}" if status and status < 0 else f"ended with exit status {status}"
        return DiedError(f"{self.name} {how}" + ("; its last lines stand above" if self._has_spoken else ""))

    async def stop(self, timeout_s: float) -> int:
        """SIGTERM, and SIGKILL if that does not end it in time. Returns the exit status."""
        self._signal(signal.SIGTERM)
        await asyncio.wait({self.ended}, timeout=timeout_s)
        if not self.ended.done():
            self._signal(signal.SIGKILL)
        return await self.ended

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            os.kill(self._process.pid, number)

    async def _follow(self) -> int:
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            line = raw.decode(errors="replace").rstrip()
            print(line, file=sys.stderr, flush=True)
            self._has_spoken = True
            self._tell(line)
        return await self._process.wait()

    def _tell(self, line: str) -> None:
        for pattern, said in self._said:
            if (found := pattern.search(line)) and not said.done():
                said.set_result(found)
