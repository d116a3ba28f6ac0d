"""The two clients, driven alike: one use of either, from opening to closing it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from digitserve import AsyncClient, Client

Use: TypeAlias = Callable[[Any], Any]
Flavour: TypeAlias = Callable[..., Any]


def call_sync(target: str, use: Use, **settings: Any) -> Any:
    with Client(target, **settings) as client:
        return use(client)


def call_async(target: str, use: Use, **settings: Any) -> Any:
    async def scenario() -> Any:
        async with AsyncClient(target, **settings) as client:
            return await use(client)

    return asyncio.run(scenario())
