"""`python -m deploy`: the server, then Envoy with the page; one that dies takes the other down, Ctrl-C stops both.

Start: settings -> are the ports free? -> server, until it is SERVING -> Envoy, until it is ready.
Stop: Envoy accepts no more and finishes what runs -> Envoy ends -> the server drains -> exit 0.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import socket
import sys
import tempfile
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

from deploy.addresses import EVERY_ADDRESS, name_origins
from deploy.bootstrap import Places, list_origins, make_bootstrap
from deploy.child import Child, DiedError
from deploy.proxy import Admin, NoEnvoyError, find_envoy, make_command
from deploy.settings import Deployment, read_deployment
from server.address import join, number_socket
from server.config import SettingError, Settings
from server.cores import count_workers

ROOT = Path(__file__).parents[1]
DEFAULT_SERVER = ("127.0.0.1", 50051)  # where the command line looks by itself
SERVING = re.compile(r"serving on (\S+):(\d+)")
# Envoy's calls end with the server's answers; a stream that just stays open is not waited for.
ENVOY_DRAIN_S = 5.0
MARGIN_S = 10.0


class PortTakenError(Exception):
    """An address can't be listened on; the message names it."""


def main() -> int:
    """Runs until it is told to stop. Returns the exit status: 0 stopped, 1 can't start or something died, 2 wrong settings."""
    try:
        deployment = read_deployment(sys.argv[1:], os.environ)
        check_page(deployment)
    except SettingError as error:
        return _fail(f"bad setting: {error}", 2)
    try:
        envoy = find_envoy()
        asyncio.run(run(choose_ports(deployment), envoy))
    except (NoEnvoyError, PortTakenError, DiedError) as error:
        return _fail(str(error), 1)
    return 0


def _fail(line: str, status: int) -> int:
    print(f"digitserve: {line}", file=sys.stderr)
    return status


def check_page(deployment: Deployment) -> None:
    """Envoy would start without a page, and refuse whoever asks for it. Raises SettingError."""
    if not (deployment.page / "index.html").is_file():
        raise SettingError(f"page {str(deployment.page)!r}: there is no index.html in that folder; make web builds ours")


def choose_ports(deployment: Deployment) -> Deployment:
    """The same with free ports for those that are 0: the page's own origin has to be known before Envoy starts.

    Raises:
        PortTakenError: a port is taken, or an address is not this machine's.
    """
    _check_port(deployment.server.host, deployment.server.port, "--port")
    page_port = _check_port(deployment.page_host, deployment.page_port, "--page-port")
    admin_port = _check_port("127.0.0.1", deployment.admin_port, "--admin-port")
    return replace(deployment, page_port=page_port, admin_port=admin_port)


def _check_port(host: str, port: int, flag: str) -> int:
    try:
        return _find_port(host, port)
    except OSError as error:
        raise PortTakenError(f"can't listen on {host}:{port}: {error.strerror}; {flag} takes another") from error


def _find_port(host: str, port: int) -> int:
    """The port, or a free one for 0, on the first address of `host` that can be had. Raises OSError: none can."""
    *others, last = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for place in others:
        with suppress(OSError):
            return _bind(*place)
    return _bind(*last)


def _bind(family: int, kind: int, protocol: int, _: str, address: tuple[object, ...]) -> int:
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        return int(probe.getsockname()[1])


async def run(deployment: Deployment, envoy_program: Path) -> None:
    """Serves until SIGINT, SIGTERM, or the end of its terminal.

    Raises:
        DiedError: the server or Envoy ended by itself. The other one has been stopped.
    """
    told_to_stop = asyncio.Event()
    for number in choose_signals():
        asyncio.get_running_loop().add_signal_handler(number, told_to_stop.set)
    async with AsyncExitStack() as stack:
        starting = asyncio.create_task(_start(deployment, envoy_program, stack))
        stopping = asyncio.create_task(told_to_stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
            return
        children = starting.result()
        await asyncio.wait({stopping, *(child.ended for child in children)}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if dead := [child for child in children if child.ended.done()]:
            raise dead[0].report()


def choose_signals() -> list[signal.Signals]:
    """What means stop. Both processes have sessions of their own: a terminal that closes would leave them behind. Under nohup,
    it closes unheard.
    """
    hung_up = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hung_up]


async def _start(deployment: Deployment, envoy_program: Path, stack: AsyncExitStack) -> list[Child]:
    """Both processes, running; `stack` stops them in the right order."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="digitserve-")))
    deployment, settings = give_sockets(deployment, folder), deployment.server
    server = await Child.start("server", [sys.executable, "-m", "server", *deployment.server_flags], ROOT)
    stack.push_async_callback(server.stop, settings.drain_delay_s + settings.drain_grace_s + MARGIN_S)
    serving = await server.wait_for(SERVING)
    places = place(deployment, serving[1], int(serving[2]))
    configuration = folder / "envoy.yaml"
    configuration.write_text(make_bootstrap(places), encoding="utf-8")
    admin = Admin(places.admin_port)
    envoy = await Child.start("envoy", make_command(envoy_program, configuration, len(places.sockets) or 1), ROOT)
    stack.push_async_callback(_stop_envoy, envoy, admin)
    await admin.wait_until_ready(envoy)
    announce(places)
    return [server, envoy]


async def _stop_envoy(envoy: Child, admin: Admin) -> None:
    if not envoy.ended.done():
        await admin.drain(ENVOY_DRAIN_S)
    await envoy.stop(MARGIN_S)


def give_sockets(deployment: Deployment, folder: Path) -> Deployment:
    """The same with a Unix socket for each worker, where there are several: on the port, the kernel would choose for Envoy."""
    if count_workers(deployment.server.workers) == 1 or deployment.server.socket:
        return deployment
    socket_path = str(folder / "worker")
    server = replace(deployment.server, socket=socket_path)
    return replace(deployment, server=server, server_flags=(*deployment.server_flags, "--socket", socket_path))


def place(deployment: Deployment, server_host: str, server_port: int) -> Places:
    """Where everything is, now that the server has said where it listens."""
    return Places(
        page_host=deployment.page_host,
        page_port=deployment.page_port,
        admin_port=deployment.admin_port,
        server_host=EVERY_ADDRESS.get(server_host.strip("[]"), server_host.strip("[]")),
        server_port=server_port,
        page=deployment.page,
        origins=list_origins(deployment.page_host, deployment.page_port, deployment.origins),
        max_message_bytes=deployment.server.max_message_bytes,
        sockets=list_sockets(deployment.server),
    )


def list_sockets(server: Settings) -> tuple[str, ...]:
    """Those of its workers; none where there is one worker alone, or no socket."""
    workers = count_workers(server.workers)
    if workers == 1 or not server.socket:
        return ()
    return tuple(number_socket(server.socket, number) for number in range(1, workers + 1))


def announce(places: Places) -> None:
    """Says what can be reached where; every address of the page works."""
    here, *others = name_origins(places.page_host, places.page_port)
    page = f"{here}/"
    if not (places.page / "index.html").is_file():
        page += f" (there is no index.html in {places.page}: JSON and grpc-web only)"
    elsewhere = [f"       {origin}/ from other devices" for origin in others]
    print(f"page   {page}", *elsewhere, f"JSON   {here}/v1/models", sep="\n", flush=True)
    commands = [f"  {command}" for command in suggest(places)]
    print(f"gRPC   {join(places.server_host, places.server_port)}", "Try in another terminal:", *commands, sep="\n")
    print("Ctrl-C stops all.", flush=True)


def suggest(places: Places) -> list[str]:
    """Commands that work as they stand, typed where this was started."""
    program = shlex.quote(_shorten(Path(sys.executable).with_name("digitserve")))
    elsewhere = (places.server_host, places.server_port) != DEFAULT_SERVER
    server = f" --server {join(places.server_host, places.server_port)}" if elsewhere else ""
    picture = shlex.quote(_shorten(ROOT / "docs/examples/seven.png"))
    return [f"{program} recognize{server} {picture}", f"{program} bench{server} --duration 5"]


def _shorten(path: Path) -> str:
    """From the working directory, where it lies in there."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
