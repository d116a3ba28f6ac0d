"""What each command of training and export does first and last: see that its work can be kept, and end with a status and one
line of words where something is wrong."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from train.errors import SettingsError, TrainingError

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


def check_writable(folder: Path) -> None:
    """Better now than after minutes. Raises SettingsError."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not there.is_dir():
        raise SettingsError(f"cannot write into {folder}: {there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise SettingsError(f"cannot write into {folder}: permission denied")
