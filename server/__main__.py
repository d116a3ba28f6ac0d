"""`python -m server`: reads the settings, says what it does, and turns what stops it into one line."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable

# Before numpy is first imported: its linear algebra would wake a thread for each core, for products of some microseconds.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from server.config import SettingError, Settings, describe, read_command
from server.logs import set_up_logging


def main() -> int:
    """Serves until it is told to stop. Returns the exit status: 0 drained (or checked), 1 can't start, 2 wrong settings."""
    try:
        settings, check = read_command(sys.argv[1:], os.environ)
    except SettingError as error:
        return _fail(f"bad setting: {error}", 2)
    if check:
        print(describe(settings))
        return 0
    set_up_logging(settings.log_level, settings.log_format)
    logging.getLogger("digitserve").info("settings: %s", describe(settings))
    # Imported late: a wrong setting is told in a tenth of a second.
    from server.address import ListenError
    from server.app import serve
    from server.repository import RepositoryError
    from server.session import ModelError, ProviderError
    from server.tls import CertificateError
    from server.tokens import TokenError

    try:
        with asyncio.Runner(loop_factory=_choose_loop(settings)) as runner:
            runner.run(serve(settings))
    except (CertificateError, ListenError, ModelError, ProviderError, RepositoryError, TokenError) as error:
        if settings.log_format == "json":
            logging.getLogger("digitserve").critical("%s", error)
            return 1
        return _fail(str(error), 1)
    return 0


def _fail(line: str, status: int) -> int:
    print(f"digitserve: {line}", file=sys.stderr)
    return status


def _choose_loop(settings: Settings) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if settings.event_loop == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if settings.event_loop == "uvloop":
            raise SystemExit(_fail("event_loop is uvloop, but uvloop is not installed: pip install uvloop", 2)) from None
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
