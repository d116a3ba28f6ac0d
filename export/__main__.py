"""`python -m export`. Ctrl-C while everything is still being imported ends it without a traceback."""

import signal
import sys

if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from export.main import main

    sys.exit(main())
