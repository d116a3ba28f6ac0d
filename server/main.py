"""`python -m server`: reads the settings, says what it does, and turns what stops it into one line."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

# Before numpy is first imported: its linear algebra would wake a thread for each core, for products of some microseconds.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from server.config import SettingError, Settings, describe, list_unknown, read_command
from server.cores import count_workers, keep_to_one_core
from server.logs import set_up_logging

if TYPE_CHECKING:
    from server.app import OnServing

UNKNOWN = "no setting is called {}: ignored"
logger = logging.getLogger("digitserve")


def main() -> int:
    """Serves until it is told to stop. Returns the exit status: 0 drained (or checked), 1 can't start, 2 wrong settings."""
    try:
        settings, check = read_command(sys.argv[1:], os.environ)
    except SettingError as error:
        return _fail(f"bad setting: {error}", 2)
    if lacking := _find_lacking(settings):
        return _fail(lacking, 2)
    unknown = ", ".join(list_unknown(os.environ))
    if check:
        if unknown:
            print(f"digitserve: {UNKNOWN.format(unknown)}", file=sys.stderr)
        print(describe(settings))
        return 0
    workers = count_workers(settings.workers)
    set_up_logging(settings.log_level, settings.log_format)
    logger.info("settings: %s", describe(settings))
    if unknown:
        logger.warning("%s", UNKNOWN.format(unknown))
    settings = replace(settings, workers=str(workers))
    reason = serve_here(settings) if workers == 1 else _supervise(settings)
    if reason and settings.log_format == "json":
        logger.critical("%s", reason)
        return 1
    return _fail(reason, 1) if reason else 0


def serve_here(settings: Settings, on_serving: OnServing | None = None) -> str:
    """Serves in this process until it is told to stop. Returns why it can't start, or nothing."""
    alone = settings.workers == "1"
    if settings.one_core and alone and (core := keep_to_one_core()) is not None:
        logger.info("the event loop keeps to core %d", core)
    if settings.log_level != "debug":
        # Whoever reaches the port could else fill the log: with a line for each TLS handshake that fails, as it pleases gRPC.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Imported late: a wrong setting is told in a tenth of a second; and gRPC's threads keep to that core.
    from server.address import ListenError
    from server.app import serve
    from server.repository import RepositoryError
    from server.session import ModelError, ProviderError
    from server.tls import CertificateError
    from server.tokens import TokenError

    try:
        with asyncio.Runner(loop_factory=_choose_loop(settings)) as runner:
            runner.run(serve(settings, on_serving))
    except (CertificateError, ListenError, ModelError, ProviderError, RepositoryError, TokenError) as error:
        return str(error)
    return ""


def _supervise(settings: Settings) -> str:
    """The same, in processes of their own."""
    from server.address import ListenError
    from server.supervisor import WorkerError, supervise

    try:
        asyncio.run(supervise(settings))
    except (ListenError, WorkerError) as error:
        return str(error)
    return ""


def _fail(line: str, status: int) -> int:
    print(f"digitserve: {line}", file=sys.stderr)
    return status


def _find_lacking(settings: Settings) -> str:
    """Which package is wanted that is not installed, and what installs it; or nothing."""
    if settings.traces and not _is_installed("opentelemetry.exporter.otlp.proto.grpc"):
        return "traces is set, but OpenTelemetry is not installed: pip install -c constraints.txt -e '.[serve,otel]'"
    if settings.event_loop == "uvloop" and not _is_installed("uvloop"):
        return "event_loop is uvloop, but uvloop is not installed: pip install uvloop"
    for module in ("grpc", "numpy", "onnxruntime", "PIL"):
        if not _is_installed(module):
            return f"{module} is not installed for {sys.executable}: run `make serve`, or .venv/bin/python, which it makes"
    return ""


def _is_installed(module: str) -> bool:
    """To import it would take time and memory that neither --check nor a supervisor wants to spend."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor is what it lies in
        return False


def _choose_loop(settings: Settings) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if settings.event_loop == "asyncio" or not _is_installed("uvloop"):
        return None
    import uvloop

    return uvloop.new_event_loop
