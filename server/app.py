"""Start and drain, in the one order that loses nothing.

Start: settings -> NOT_SERVING -> is the address free? -> check the provider -> load, try and warm up -> listen -> SERVING.
The first live request is as fast as the rest.
Drain: load nothing more -> NOT_SERVING -> serve on for drain_delay -> refuse new calls -> finish what runs -> stop gRPC ->
close the batchers -> exit 0.
(Once grpc.aio's stop() begins, the health RPC is refused, too: hence NOT_SERVING first, and time to notice it.)
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from digitserve.v1 import recognizer_pb2, recognizer_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from server.address import check_address, check_socket, listen, listen_on_socket
from server.catalog import Catalog
from server.config import Settings
from server.cores import count_cores, use_all_cores
from server.health import HealthServicer
from server.intake import Intake
from server.loader import Loader
from server.messages import Registrar
from server.open_inference import OpenInferenceServicer
from server.servicer import RecognizerServicer
from server.signals import ignore_stop, listen_for_stop
from server.statuses import answers_errors_of_stream
from server.tls import Identity, make_credentials
from server.tokens import TokenGuard, Tokens

if TYPE_CHECKING:
    from server.recorder import Recorder
    from server.scrape import Scrape
    from server.traces import Traces

logger = logging.getLogger("digitserve.app")

SERVICE = recognizer_pb2.DESCRIPTOR.services_by_name["Recognizer"].full_name
OPEN_INFERENCE = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

MAX_METADATA_BYTES = 16_384


@dataclass
class App:
    """A server that has started. `address` is where it listens, `scrape` where its metrics are."""

    server: grpc.aio.Server
    servicer: RecognizerServicer
    health: HealthServicer
    catalog: Catalog
    decoders: ThreadPoolExecutor
    address: str
    scrape: Scrape | None = None
    recorder: Recorder | None = None
    traces: Traces | None = None


OnServing: TypeAlias = Callable[[App, asyncio.Event], Coroutine[Any, Any, None]]


async def serve(settings: Settings, on_serving: OnServing | None = None) -> None:
    """Starts, serves until SIGTERM or SIGINT, and drains.

    Args:
        on_serving: runs beside the server once it serves; it may set the event, which asks the server to stop.

    Raises:
        ListenError, ModelError, ProviderError, RepositoryError: it can't start.
    """
    asked_to_stop = listen_for_stop()
    # For asyncio.to_thread: reading a repository must not take its time from the loop.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2, "reader", use_all_cores))
    app = await start(settings)
    beside = asyncio.create_task(on_serving(app, asked_to_stop)) if on_serving else None
    await asked_to_stop.wait()
    await drain(app, settings)
    if beside:
        beside.cancel()
    ignore_stop()


async def start(settings: Settings) -> App:
    """Brings the server up; when it returns, every model is warm and the server says SERVING."""
    started_at = time.perf_counter()
    health = HealthServicer(SERVICE, OPEN_INFERENCE)
    alone = settings.workers == "1"
    if alone:  # else the supervisor has done both, and holds the port for all
        check_address(settings.host, settings.port)
        if settings.socket:
            check_socket(settings.socket)
    (of_port, of_socket), guards = _open_gate(settings)
    catalog = Catalog(settings.models, health)
    recorder, scrape = await _open_metrics(settings, catalog, health)
    # On a thread: what the driver starts in it is not bound to the loop's core.
    loader = await asyncio.to_thread(Loader, settings, recorder)
    await catalog.open(loader.load)
    decoders = ThreadPoolExecutor(max(2, count_cores()), "decode", use_all_cores)
    intake = Intake(
        decoders,
        max_pixels=settings.max_pixels,
        max_waiting=settings.max_decoding,
        max_waiting_bytes=settings.max_decoding_bytes,
        note_framing=recorder.note_framing if recorder else None,
    )
    servicer = RecognizerServicer(catalog.models, intake, stream_window=settings.stream_window)
    traces = _open_traces(settings)
    server = make_server(servicer, health, settings, catalog, recorder, guards, traces)
    address = listen(server, settings.host, settings.port, of_port)
    if settings.socket:
        listen_on_socket(server, settings.socket, of_socket)
    app = App(server, servicer, health, catalog, decoders, address, scrape, recorder, traces)
    await server.start()
    catalog.watch(settings.repository_poll_s)
    _freeze_heap()
    said = "serving on" if alone else "one more worker on"  # the supervisor says the former, once for all
    logger.info("%s %s (started in %.1f s)", said, app.address, time.perf_counter() - started_at)
    return app


def _open_gate(settings: Settings) -> tuple[list[grpc.ServerCredentials | None], list[TokenGuard]]:
    """Who may come in: TLS by port and by socket, if there is a certificate, and the token guard, if there are tokens."""
    credentials: list[grpc.ServerCredentials | None] = [None, None]
    if settings.tls_certificate:
        authorities = Path(settings.tls_client_authorities) if settings.tls_client_authorities else None
        identity = Identity(Path(settings.tls_certificate), Path(settings.tls_key), authorities)
        # Of each its own: gRPC takes credentials once.
        credentials = [make_credentials(identity) if wanted else None for wanted in (True, settings.socket)]
    return credentials, [TokenGuard(Tokens(Path(settings.tokens)))] if settings.tokens else []


async def _open_metrics(settings: Settings, catalog: Catalog, health: HealthServicer) -> tuple[Recorder | None, Scrape | None]:
    """Imported late: who wants no metrics pays neither time nor memory for them. A worker tells its supervisor alone."""
    if settings.metrics_port < 0:
        return None, None
    from server.recorder import Recorder

    recorder = Recorder(catalog.models, health, catalog.refused)
    if settings.workers != "1":
        return recorder, None
    from server.scrape import Scrape, collect_own

    scrape = Scrape(partial(collect_own, recorder))
    await scrape.open(settings.metrics_host, settings.metrics_port)
    return recorder, scrape


def _open_traces(settings: Settings) -> Traces | None:
    """Imported late, as the metrics are."""
    if not settings.traces:
        return None
    from server.traces import Traces, export_to

    return Traces(export_to(settings.traces))


def make_server(
    servicer: RecognizerServicer,
    health: HealthServicer,
    settings: Settings,
    catalog: Catalog,
    recorder: Recorder | None = None,
    guards: Sequence[TokenGuard] = (),
    traces: Traces | None = None,
) -> grpc.aio.Server:
    """A gRPC server with both our services, health and reflection, not yet listening."""
    spoken = OpenInferenceServicer(
        servicer, health, catalog, control=settings.model_control, max_answer_bytes=settings.max_message_bytes
    )
    services: list[Any] = [servicer, spoken]
    if recorder:
        gates: list[Any] = [servicer, *guards]
        for gate in gates:
            gate.note_drop = recorder.note_drop
        services = [recorder.watch(service) for service in services]
    if traces:
        services = [traces.watch(name, service) for name, service in zip((SERVICE, OPEN_INFERENCE), services, strict=True)]
    ours, open_inference = services
    registrar = Registrar()
    recognizer_pb2_grpc.add_RecognizerServicer_to_server(ours, registrar)  # type: ignore[no-untyped-call]
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(open_inference, registrar)
    health_pb2_grpc.add_HealthServicer_to_server(health, registrar)
    names = (SERVICE, OPEN_INFERENCE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(Reflection(names), registrar)
    server = grpc.aio.server(options=channel_options(settings))
    server.add_generic_rpc_handlers((*guards, registrar))  # asked in this order
    return server


class Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]  # grpc has no types
    """The stock one, with our errors."""

    ServerReflectionInfo = answers_errors_of_stream(reflection.aio.ReflectionServicer.ServerReflectionInfo)


def channel_options(settings: Settings) -> list[tuple[str, int]]:
    """gRPC's settings, each with its reason."""
    return [
        # Both its limits: between the lower one, 8 KiB by default, and the higher, calls would be refused by chance.
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_concurrent_streams", settings.max_streams),
        # A port that is taken must be an error, not a coin toss between two servers; but workers share theirs.
        ("grpc.so_reuseport", int(settings.workers != "1")),
        # Clients may ping every 10 s, also between calls; without this, their keepalive is answered by too_many_pings.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # A client that vanished without a goodbye is noticed after so long, and all its calls are over then. How long a ping
        # waits for its answer must be said twice: by itself, keepalive_timeout_ms does nothing before a minute is over.
        ("grpc.keepalive_time_ms", int(settings.keepalive_s * 1e3)),
        ("grpc.keepalive_timeout_ms", int(settings.keepalive_s * 1e3 / 3)),
        ("grpc.http2.ping_timeout_ms", int(settings.keepalive_s * 1e3 / 3)),
        ("grpc.http2.max_pings_without_data", 0),  # however long it has been silent
    ]


def _freeze_heap() -> None:
    """What start-up left behind lives for ever: the garbage collector need not walk it again and again under load.

    A call makes some hundred objects and next to no cycles, so looking for cycles every 700 objects, as Python does, is a
    search on every few calls: 20,000 is rare enough not to be seen in a profile and keeps memory flat all the same.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


async def drain(app: App, settings: Settings) -> None:
    """Loses nothing that was accepted: see the order at the top of this file."""
    logger.info(
        "draining: NOT_SERVING for %.1f s, then up to %.1f s for running calls", settings.drain_delay_s, settings.drain_grace_s
    )
    await app.catalog.close()
    app.health.drain()
    await asyncio.sleep(settings.drain_delay_s)
    app.health.close()
    accepted = app.servicer.accepted
    accepted.refuse()
    # stop() ends the calls that gRPC has received and not yet handed to us as CANCELLED, which no client repeats
    # (https://github.com/grpc/grpc/issues/41785); we say UNAVAILABLE.
    await accepted.wait_until_quiet()
    # And it says goodbye to every connection at once, which gRPC then closes with its last call, now and then before the
    # answers that came together have left it (docs/decisions/0010-refuse-before-stop.md).
    left_s = await accepted.wait_until_answered(settings.drain_grace_s)
    await app.server.stop(left_s)
    for served in {id(one): one for one in app.catalog.models.values()}.values():
        await served.batcher.close()
    app.decoders.shutdown()
    if app.traces:
        await app.traces.close()
    if app.scrape:
        app.scrape.close()
    logger.info("drained")
