"""The command `digitserve`."""

from __future__ import annotations

import sys

from digitserve.cli import main

if __name__ == "__main__":
    sys.exit(main())
