"""Servers on one event loop in a thread of its own, so that measure() can be called as a person would call it.

One loop for all tests, because grpc.aio can lose answers in a process where an event loop was closed before.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from digitserve.v1 import recognizer_pb2_grpc as pb_grpc

from benchmarks.echo import EchoServicer, start_server


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    running = asyncio.new_event_loop()
    thread = threading.Thread(target=running.run_forever)
    thread.start()
    yield running
    running.call_soon_threadsafe(running.stop)
    thread.join(10)
    running.close()


@contextmanager
def serve_on(loop: asyncio.AbstractEventLoop, servicer: pb_grpc.RecognizerServicer) -> Iterator[str]:
    server, port = asyncio.run_coroutine_threadsafe(start_server("127.0.0.1:0", servicer), loop).result(10)
    yield f"127.0.0.1:{port}"
    asyncio.run_coroutine_threadsafe(server.stop(None), loop).result(10)


@pytest.fixture(scope="session")
def echo_address(loop: asyncio.AbstractEventLoop) -> Iterator[str]:
    with serve_on(loop, EchoServicer()) as address:
        yield address
