"""The channel to the server under test, and the one question that is asked before the run."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import grpc.aio

from digitserve.bench.settings import BenchError, Settings
from digitserve.channel import HEALTH_METHOD, MAX_MESSAGE_BYTES, describe_silence
from digitserve.security import TLS, Signed, checked_token
from digitserve.v1 import recognizer_pb2 as pb

SERVICE = "/digitserve.v1.Recognizer/"
CONNECT_TIMEOUT_S = 5.0
WHY_TIMEOUT_S = 1.0
CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each channel, never one shared behind the scenes
)


def open_channel(server: str, tls_authorities: str = "") -> grpc.aio.Channel:
    """Raises BenchError if the authorities' file can't be read."""
    if not tls_authorities:
        return grpc.aio.insecure_channel(server, options=CHANNEL_OPTIONS)
    try:
        credentials = TLS(tls_authorities).credentials()
    except OSError as error:
        raise BenchError(f"{tls_authorities} can't be read: {error.strerror}") from None
    return grpc.aio.secure_channel(server, credentials, options=CHANNEL_OPTIONS)


def read_token() -> str:
    """What the server knows its callers by. It is no setting, since settings are saved beside the figures.

    Raises BenchError if it is no token.
    """
    try:
        return checked_token(os.environ.get("DIGITSERVE_TOKEN", ""))
    except ValueError as error:
        raise BenchError(f"DIGITSERVE_TOKEN: {error}") from None


def signed(call: Any) -> Any:
    """The same call, showing the token each time if there is one."""
    token = read_token()
    return Signed(call, token) if token else call


async def wait_connected(channel: grpc.aio.Channel, server: str, timeout_s: float, *, with_tls: bool = False) -> None:
    """Raises BenchError at once if the connection is refused, and after a few seconds if nobody answers at `server`."""
    try:
        is_connected = await asyncio.wait_for(_connect(channel), min(timeout_s, CONNECT_TIMEOUT_S))
    except TimeoutError:
        is_connected = False
    if not is_connected:
        raise BenchError(describe_silence(server, await _ask_why(channel), with_tls=with_tls))


async def _ask_why(channel: grpc.aio.Channel) -> str:
    """gRPC's own words on why it can't connect, which it has for a call alone."""
    try:
        await channel.unary_unary(HEALTH_METHOD)(b"", timeout=WHY_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        return error.details() or ""
    return ""


async def _connect(channel: grpc.aio.Channel) -> bool:
    """Whether the first attempt succeeds, on any of the server's addresses."""
    while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            return False
        await channel.wait_for_state_change(state)
    return True


async def ask_class_names(settings: Settings) -> list[str]:
    """The class names of the model under test; of a server that does not list models, the ten digits.

    Raises BenchError if there is no server.
    """
    async with open_channel(settings.server, settings.tls_authorities) as channel:
        await wait_connected(channel, settings.server, settings.timeout_s, with_tls=bool(settings.tls_authorities))
        method = signed(channel.unary_unary(SERVICE + "ListModels"))
        try:
            data = await method(pb.ListModelsRequest().SerializeToString(), timeout=settings.timeout_s)
        except grpc.aio.AioRpcError:
            return [str(digit) for digit in range(10)]
    wanted = settings.model or "digits"
    for model in pb.ListModelsResponse.FromString(data).models:
        names = {model.name, f"{model.name}:{model.version}", *(f"{model.name}@{label}" for label in model.labels)}
        if wanted in names:
            return list(model.class_names)
    raise BenchError(f"the server at {settings.server} has no model {wanted}")
