"""What a stream does when its requests can't be read to the end; the rest is in test_servicer.py."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from server.errors import InvalidRequest
from server.streaming import answer_in_order
from tests.unit.server.vans import played, settle


async def broken_after(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number
    raise InvalidRequest("the message can't be parsed")


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


def answers(requests: AsyncIterator[int], window: int = 8) -> AsyncGenerator[int, None]:
    return answer_in_order(requests, double, window=window, drain=asyncio.get_running_loop().create_future())


@played
async def test_what_was_read_before_a_broken_message_is_answered() -> None:
    for window in (1, 8):
        left = answers(broken_after(3), window)
        assert [await anext(left) for _ in range(3)] == [0, 2, 4]
        with pytest.raises(InvalidRequest, match="can't be parsed"):
            await anext(left)


@played
async def test_a_broken_message_that_nobody_waits_for_is_not_logged_by_asyncio() -> None:
    logged: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    left = answers(broken_after(2))
    assert await anext(left) == 0
    await left.aclose()
    del left
    await settle()
    gc.collect()
    assert not logged


@played
async def test_it_never_reads_further_than_its_window_however_long_the_stream() -> None:
    read = 0

    async def counted() -> AsyncIterator[int]:
        nonlocal read
        for number in range(20):
            read += 1
            yield number

    left = answers(counted(), window=3)
    for answered in range(1, 10):
        await anext(left)
        await settle()
        assert read == answered + 3
    await left.aclose()
