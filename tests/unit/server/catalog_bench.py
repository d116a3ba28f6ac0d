"""What the tests of the catalog share: a repository, and a catalog before it whose models are loaded by nobody."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server.catalog import Catalog
from server.health import HealthServicer
from server.repository import ModelCard, Version
from server.servicer import Served
from server.session import CPU, ModelError
from tests.repository import write_model


class Bench:
    """A repository, and a catalog before it whose models are loaded by nobody: the card's description says what comes of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.health = HealthServicer()
        self.catalog = Catalog(root, self.health)
        self.loaded: list[Version] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def write(self, version: str = "1", name: str = "digits", **changes: Any) -> Path:
        return write_model(self.root, name, version, **changes)

    def rewrite(self, version: str = "1", **changes: Any) -> None:
        shutil.rmtree(self.root / "digits" / version)
        self.write(version, **changes)

    async def load(self, card: ModelCard, report: Callable[[], object]) -> Served:
        self.loaded.append((card.name, card.version))
        await self.gate.wait()
        if card.description == "bad":
            raise ModelError(f"{card.path} can't be loaded: [engine at 0xdeadbeef]")
        if card.description == "bug":
            raise ZeroDivisionError("the secret of line 42")
        batcher: Any = SimpleNamespace(healthy=card.description != "fails", report=report)
        return Served(card, batcher, CPU)

    async def open(self) -> None:
        await self.catalog.open(self.load)
        self.catalog.watch(0)
        self.loaded.clear()

    async def look(self, times: int = 1) -> None:
        """Looks, and waits for what that begins."""
        for _ in range(times):
            await self.catalog.look()
            await asyncio.gather(*self.catalog._tasks)

    @property
    def served(self) -> dict[str, str]:
        """What each name means."""
        return {name: f"{one.card.name} {one.card.version}" for name, one in self.catalog.models.items()}

    @property
    def versions(self) -> list[str]:
        return sorted({*self.served.values()})


Scenario = Callable[[Bench], Awaitable[None]]


def played(scenario: Scenario) -> Callable[[Path], None]:
    """Makes a scenario a test, before an empty repository."""

    @functools.wraps(scenario)
    def test(tmp_path: Path) -> None:
        async def run() -> None:
            async with asyncio.timeout(30):
                await scenario(Bench(tmp_path))

        asyncio.run(run())

    del test.__wrapped__  # pytest asks for the arguments that it sees
    return test


def write_labels(bench: Bench, **labels: str) -> None:
    (bench.root / "digits" / "labels.json").write_text(json.dumps(labels))


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as an error."""
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
