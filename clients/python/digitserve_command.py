"""The command `digitserve`, as it is installed.

It lies beside the package, because whatever lies within imports all of it first: half a second in which Ctrl-C would end in a
traceback.
"""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130


def main() -> int:
    """Runs the command and returns its exit code."""
    # What the C++ inside gRPC has to say of a connection that fails stands above our line on it, and says less. Read at import.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from digitserve.cli import main as run

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
