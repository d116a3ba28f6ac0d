"""The page as people get it: a server, and Envoy in front of it with the built page."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.proxy_process import ProxyProcess
from tests.server_process import ROOT, ServerProcess

PAGE = ROOT / "clients/web/dist"


class Site:
    """Server and Envoy inside a `with` statement. `origin` is where the page is."""

    def __init__(self, models: Path, folder: Path) -> None:
        self._flags = ("--models", str(models))
        self._folder = folder

    def __enter__(self) -> Self:
        self.server = ServerProcess("--port", "0", *self._flags).__enter__()
        try:
            self.proxy = ProxyProcess(self.server.address, self._folder, PAGE).__enter__()
        except BaseException:
            self._stop_server()
            raise
        self.origin = f"http://127.0.0.1:{self.proxy.port}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.proxy.__exit__(kind, error, trace)
        self._stop_server()

    def kill_server(self) -> None:
        """Without a word of warning, as a machine dies."""
        os.kill(self.server.pid, signal.SIGKILL)
        assert self.server.wait() == -signal.SIGKILL

    def restart_server(self) -> None:
        """Another one, where the killed one was."""
        port = self.server.address.rpartition(":")[2]
        self.server = ServerProcess("--port", port, *self._flags).__enter__()

    def _stop_server(self) -> None:
        self.server.__exit__(None, None, None)
