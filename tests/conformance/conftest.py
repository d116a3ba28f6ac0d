"""The promises of operation, each one file. `make conformance` tries them at full size and prints what it found as a table;
`make test` tries the same at a fraction of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import card, proxy, reference, upstream

__all__ = ["card", "proxy", "reference", "upstream"]  # fixtures

Proof = Callable[[str, str], None]
ROWS = pytest.StashKey[list[tuple[str, str]]]()


@pytest.fixture(scope="session")
def whole(pytestconfig: pytest.Config) -> bool:
    """Whether to try it at full size."""
    return bool(pytestconfig.getoption("--whole"))


@pytest.fixture
def proof(pytestconfig: pytest.Config) -> Proof:
    """Takes a promise, and what was found, for the table."""
    rows = pytestconfig.stash.setdefault(ROWS, [])
    return lambda promise, found: rows.append((promise, found))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = config.stash.get(ROWS, [])
    if rows and config.getoption("--whole"):
        terminalreporter.section("the table of docs/operating.md")
        terminalreporter.write_line("| Promise | Found |\n|---|---|")
        for promise, found in rows:
            terminalreporter.write_line(f"| {promise} | {found} |")
