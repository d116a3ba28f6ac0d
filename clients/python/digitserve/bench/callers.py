"""One call of each mode: send request `index`, wait, and say what came back. Failures are answers, too.

The modes single, stream and batch use bare channels with ready-made bytes, so that the load generator costs as little
as Python allows. Every answer is parsed: the text, and the server's own timing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import grpc.aio

from digitserve.bench.answers import OK, Answer, failure, read_response
from digitserve.bench.connection import SERVICE, open_channel, read_token, signed, wait_connected
from digitserve.bench.settings import Settings
from digitserve.bench.stream import StreamCaller
from digitserve.bench.workload import Workload
from digitserve.v1 import recognizer_pb2 as pb


class Caller(Protocol):
    """Makes calls. `call` never raises for a failed call; `size` is how many different requests there are."""

    @property
    def size(self) -> int: ...

    async def call(self, index: int) -> Answer: ...

    async def close(self) -> None: ...


async def open_caller(settings: Settings, workload: Workload) -> Caller:
    """Connects. Raises BenchError if there is no server."""
    if settings.mode == "client":
        return ClientCaller(settings, workload)
    channel = open_channel(settings.server, settings.tls_authorities)
    try:
        await wait_connected(channel, settings.server, settings.timeout_s, with_tls=bool(settings.tls_authorities))
    except BaseException:
        await channel.close()
        raise
    kinds: dict[str, Callable[..., Caller]] = {"single": UnaryCaller, "stream": StreamCaller, "batch": BatchCaller}
    return kinds[settings.mode](channel, settings, workload)


class UnaryCaller:
    """Recognize, one image a call."""

    def __init__(self, channel: grpc.aio.Channel, settings: Settings, workload: Workload) -> None:
        self._channel = channel
        self._method = signed(channel.unary_unary(SERVICE + "Recognize"))
        self._messages = workload.messages
        self._texts = workload.texts
        self._timeout_s = settings.timeout_s
        self.size = len(self._messages)

    async def call(self, index: int) -> Answer:
        try:
            data = await self._method(self._messages[index], timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            return failure(error)
        return read_response(pb.RecognizeResponse.FromString(data), self._texts, index)

    async def close(self) -> None:
        await self._channel.close()


class BatchCaller:
    """RecognizeBatch, `batch_size` images a call."""

    def __init__(self, channel: grpc.aio.Channel, settings: Settings, workload: Workload) -> None:
        self._channel = channel
        self._method = signed(channel.unary_unary(SERVICE + "RecognizeBatch"))
        self._messages = workload.messages
        self._classes = workload.classes
        self._timeout_s = settings.timeout_s
        self.size = len(self._messages)

    async def call(self, index: int) -> Answer:
        try:
            data = await self._method(self._messages[index], timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            return failure(error)
        response = pb.RecognizeBatchResponse.FromString(data)
        timing, correct = response.timing, None
        if self._classes is not None:
            correct = sum(map(int.__eq__, response.classes, self._classes[index]))
        return Answer(OK, len(response.classes), correct, timing.queue_ms, timing.compute_ms, timing.batch_size)

    async def close(self) -> None:
        await self._channel.close()


class ClientCaller:
    """`AsyncClient.recognize`, as a program would call it, with all that the client does about calls in company."""

    def __init__(self, settings: Settings, workload: Workload) -> None:
        from digitserve import TLS, AsyncClient

        tls = TLS(settings.tls_authorities) if settings.tls_authorities else None
        self._client: Any = AsyncClient(settings.server, timeout_s=settings.timeout_s, tls=tls, token=read_token())
        self._pixels = list(workload.images.pixels)
        self._texts = workload.texts
        self._how = {"model": settings.model, "layout": settings.layout}
        self.size = len(self._pixels)

    async def call(self, index: int) -> Answer:
        try:
            result = await self._client.recognize(self._pixels[index], **self._how)
        except Exception as error:
            return failure(error)
        return read_response(result, self._texts, index)

    async def close(self) -> None:
        await self._client.close()
