"""Somebody at the door of each RPC: who counts, and who traces. Where nobody wants either, there is no door."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

import grpc

Rpc: TypeAlias = Callable[[Any, Any], Any]


def watch(servicer: Any, unary: Callable[[str, Rpc], Rpc], stream: Callable[[str, Rpc], Rpc]) -> Any:
    """The RPCs of a servicer, each wrapped by name: by `unary` what is awaited, by `stream` what is iterated over."""
    watched = SimpleNamespace()
    for name in (name for name in dir(servicer) if name[0].isupper()):
        method = getattr(servicer, name)
        if inspect.iscoroutinefunction(method):
            method = unary(name, method)
        elif inspect.isasyncgenfunction(method):
            method = stream(name, method)
        setattr(watched, name, method)
    return watched


def name_end(error: BaseException, context: Any) -> grpc.StatusCode:
    """The status of a call that ended with this error: the caller's deadline and cancel are gRPC's own doing."""
    if isinstance(error, grpc.aio.AbortError):
        return context.code()
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return grpc.StatusCode.DEADLINE_EXCEEDED if context.time_remaining() == 0 else grpc.StatusCode.CANCELLED
    return grpc.StatusCode.UNKNOWN
