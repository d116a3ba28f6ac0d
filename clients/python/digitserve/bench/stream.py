"""The mode stream: many calls in flight on one bidirectional stream."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import grpc.aio

from digitserve.bench.answers import Answer, failure, read_response
from digitserve.bench.connection import SERVICE, signed
from digitserve.bench.settings import Settings
from digitserve.bench.workload import Workload
from digitserve.v1 import recognizer_pb2 as pb

Outbox = asyncio.Queue[bytes | None]  # None: no more will be sent
CLOSE_TIMEOUT_S = 1.0


class StreamCaller:
    """RecognizeStream: all calls of this caller are pipelined on one stream; answers must come in the order of sending.

    A stream has one deadline for all, so each call keeps its own timer. A broken stream fails the calls in it, and the
    next call opens another.
    """

    def __init__(self, channel: grpc.aio.Channel, settings: Settings, workload: Workload) -> None:
        self._channel = channel
        self._method = signed(channel.stream_stream(SERVICE + "RecognizeStream"))
        self._messages = workload.messages
        self._texts = workload.texts
        self._timeout_s = settings.timeout_s
        self._waiting: deque[tuple[int, asyncio.Future[Answer]]] = deque()
        self._reader: asyncio.Task[None] | None = None
        self._outbox: Outbox = asyncio.Queue()
        self.size = len(self._messages)

    async def call(self, index: int) -> Answer:
        if self._reader is None or self._reader.done():
            self._outbox = asyncio.Queue()
            self._reader = asyncio.create_task(self._run_stream(self._outbox))
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((index, answer))
        self._outbox.put_nowait(self._messages[index])
        timer = loop.call_later(self._timeout_s, resolve, answer, Answer("DEADLINE_EXCEEDED"))
        try:
            return await answer
        finally:
            timer.cancel()

    async def close(self) -> None:
        if self._reader is not None:
            self._outbox.put_nowait(None)
            await asyncio.wait([self._reader], timeout=CLOSE_TIMEOUT_S)
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await self._channel.close()

    async def _run_stream(self, outbox: Outbox) -> None:
        stream = self._method()
        writer = asyncio.create_task(write_all(stream, outbox))
        last = Answer("UNAVAILABLE", message="the server ended the stream")
        try:
            while (data := await stream.read()) is not grpc.aio.EOF:
                self._accept(pb.RecognizeStreamResponse.FromString(data))
        except grpc.aio.AioRpcError as error:
            last = failure(error)
        finally:
            writer.cancel()
            stream.cancel()
            await stream.code()  # an operation that outlives its event loop makes grpc.aio lose others' answers
            while self._waiting:
                resolve(self._waiting.popleft()[1], last)

    def _accept(self, reply: pb.RecognizeStreamResponse) -> None:
        index, answer = self._waiting.popleft()
        if reply.id != index:
            resolve(answer, Answer("OUT_OF_ORDER", message=f"the stream answered {reply.id} where {index} was due"))
        elif reply.HasField("error"):
            code = next((c.name for c in grpc.StatusCode if c.value[0] == reply.error.code), str(reply.error.code))
            resolve(answer, Answer(code, message=reply.error.message))
        else:
            resolve(answer, read_response(reply.response, self._texts, index))


async def write_all(stream: Any, outbox: Outbox) -> None:
    """Writes for as long as the stream takes; why it ended is the reader's to tell."""
    try:
        while (message := await outbox.get()) is not None:
            await stream.write(message)
        await stream.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return


def resolve(answer: asyncio.Future[Answer], result: Answer) -> None:
    if not answer.done():
        answer.set_result(result)
