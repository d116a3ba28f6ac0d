"""The metrics over HTTP, for Prometheus: GET /metrics, one answer a connection.

It runs on the event loop, where the numbers are, and gives the loop back after each metric: no call waits for a whole scrape.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from server.address import ListenError, check_address, join
from server.metrics import METRICS, Metric, Values

if TYPE_CHECKING:
    from server.recorder import Recorder
    from server.totals import Totals

logger = logging.getLogger("digitserve.metrics")

PATIENCE_S = 10.0  # for a whole exchange: who stalls holds a socket, nothing else
MAX_REQUEST_BYTES = 16 * 1024
NOT_SUMMED = {"process_start_time_seconds": min, "process_max_fds": max}  # of all that is told about a process


class Scrape:
    """An open port for Prometheus. `address` is host:port."""

    def __init__(self, collect: Callable[[], AsyncIterator[Family]]) -> None:
        self.address = ""
        self._collect = collect

    async def open(self, host: str, port: int) -> None:
        """Listens.

        Raises:
            ListenError: the address can't be had.
        """
        check_address(host, port)
        try:
            self._server = await asyncio.start_server(self._answer, host.strip("[]"), port, limit=MAX_REQUEST_BYTES)
        except OSError as error:  # somebody was faster
            raise ListenError(f"can't listen on {join(host, port)}: {error}") from error
        self.address = join(host, self._server.sockets[0].getsockname()[1])
        logger.info("metrics at http://%s/metrics", self.address)

    def close(self) -> None:
        """Listens no more. Whoever is still being answered is not waited for."""
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Who asks badly, slowly or not to the end gets no answer.
        with closing(writer), suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(PATIENCE_S):
                asked = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._respond(asked))
                await writer.drain()

    async def _respond(self, asked: bytes) -> bytes:
        method, _, rest = asked.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path != b"/metrics":
            return _make_response("404 Not Found", b"metrics are at /metrics\n")
        if method not in (b"GET", b"HEAD"):
            return _make_response("405 Method Not Allowed", b"GET it\n")
        body = b"".join([part async for part in self.render()])
        return _make_response("200 OK", body, with_body=method == b"GET")

    async def render(self) -> AsyncIterator[bytes]:
        """The text for Prometheus, metric by metric, with a round of the event loop after each."""
        async for family in self._collect():
            yield generate_latest(_Shelf([family]))
            await asyncio.sleep(0)


class _Shelf(Collector):
    """What generate_latest() takes: somebody who has families to collect."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


async def collect_own(recorder: Recorder) -> AsyncIterator[Family]:
    """What a server that is one process tells."""
    for metric in METRICS:
        yield make_family(metric, metric.read(recorder))
    for family in ProcessCollector(registry=None).collect():
        yield family


async def collect_all(totals: Totals, present: Mapping[int, int]) -> AsyncIterator[Family]:
    """What several processes tell together: those with the numbers and process ids in `present`, and of counters all others."""
    for number, pid in present.items():
        seen = ProcessCollector(pid=partial(int, pid), registry=None).collect()
        totals.take(number, {family.name: {(): family.samples[0].value} for family in seen})
    for metric in METRICS:
        yield make_family(metric, totals.read(metric, present))
    for family in ProcessCollector(registry=None).collect():
        kind: Literal["counter", "gauge"] = "counter" if family.type == "counter" else "gauge"
        metric = Metric(
            family.name, kind, (), family.documentation, lambda seen: (), over_workers=NOT_SUMMED.get(family.name, sum)
        )
        yield make_family(metric, totals.read(metric, present))


def make_family(metric: Metric, values: Values) -> Family:
    """The metric's values, as the library writes them out."""
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        names = [*map(str, metric.buckets), "+Inf"]
        for labels, (counts, total) in values:
            histogram.add_metric(labels, list(zip(names, _add_up(counts), strict=True)), total)
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = kind(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _add_up(counts: Iterable[int]) -> list[int]:
    """Prometheus counts in a bucket whatever is not above it."""
    total, sums = 0, []
    for count in counts:
        total += count
        sums.append(total)
    return sums


def _make_response(status: str, body: bytes, *, with_body: bool = True) -> bytes:
    kind = CONTENT_TYPE_PLAIN_0_0_4 if status.startswith("200") else "text/plain"
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + (body if with_body else b"")
