"""`python -m benchmarks.goodbye`: does gRPC lose the answers that come together after stop()? (docs/decisions/0010)

Small servers of stock grpc.aio: each has 50 calls on one connection, answers all of them at once 0.3 s later, and ends. One
kind calls stop() at once, the other after its last answer. Several run side by side, since a busy machine shows more of it.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

CALLS = 50
ANSWER = bytes(150)
HOLD_S = 0.3
PATIENCE_S = 30.0
WHEN = {"early": "stop() before the answers", "late": "stop() after the answers"}


async def serve(when: str) -> None:
    """Prints its port, and ends once its calls are answered."""
    come, answer, answered = asyncio.Semaphore(0), asyncio.Event(), asyncio.Semaphore(0)

    async def call(request: bytes, context: Any) -> bytes:
        come.release()
        await answer.wait()
        answered.release()
        return ANSWER

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(call)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    for _ in range(CALLS):
        await come.acquire()
    asyncio.get_running_loop().call_later(HOLD_S, answer.set)
    if when == "late":
        for _ in range(CALLS):
            await answered.acquire()
    await server.stop(PATIENCE_S)


def count_lost(when: str) -> int:
    """How many of the calls to one server fail."""
    command = [sys.executable, "-m", "benchmarks.goodbye", "--serve", when]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout
        address = f"127.0.0.1:{int(server.stdout.readline())}"
        with grpc.insecure_channel(address, [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]) as channel:
            ask = channel.unary_unary("/any/Method")
            calls = [ask.future(bytes(800), timeout=PATIENCE_S, wait_for_ready=True) for _ in range(CALLS)]
            return sum(call.exception() is not None for call in calls)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.goodbye", description=__doc__)
    parser.add_argument("--runs", type=int, default=300, help="servers of each kind (default: %(default)s)")
    parser.add_argument("--beside", type=int, default=4, help="servers at a time (default: %(default)s)")
    parser.add_argument("--serve", choices=WHEN, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.serve:
        asyncio.run(serve(args.serve))
        return
    with ThreadPoolExecutor(args.beside) as beside:
        lost = list(beside.map(count_lost, [*WHEN] * args.runs))
    print(f"grpcio {grpc.__version__}, {args.runs} servers of each kind, {args.beside} at a time, {CALLS} calls each")
    for number, told in enumerate(WHEN.values()):
        of_kind = lost[number :: len(WHEN)]
        print(f"{told}: {sum(map(bool, of_kind))} of {args.runs} servers lost calls, {sum(of_kind)} in all")


if __name__ == "__main__":
    main()
