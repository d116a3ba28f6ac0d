"""The load of `python -m benchmarks.envoy` as browsers make it: grpc-web over HTTP/1.1, on connections that stay open.

A program of its own, so that it has its own interpreter, as every other load has. Prints {"calls", "latencies_ms"} as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
import sys
import time
from collections.abc import Sequence

from digitserve.bench.connection import SERVICE
from digitserve.bench.images import load_images
from digitserve.bench.messages import build_messages
from digitserve.bench.settings import BenchError, Settings

# What a browser sends beside what grpc-web itself needs: it is read and written on every call, so it belongs to the price.
BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Accept: */*",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-US,en;q=0.9",
    "Sec-Fetch-Dest: empty",
    "Sec-Fetch-Mode: cors",
    "Sec-Fetch-Site: same-origin",
)
TRAILERS = 0x80
TIMEOUT_S = 30.0


def build_request(address: str, message: bytes) -> bytes:
    """A whole HTTP request for Recognize."""
    body = struct.pack(">BI", 0, len(message)) + message
    lines = [
        f"POST {SERVICE}Recognize HTTP/1.1",
        f"Host: {address}",
        f"Origin: http://{address}",
        "Content-Type: application/grpc-web+proto",
        "X-Grpc-Web: 1",
        f"Grpc-Timeout: {TIMEOUT_S:.0f}S",
        f"Content-Length: {len(body)}",
        *BROWSER,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def parse_head(head: bytes) -> dict[str, str]:
    """Headers by their lower-case names, and `:status`."""
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return {":status": first.split(" ", 2)[1]} | {name.lower(): value.strip() for name, _, value in pairs}


def check_answer(headers: dict[str, str], body: bytes) -> None:
    """Raises BenchError unless it is a message and the status OK: figures with failed calls in them mean nothing."""
    texts, rest = [f"grpc-status:{headers[name]}" for name in ["grpc-status"] if name in headers], body
    while len(rest) >= 5:
        flags, length = struct.unpack_from(">BI", rest)
        if flags & TRAILERS:
            texts += rest[5 : 5 + length].decode("latin-1").split("\r\n")
        rest = rest[5 + length :]
    if headers[":status"] != "200" or "grpc-status:0" not in texts:
        raise BenchError(f"a grpc-web call failed: HTTP {headers[':status']}, {', '.join(filter(None, texts)) or 'no status'}")


class Connection:
    """One keep-alive connection, one call at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def call(self, request: bytes) -> None:
        """Raises BenchError if the call fails."""
        self._writer.write(request)
        headers = parse_head(await self._reader.readuntil(b"\r\n\r\n"))
        check_answer(headers, await self._read_body(headers))

    async def _read_body(self, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            return await self._reader.readexactly(int(headers["content-length"]))
        body = b""
        while size := int(await self._reader.readline(), 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readline()
        return body

    def close(self) -> None:
        self._writer.close()


async def measure(address: str, requests: Sequence[bytes], in_flight: int, seconds: float, warmup_s: float) -> list[float]:
    """Latencies in ms of all calls that started after the warm-up. Raises BenchError if one fails."""
    host, _, port = address.rpartition(":")
    start_s = time.perf_counter() + warmup_s

    async def loop(number: int) -> list[float]:
        connection, latencies, index = Connection(*await asyncio.open_connection(host, int(port))), [], number
        while (sent_s := time.perf_counter()) < start_s + seconds:
            await connection.call(requests[index % len(requests)])
            if sent_s >= start_s:
                latencies.append((time.perf_counter() - sent_s) * 1e3)
            index += in_flight
        connection.close()
        return latencies

    try:
        parts = await asyncio.gather(*(loop(number) for number in range(in_flight)))
    except (OSError, EOFError) as error:
        raise BenchError(f"the connection to {address} broke: {error}") from error
    return [latency for part in parts for latency in part]


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grpc_web", description=__doc__)
    parser.add_argument("--address", required=True, metavar="H:P")
    parser.add_argument("--images", required=True)
    parser.add_argument("--in-flight", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--warmup", type=float, default=1.0)
    options = parser.parse_args(words)
    try:
        settings = Settings(server=options.address, images=options.images, layout="framed")
        messages = build_messages(settings, load_images(options.images))
        requests = [build_request(options.address, message) for message in messages]
        latencies = asyncio.run(measure(options.address, requests, options.in_flight, options.seconds, options.warmup))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({"calls": len(latencies), "latencies_ms": [round(one, 4) for one in latencies]}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
