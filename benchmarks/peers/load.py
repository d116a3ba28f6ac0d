"""A closed loop of ModelInfer calls to any server of the Open Inference Protocol, in a process of its own.

Every server gets the same bytes: each request is written once, before the clock starts. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import uvloop
from digitserve.bench.images import SYNTHETIC, load_images
from digitserve.bench.settings import BenchError
from tritonclient.grpc import InferResult, service_pb2

from benchmarks.envoy import summarize
from benchmarks.raw import predict

METHOD = "/inference.GRPCInferenceService/ModelInfer"
MODEL = "digits"
MESSAGES = 64  # different ones, sent in turn
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
TIMEOUT_S = 30.0
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the calls that were started while it was measured; `images_per_s` counts their images."""

    calls_per_s: float
    images_per_s: float
    p50_ms: float
    p95_ms: float


def build_request(pixels: npt.NDArray[np.uint8]) -> bytes:
    """ModelInfer for these images (n, 28, 28), as raw bytes; of the answer, only the probabilities are asked for."""
    request = service_pb2.ModelInferRequest(model_name=MODEL)
    request.inputs.add(name="image", datatype="UINT8", shape=pixels.shape)
    request.outputs.add(name="probabilities")
    request.raw_input_contents.append(pixels.tobytes())
    return bytes(request.SerializeToString())


def read_answer(message: bytes) -> npt.NDArray[np.float32]:
    """The probabilities (n, classes); a server that was asked in raw bytes answers in raw bytes."""
    found = InferResult(service_pb2.ModelInferResponse.FromString(message)).as_numpy("probabilities")
    if found is None:
        raise BenchError("an answer came without probabilities")
    return np.asarray(found, np.float32)


async def check_answers(
    call: Any, batches: Sequence[npt.NDArray[np.uint8]], expected: Sequence[npt.NDArray[np.float32]]
) -> None:
    """Raises BenchError unless the server answers each batch as onnxruntime alone does."""
    for batch, wanted in zip(batches, expected, strict=True):
        found = read_answer(await call(build_request(batch), timeout=TIMEOUT_S))
        if found.shape != wanted.shape or not np.allclose(found, wanted, atol=TOLERANCE):
            raise BenchError("the server's probabilities are not those of onnxruntime alone")


async def run_loop(
    call: Any, requests: Sequence[bytes], in_flight: int, seconds: float, warmup_s: float
) -> tuple[list[float], float]:
    """Latencies in milliseconds of the calls that ended after the warm-up, and how long that lasted, in seconds."""
    latencies_ms: list[float] = []
    turns = itertools.cycle(requests)
    begin_s = time.perf_counter() + warmup_s
    end_s = begin_s + seconds

    async def ask() -> None:
        while (sent_s := time.perf_counter()) < end_s:
            await call(next(turns), timeout=TIMEOUT_S)
            now_s = time.perf_counter()
            if begin_s < now_s <= end_s:
                latencies_ms.append((now_s - sent_s) * 1e3)

    await asyncio.gather(*(ask() for _ in range(in_flight)))
    return latencies_ms, seconds


async def measure(options: argparse.Namespace) -> Figures:
    pixels = load_images(options.images).pixels
    batches = [np.roll(pixels, -index * options.batch, axis=0)[: options.batch] for index in range(MESSAGES)]
    expected = np.split(predict(options.model, np.concatenate(batches)), MESSAGES)
    limits = [(f"grpc.max_{way}_message_length", MAX_MESSAGE_BYTES) for way in ("send", "receive")]
    async with grpc.aio.insecure_channel(options.address, limits) as channel:
        call = channel.unary_unary(METHOD)  # bytes in, bytes out: reading the answers is not what is measured
        await check_answers(call, batches, expected)
        requests = [build_request(batch) for batch in batches]
        latencies_ms, seconds = await run_loop(call, requests, options.in_flight, options.seconds, options.warmup)
    latency = summarize(latencies_ms)
    rate = len(latencies_ms) / seconds
    return Figures(rate, rate * options.batch, latency.p50, latency.p95)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.load", description=__doc__)
    add = parser.add_argument
    add("--address", required=True)
    add("--model", type=Path, required=True, help="the ONNX file that the server serves, to check its answers by")
    add("--images", default=SYNTHETIC)
    add("--batch", type=int, default=1, help="images in a call; default: %(default)s")
    add("--in-flight", type=int, default=1)
    add("--seconds", type=float, default=2.0)
    add("--warmup", type=float, default=1.0)
    options = parser.parse_args(words)
    try:
        print(json.dumps(asdict(uvloop.run(measure(options)))))
    except (BenchError, grpc.RpcError) as error:
        print(f"{options.address}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
