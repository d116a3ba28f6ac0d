"""From the numbers to what Prometheus reads, and the small HTTP server before it."""

from __future__ import annotations

import asyncio
import os
import re
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.address import ListenError
from server.metrics import MAX_CLASSES, METRICS
from server.recorder import ModelRecord, Recorder
from server.scrape import MAX_REQUEST_BYTES, Scrape, collect_all, collect_own
from server.totals import Totals
from tests.in_process import CARD, read_stamps, stamp

UNITS = ("seconds", "images", "ratio", "total", "info")
COUNTS_THINGS = {
    "digitserve_running_calls",
    "digitserve_running_batches",
    "digitserve_refused_versions",
    "digitserve_serving",
    "digitserve_workers",
}


def make_scrape(classes: int = 10) -> Scrape:
    return Scrape(partial(collect_own, make_recorder(classes)))


def make_recorder(classes: int = 10) -> Recorder:
    """One model that has answered three images, and one call that has been refused."""
    health: Any = SimpleNamespace(is_serving=lambda: True)
    card: Any = SimpleNamespace(
        name="digits", version="1", threshold=0.5, class_names=[*map(str, range(classes))], size=CARD.size
    )
    record = ModelRecord(card, 64, lambda size: 4)
    images = np.frombuffer(b"".join(map(stamp, (1, 1, 7))), np.uint8).reshape(-1, 28, 28)
    rows = np.zeros((3, classes), np.float32)
    rows[:, :10] = read_stamps(images)[0]
    record.note_batch("same_round", images, (rows,), 0.002, [0.0, 0.3])
    batcher = SimpleNamespace(recorder=record, waiting=5, running=2, predict_wait_s=lambda: 0.25)
    served: Any = SimpleNamespace(card=card, batcher=batcher, provider="CPUExecutionProvider", blank_images=4)
    seen = Recorder({"": served, "digits": served}, health, {("digits", "2"): "no good"})
    seen.watch(Servicer())
    seen.calls["Ask"].begun, seen.calls["Ask"].statuses = 3, {"NOT_FOUND": 1}
    return seen


class Servicer:
    async def Ask(self, request: Any, context: Any) -> None:  # noqa: N802
        """An RPC that is called."""

    async def Never(self, request: Any, context: Any) -> None:  # noqa: N802
        """One that is not."""


async def render(scrape: Scrape) -> dict[str, float]:
    """Every sample, as `name{label="value"}`."""
    text = b"".join([part async for part in scrape.render()]).decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            key = f"{sample.name}{{{labels}}}"
            assert key not in samples, f"{key} is there twice"
            samples[key] = sample.value
    return samples


def test_every_metric_is_declared_once_and_named_with_its_unit() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"digitserve_[a-z]+(_[a-z]+)*", name)] == []
    assert [name for name in names if not name.endswith(UNITS) and name not in COUNTS_THINGS] == []
    for metric in METRICS:
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert (metric.kind == "histogram") == bool(metric.buckets)
        assert metric.meaning.endswith(".")


def test_every_metric_has_its_values() -> None:
    samples = asyncio.run(render(make_scrape()))
    for metric in METRICS:
        suffix = "_bucket" if metric.kind == "histogram" else ""
        found = [key for key in samples if key.startswith(f"{metric.name}{suffix}{{")]
        assert found, metric.name
        assert all(f'{label}="' in key for key in found for label in metric.labels)
    of_model = 'model="digits"', 'version="1"'
    expected = {
        ("digitserve_images_total", 'result="sure"'): 3,
        ("digitserve_images_total", 'result="blank"'): 4,
        ("digitserve_answers_total", 'class="1"'): 2,
        ("digitserve_batch_images_sum",): 3,
        ("digitserve_padding_images_total",): 1,
        ("digitserve_queue_images",): 5,
        ("digitserve_running_batches",): 2,
        ("digitserve_model_info", 'provider="CPUExecutionProvider"'): 1,
        ("digitserve_batches_total", 'reason="same_round"'): 1,
    }
    for (name, *labels), value in expected.items():
        assert samples[f"{name}{{{','.join(sorted([*of_model, *labels]))}}}"] == value
    assert samples['digitserve_refused_versions{model="digits",version="2"}'] == 1
    assert samples['digitserve_calls_total{method="Ask",status="NOT_FOUND"}'] == 1
    assert samples['digitserve_running_calls{method="Ask"}'] == 2
    assert samples["process_resident_memory_bytes{}"] > 1e6


def test_several_processes_are_one_text_and_each_is_looked_at() -> None:
    alone = asyncio.run(render(make_scrape()))
    totals = Totals()
    counted = {metric.name: dict(metric.read(make_recorder())) for metric in METRICS}
    for number in (1, 2):
        totals.take(number, counted)
    present = dict.fromkeys((0, 1, 2), os.getpid())
    together = asyncio.run(render(Scrape(partial(collect_all, totals, present))))
    assert together.keys() == alone.keys()
    assert together["digitserve_workers{}"] == 2
    assert together["digitserve_serving{}"] == alone["digitserve_serving{}"] == 1
    assert together['digitserve_calls_total{method="Ask",status="NOT_FOUND"}'] == 2
    key = 'digitserve_queue_wait_seconds_bucket{le="0.5",model="digits",version="1"}'
    assert together[key] == 2 * alone[key]
    assert together["process_open_fds{}"] == pytest.approx(3 * alone["process_open_fds{}"], rel=0.3)
    for once in ("process_start_time_seconds{}", "process_max_fds{}"):
        assert together[once] == alone[once]


def test_a_process_that_is_gone_leaves_no_gap() -> None:
    together = asyncio.run(render(Scrape(partial(collect_all, Totals(), {0: os.getpid(), 1: 2**30}))))
    assert together["process_resident_memory_bytes{}"] > 1e6


def test_buckets_add_up_to_the_count() -> None:
    samples = asyncio.run(render(make_scrape()))
    key = 'digitserve_queue_wait_seconds_bucket{{le="{}",model="digits",version="1"}}'
    assert [samples[key.format(le)] for le in ("5e-05", "0.25", "0.5", "10.0", "+Inf")] == [1, 1, 2, 2, 2]
    assert samples['digitserve_queue_wait_seconds_count{model="digits",version="1"}'] == 2


def test_an_rpc_that_nobody_calls_has_one_line() -> None:
    samples = asyncio.run(render(make_scrape()))
    assert [key for key in samples if '"Never"' in key] == ['digitserve_calls_total{method="Never",status="OK"}']


def test_a_model_of_many_classes_has_no_counter_for_each() -> None:
    samples = asyncio.run(render(make_scrape(MAX_CLASSES + 1)))
    assert not any(key.startswith("digitserve_answers_total") for key in samples)
    assert samples['digitserve_confidence_ratio_count{model="digits",version="1"}'] == 3


def test_the_loop_is_given_back_between_metrics() -> None:
    async def run() -> int:
        rounds = 0

        async def count() -> None:
            nonlocal rounds
            while True:
                rounds += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await render(make_scrape())
        counting.cancel()
        return rounds

    assert asyncio.run(run()) >= len(METRICS)


async def exchange(scrape: Scrape, asked: bytes) -> bytes:
    host, _, port = scrape.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(asked)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def ask(*questions: bytes) -> list[bytes]:
    """The answers of a server that listens for this test alone."""

    async def run() -> list[bytes]:
        scrape = make_scrape()
        await scrape.open("127.0.0.1", 0)
        answers = [await exchange(scrape, question) for question in questions]
        scrape.close()
        return answers

    return asyncio.run(run())


def test_it_answers_as_http_says() -> None:
    get, head, post, elsewhere = ask(
        b"GET /metrics?name[]=a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HEAD /metrics HTTP/1.1\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    )
    header, _, body = get.partition(b"\r\n\r\n")
    assert header.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4")
    assert f"Content-Length: {len(body)}\r\n".encode() in header
    assert b"digitserve_serving 1.0\n" in body
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert head.endswith(b"\r\n\r\n")
    assert post.startswith(b"HTTP/1.1 405 ")
    assert elsewhere.startswith(b"HTTP/1.1 404 ")


def test_who_asks_badly_gets_no_answer_and_harms_nobody() -> None:
    *bad, good = ask(b"\r\n\r\n", b"x" * (2 * MAX_REQUEST_BYTES), b"\x16\x03\x01\r\n\r\n", b"GET /metrics HTTP/1.1\r\n\r\n")
    assert not any(answer.startswith(b"HTTP/1.1 200") for answer in bad)
    assert good.startswith(b"HTTP/1.1 200 OK")


def test_who_stalls_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.scrape.PATIENCE_S", 0.05)
    assert ask(b"GET /metrics HTTP/1.1\r\n") == [b""]


def test_a_port_that_is_taken_is_named() -> None:
    async def run() -> None:
        first, second = make_scrape(), make_scrape()
        await first.open("127.0.0.1", 0)
        host, _, port = first.address.rpartition(":")
        with pytest.raises(ListenError, match=rf"can't listen on {host}:{port}: Address already in use"):
            await second.open(host, int(port))
        first.close()

    asyncio.run(run())
