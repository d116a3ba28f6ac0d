"""How each command of training and export ends: with a status, and with one line of words where something is wrong."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from train.errors import TrainingError

INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


def conclude(program: str, work: Callable[[], None], *, interrupted: Callable[[], str]) -> int:
    """Do the work. Returns the exit status; `interrupted` says what is left after Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as long as everything was imported
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        work()
    except (TrainingError, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted: {interrupted()}", file=sys.stderr)
        return INTERRUPTED
    return 0
