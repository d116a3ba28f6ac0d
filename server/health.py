"""grpc.health.v1: Check and Watch, for the server as a whole ("") and for each service and model by name.

The stock servicer of grpcio-health-checking starts with "" SERVING, holds a lock while it writes to a watcher (so one
stalled client would stall the drain), and forgets the other watchers when one leaves. This one does none of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.errors import Draining, ModelNotFound
from server.statuses import answers_errors, answers_errors_of_stream

Status = health_pb2.HealthCheckResponse.ServingStatus
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # generated without types
    """Says NOT_SERVING from its first moment, until it is told otherwise."""

    def __init__(self, *services: str) -> None:
        """
        Args:
            services: names beside "" that stand for the server as a whole.
        """
        self._whole = ("", *services)
        self._statuses: dict[str, int] = dict.fromkeys(self._whole, NOT_SERVING)
        self._changed = asyncio.Event()
        self._draining = False
        self._closed = False

    def report(self, models: Mapping[str, bool]) -> None:
        """Whether each model, by each of its names, is well; other names are forgotten.

        The server as a whole is well if all its models are, and there is one.
        """
        if self._draining:
            return
        well = bool(models) and all(models.values())
        named = dict.fromkeys(self._whole, well) | dict(models)
        self._statuses = {name: SERVING if healthy else NOT_SERVING for name, healthy in named.items()}
        self._tell()

    def is_serving(self, name: str = "") -> bool:
        """Whether that model, or the server as a whole, takes calls."""
        return bool(self._statuses.get(name) == SERVING)

    def drain(self) -> None:
        """NOT_SERVING for every known name, for good: a model that recovers now is of no use to anybody."""
        self._draining = True
        self._statuses = dict.fromkeys(self._statuses, NOT_SERVING)
        self._tell()

    def close(self) -> None:
        """Ends every Watch, once it has told the last status: watchers never leave, and the drain would wait for them."""
        self._closed = True
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    @answers_errors
    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802  # the name of the RPC
        """The status now. NOT_FOUND for a name that nobody has set."""
        status = self._statuses.get(request.service)
        if status is None:
            raise ModelNotFound(f"nothing named {request.service[:80]!r} is served", field="service")
        return health_pb2.HealthCheckResponse(status=status)

    @answers_errors_of_stream
    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802  # the name of the RPC
        """The status now, and again whenever it changes; UNAVAILABLE once the server goes away."""
        last = None
        while True:
            changed = self._changed
            status = self._statuses.get(request.service, UNKNOWN)
            if status != last:
                yield health_pb2.HealthCheckResponse(status=status)
                last = status
            elif self._closed:
                raise Draining("the server is going away")
            else:
                await changed.wait()
