"""`python -m digitserve.bench`: the same as `digitserve bench`."""

from __future__ import annotations

import argparse

from digitserve.bench.command import add_arguments, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="digitserve bench")
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(main())
