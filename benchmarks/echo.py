"""The transport's ceiling: a plain grpc.aio server of the same messages that computes nothing.

It parses each request, builds and serializes an answer of the usual size, and runs on asyncio's own loop with grpc's
defaults, on one core as our server does (docs/decisions/0021-one-core.md): what that alone gains is not ours to boast of.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1 import recognizer_pb2_grpc as pb_grpc

from server.cores import keep_to_one_core

MODEL = pb.ModelVersion(name="digits", version="1")
TIMING = pb.Timing(queue_ms=0.25, compute_ms=0.5, batch_size=1)
IMAGE_BYTES = 28 * 28
CLASS_NAMES = [str(digit) for digit in range(10)]
ANSWER = pb.RecognizeResponse(
    text="7",
    characters=[pb.Character(label="7", probability=0.998, box=pb.Box(width=28, height=28))],
    model=MODEL,
    timing=TIMING,
)


class EchoServicer(pb_grpc.RecognizerServicer):
    """Answers every image with a seven."""

    async def Recognize(self, request: pb.RecognizeRequest, context: Any) -> pb.RecognizeResponse:  # noqa: N802
        return ANSWER

    async def RecognizeBatch(  # noqa: N802
        self, request: pb.RecognizeBatchRequest, context: Any
    ) -> pb.RecognizeBatchResponse:
        count = len(request.images) // IMAGE_BYTES
        timing = pb.Timing(queue_ms=0.25, compute_ms=0.5, batch_size=count)
        classes, unsure = [7] * count, [False] * count
        return pb.RecognizeBatchResponse(classes=classes, unsure=unsure, class_names=CLASS_NAMES, model=MODEL, timing=timing)

    async def RecognizeStream(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.RecognizeStreamRequest], context: Any
    ) -> AsyncIterator[pb.RecognizeStreamResponse]:
        async for request in request_iterator:
            yield pb.RecognizeStreamResponse(id=request.id, response=ANSWER)


async def start_server(address: str, servicer: pb_grpc.RecognizerServicer) -> tuple[grpc.aio.Server, int]:
    """A started server and its port. To be stopped by the caller."""
    server = grpc.aio.server()
    pb_grpc.add_RecognizerServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port(address)
    await server.start()
    return server, port


async def serve(address: str) -> None:
    """Serves until SIGTERM or SIGINT. Says `serving on H:P` on stderr when it does."""
    server, port = await start_server(address, EchoServicer())
    print(f"serving on {address.rpartition(':')[0]}:{port}", file=sys.stderr, flush=True)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    await server.stop(grace=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="an echo server of the Recognizer's messages")
    parser.add_argument("--address", default="127.0.0.1:0")
    options = parser.parse_args()
    keep_to_one_core()
    asyncio.run(serve(options.address))
