"""Each call is counted once, under its method and status, and each failure under its reason; errors carry a request id."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from digitserve.v1 import recognizer_pb2 as pb

from server.job import Images, Rows
from server.limits import Limits
from server.metrics import METRICS
from tests.contract.test_causes import batch, fill, framed
from tests.in_process import GatedModel, InProcess, read_stamps, serving, stamp
from tests.pictures import encode_grey
from tests.server_process import ROOT

HEADER = "| Metric | Kind | Labels | Buckets | Meaning |"


def statuses(here: InProcess, method: str) -> dict[str, int]:
    """How the calls of a method have ended, by name; those that nothing ended with are left away."""
    assert here.recorder
    return {status: number for status, number in here.recorder.calls[method].read_statuses().items() if number}


def drops(here: InProcess) -> dict[str, int]:
    assert here.recorder
    return {reason: number for reason, number in here.recorder.drops.items() if number}


async def until_quiet(here: InProcess) -> None:
    """The client has its answer a moment before the server is done with the call."""
    assert here.recorder
    while any(calls.count_running() for calls in here.recorder.calls.values()):
        await asyncio.sleep(0)


async def end_of(call: Awaitable[Any]) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    return "OK"


def test_good_calls_and_their_images_are_counted() -> None:
    async def run() -> None:
        async with serving(limits=Limits(inline_batch_size=16), metrics=True) as here:
            for number in range(5):
                await here.stub.Recognize(framed(number))
            blank = pb.Image(raw=pb.RawImage(pixels=bytes(784), width=28, height=28))
            await here.stub.Recognize(pb.RecognizeRequest(image=blank))
            await here.stub.RecognizeBatch(pb.RecognizeBatchRequest(images=stamp(1) * 3 + bytes(784)))
            streamed = iter([pb.RecognizeStreamRequest(request=framed(number)) for number in range(4)])
            assert len([answer async for answer in here.stub.RecognizeStream(streamed)]) == 4
            await here.stub.ListModels(pb.ListModelsRequest())
            await until_quiet(here)
            assert here.recorder
            methods = {"Recognize": 6, "RecognizeBatch": 1, "RecognizeStream": 1, "ListModels": 1}
            assert {method: statuses(here, method) for method in methods} == {
                method: {"OK": number} for method, number in methods.items()
            }
            assert drops(here) == {}
            ((labels, served, record),) = here.recorder.list_models()
            assert labels == ("digits", "1")
            assert (record.results, served.blank_images) == ({"sure": 12, "unsure": 0, "blank": 1}, 1)
            assert (sum(record.classes), record.classes[1], record.read_batch_sizes()[1]) == (12, 5, 13.0)
            assert sum(record.waits.counts) == 5 + 1 + 4

    asyncio.run(run())


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        (framed(model="letters"), "NOT_FOUND", "model_not_found"),
        (framed(layout=77), "INVALID_ARGUMENT", "invalid_request"),
        (pb.RecognizeRequest(), "INVALID_ARGUMENT", "invalid_image"),
        (framed(layout=pb.LAYOUT_PAGE), "UNIMPLEMENTED", "unsupported_layout"),
    ],
)
def test_a_callers_mistake_is_counted_under_its_name(request_: pb.RecognizeRequest, status: str, reason: str) -> None:
    async def run() -> None:
        async with serving(metrics=True) as here:
            assert await end_of(here.stub.Recognize(request_)) == status
            await until_quiet(here)
            assert (statuses(here, "Recognize"), drops(here)) == ({status: 1}, {reason: 1})

    asyncio.run(run())


def test_what_the_queue_refuses_or_loses_is_counted_under_its_reason() -> None:
    async def run() -> None:
        model = GatedModel()
        async with serving(model.run, Limits(max_queue_size=2), metrics=True) as here:
            first, gone = await fill(here, model, batch(2, 4))
            assert await end_of(here.stub.RecognizeBatch(batch(4))) == "RESOURCE_EXHAUSTED"
            gone.cancel()
            while not drops(here).get("cancelled"):
                await asyncio.sleep(0)
            assert await end_of(here.stub.Recognize(framed(2), timeout=0.05)) == "DEADLINE_EXCEEDED"
            model.gate.set()
            await first
            here.servicer.accepted.refuse()
            assert await end_of(here.stub.Recognize(framed(1))) == "UNAVAILABLE"
            await until_quiet(here)
            assert statuses(here, "Recognize") == {"DEADLINE_EXCEEDED": 1, "UNAVAILABLE": 1}
            assert statuses(here, "RecognizeBatch") == {"OK": 1, "RESOURCE_EXHAUSTED": 1, "CANCELLED": 1}
            assert drops(here) == {"queue_full": 1, "cancelled": 1, "deadline_passed": 1, "draining": 1}

    asyncio.run(run())


def test_a_failing_model_and_a_bug_are_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_or_fail(images: Images, explain: bool) -> Rows:
        if images[0, 0, 0] == 13:
            raise MemoryError("no memory")
        return read_stamps(images, explain)

    def stumble(*given: object) -> None:
        raise KeyError("a bug")

    async def run() -> None:
        async with serving(run_or_fail, metrics=True) as here:
            assert await end_of(here.stub.Recognize(framed(13))) == "INTERNAL"
            monkeypatch.setattr("server.servicer._write", stumble)
            assert await end_of(here.stub.Recognize(framed(1))) == "INTERNAL"
            await until_quiet(here)
            assert (statuses(here, "Recognize"), drops(here)) == ({"INTERNAL": 2}, {"inference_failed": 1, "internal": 1})
            assert here.recorder
            ((_, _, record),) = here.recorder.list_models()
            assert record.failed == 1

    asyncio.run(run())


def test_a_request_that_fails_within_a_stream_is_a_drop_and_the_stream_is_well() -> None:
    async def run() -> None:
        async with serving(metrics=True) as here:
            asked = [framed(1), framed(model="letters"), framed(2)]
            streamed = iter([pb.RecognizeStreamRequest(request=request) for request in asked])
            assert [answer.error.code async for answer in here.stub.RecognizeStream(streamed)] == [0, 5, 0]
            await until_quiet(here)
            assert (statuses(here, "RecognizeStream"), drops(here)) == ({"OK": 1}, {"model_not_found": 1})

    asyncio.run(run())


def test_what_has_to_be_framed_is_timed_where_it_was_done_and_what_is_framed_is_not() -> None:
    def picture(side: int) -> pb.RecognizeRequest:
        grey = np.full((side, side), 255, np.uint8)
        grey[side // 3 : side // 2, side // 3 : side // 2] = 0
        return pb.RecognizeRequest(image=pb.Image(encoded=encode_grey(grey)))

    async def run() -> None:
        async with serving(metrics=True) as here:
            for request in (framed(1), picture(40), picture(40), picture(200)):
                await here.stub.Recognize(request)
            assert here.recorder
            assert {where: sum(times.counts) for where, times in here.recorder.framing.items()} == {"loop": 2, "thread": 1}

    asyncio.run(run())


def test_without_metrics_nobody_stands_at_the_door() -> None:
    async def run() -> None:
        async with serving() as here:
            assert here.recorder is None
            assert here.batcher.recorder is None
            assert (await here.stub.Recognize(framed(3))).text == "3"

    asyncio.run(run())


async def failed_with(call: Any) -> tuple[str, str]:
    """The message and the request id of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailer = dict(caught.value.trailing_metadata() or ())
    return str(caught.value.details()), str(trailer["x-request-id"])


def test_an_error_tells_the_request_id_that_the_log_has(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(*given: object) -> None:
        raise KeyError("a bug")

    async def run() -> None:
        monkeypatch.setattr("server.servicer._write", stumble)
        async with serving() as here:
            ours = (("x-request-id", "order-17"),)
            message, told = await failed_with(here.stub.Recognize(framed(1), metadata=ours))
            assert told == "order-17"
            assert message.endswith("request order-17")
            message, told = await failed_with(here.stub.Recognize(framed(1), metadata=(("x-request-id", "a b"),)))
            assert re.fullmatch("[0-9a-f]{16}", told)
            assert message.endswith(f"request {told}")
            streamed = iter([pb.RecognizeStreamRequest(request=framed(1))])
            (answer,) = [each async for each in here.stub.RecognizeStream(streamed, metadata=ours)]
            assert answer.error.message.endswith("request order-17")
            _, told = await failed_with(here.stub.Recognize(framed(model="letters"), metadata=ours))
            assert told == "order-17"

    asyncio.run(run())
    logged = [record.__dict__["request_id"] for record in caplog.records]
    assert logged[0] == logged[2] == "order-17"
    assert len(logged) == 3, "a caller's own mistake is not logged"


def test_a_good_answer_tells_no_request_id() -> None:
    async def run() -> None:
        async with serving() as here:
            call = here.stub.Recognize(framed(1), metadata=(("x-request-id", "order-17"),))
            await call
            assert "x-request-id" not in dict(await call.trailing_metadata() or ())

    asyncio.run(run())


def table_rows() -> Iterator[list[str]]:
    lines = (ROOT / "docs/operating.md").read_text(encoding="utf-8").splitlines()
    for line in lines[lines.index(HEADER) + 2 :]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def test_the_documentation_has_every_metric_as_it_is_declared() -> None:
    declared = [
        [
            f"`{metric.name}`",
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels),
            f"{metric.buckets[0]:g} to {metric.buckets[-1]:g}" if metric.buckets else "",
            metric.meaning,
        ]
        for metric in METRICS
    ]
    assert list(table_rows()) == declared
