"""What really happens in a call leads to the error that the contract names for it."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from digitserve.v1 import recognizer_pb2 as pb

from server.errors import QueueFull
from server.job import Images, Rows
from server.limits import Limits
from tests.details import Failure, failure_of
from tests.in_process import GatedModel, InProcess, fill_tray, serving, stamp


def framed(number: int = 7, **options: Any) -> pb.RecognizeRequest:
    raw = pb.RawImage(pixels=stamp(number), width=28, height=28)
    return pb.RecognizeRequest(image=pb.Image(raw=raw), **{"layout": pb.LAYOUT_FRAMED, **options})


def batch(*numbers: int, **options: Any) -> pb.RecognizeBatchRequest:
    return pb.RecognizeBatchRequest(images=b"".join(map(stamp, numbers)), **options)


BAD_REQUESTS = {
    "no image": (pb.RecognizeRequest(), "INVALID_ARGUMENT", "image"),
    "no content": (pb.RecognizeRequest(image=pb.Image()), "INVALID_ARGUMENT", "image"),
    "no bytes": (pb.RecognizeRequest(image=pb.Image(encoded=b"")), "INVALID_ARGUMENT", "image.encoded"),
    "unknown layout": (framed(layout=77), "INVALID_ARGUMENT", "layout"),
    "unknown ink": (framed(ink=77), "INVALID_ARGUMENT", "ink"),
    "unknown priority": (framed(priority=77), "INVALID_ARGUMENT", "priority"),
    "negative priority": (framed(priority=-1), "INVALID_ARGUMENT", "priority"),
    "line": (framed(layout=pb.LAYOUT_LINE), "UNIMPLEMENTED", "layout"),
    "page": (framed(layout=pb.LAYOUT_PAGE), "UNIMPLEMENTED", "layout"),
    "unknown model": (framed(model="letters"), "NOT_FOUND", "model"),
    "unknown version": (framed(model="digits:9"), "NOT_FOUND", "model"),
    "unknown label": (framed(model="digits@canary"), "NOT_FOUND", "model"),
    "very long model": (framed(model="x" * 100_000), "NOT_FOUND", "model"),
    "unprintable model": (framed(model="\0\r\n\x1b[31m" * 20), "NOT_FOUND", "model"),
}

BAD_BATCHES = {
    "empty": (batch(), "INVALID_ARGUMENT", "images"),
    "a byte short": (pb.RecognizeBatchRequest(images=bytes(783)), "INVALID_ARGUMENT", "images"),
    "a byte long": (pb.RecognizeBatchRequest(images=bytes(785)), "INVALID_ARGUMENT", "images"),
    "of another size": (batch(1, 2, 3, 4, height=56, width=56), "INVALID_ARGUMENT", "images"),
    "of another shape": (batch(1, 2, 3, 4, height=14, width=56), "INVALID_ARGUMENT", "images"),
    "of another width": (batch(1, width=29), "INVALID_ARGUMENT", "images"),
    "single": (batch(1, layout=pb.LAYOUT_SINGLE), "INVALID_ARGUMENT", "layout"),
    "line": (batch(1, layout=pb.LAYOUT_LINE), "INVALID_ARGUMENT", "layout"),
    "unknown layout": (batch(1, layout=77), "INVALID_ARGUMENT", "layout"),
    "unknown priority": (batch(1, priority=3), "INVALID_ARGUMENT", "priority"),
    "unknown model": (batch(1, model="letters"), "NOT_FOUND", "model"),
}


@pytest.mark.parametrize(("request_", "code", "field"), BAD_REQUESTS.values(), ids=list(BAD_REQUESTS))
def test_a_bad_request(request_: pb.RecognizeRequest, code: str, field: str) -> None:
    async def run() -> None:
        async with serving() as here:
            failure = await failure_of(here.stub.Recognize(request_))
            assert (failure.code, failure.field) == (code, field)
            streamed = [pb.RecognizeStreamRequest(request=request_, id=1), pb.RecognizeStreamRequest(request=framed(3), id=2)]
            bad, good = [answer async for answer in here.stub.RecognizeStream(iter(streamed))]
            assert (bad.error.code, bad.error.message, bad.error.field) == (failure.trailer_code, failure.message, field)
            assert good.response.text == "3"

    asyncio.run(run())


@pytest.mark.parametrize(("request_", "code", "field"), BAD_BATCHES.values(), ids=list(BAD_BATCHES))
def test_a_bad_batch(request_: pb.RecognizeBatchRequest, code: str, field: str) -> None:
    async def run() -> Failure:
        async with serving() as here:
            return await failure_of(here.stub.RecognizeBatch(request_))

    failure = asyncio.run(run())
    assert (failure.code, failure.field) == (code, field)


def test_an_unknown_model_is_told_what_there_is() -> None:
    async def run() -> Failure:
        async with serving() as here:
            return await failure_of(here.stub.Recognize(framed(model="letters")))

    message = asyncio.run(run()).message
    assert message == "no model 'letters' is served; there are: digits, digits:1, digits@stable"


async def fill(here: InProcess, model: GatedModel, *waiting: pb.RecognizeBatchRequest) -> list[Any]:
    """One image under way and these in the tray, all of them accepted."""
    return await fill_tray(here, model, here.stub.RecognizeBatch, batch(1), *waiting)


def test_a_full_tray_refuses_with_retry_info_and_keeps_what_it_has() -> None:
    async def run() -> None:
        model = GatedModel()
        async with serving(model.run, Limits(max_queue_size=2)) as here:
            calls = await fill(here, model, batch(2, 3))
            failure = await failure_of(here.stub.RecognizeBatch(batch(4)))
            assert (failure.code, failure.field) == ("RESOURCE_EXHAUSTED", "")
            assert failure.retry_ms > 0
            assert failure.pushback == str(math.ceil(failure.retry_ms))
            model.gate.set()
            assert [list((await call).classes) for call in calls] == [[1], [2, 3]]

    asyncio.run(run())


def test_a_closed_batcher_is_unavailable() -> None:
    async def run() -> None:
        async with serving() as here:
            await here.batcher.close()
            failure = await failure_of(here.stub.Recognize(framed()))
            assert (failure.code, failure.field, failure.retry_ms) == ("UNAVAILABLE", "", 0.0)

    asyncio.run(run())


def test_a_late_call_is_not_computed() -> None:
    async def run() -> None:
        model = GatedModel()
        async with serving(model.run) as here:
            (first,) = await fill(here, model)
            late = await failure_of(here.stub.Recognize(framed(2), timeout=0.05))
            assert late.code == "DEADLINE_EXCEEDED"
            patient = here.stub.Recognize(framed(3), timeout=30)
            model.gate.set()
            assert ((await first).classes, (await patient).text) == ([1], "3")
            assert model.batches == [[1], [3]]

    asyncio.run(run())


def test_who_refuses_sends_new_calls_away_and_ends_open_streams() -> None:
    async def run() -> None:
        async with serving() as here:
            stream = here.stub.RecognizeStream()
            await stream.write(pb.RecognizeStreamRequest(request=framed(1)))
            assert (await stream.read()).response.text == "1"
            here.servicer.accepted.refuse()
            late = here.stub.RecognizeStream()
            calls = [here.stub.Recognize(framed(2)), here.stub.RecognizeBatch(batch(2)), late.read()]
            assert [(await failure_of(call)).code for call in calls] == ["UNAVAILABLE"] * 3
            assert here.servicer.accepted.refused == 3
            ended = await failure_of(stream.read())
            assert (ended.code, "reads no more of this stream" in ended.message) == ("UNAVAILABLE", True)

    asyncio.run(run())


class AttentiveBatcher:
    """Remembers the deadlines and priorities that it is given, and answers nobody."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.at_once = at_once
        self.deadlines: list[float | None] = []
        self.bulk: list[bool] = []

    def answer_at_once(self, images: Images, *, deadline: float | None = None, **how: bool) -> Any:
        if not self.at_once:
            return None
        self.deadlines.append(deadline)
        raise QueueFull("not now")

    def submit(self, images: Images, *, deadline: float | None = None, bulk: bool, **how: bool) -> Awaitable[Any]:
        self.deadlines.append(deadline)
        self.bulk.append(bulk)
        raise QueueFull("not now")


def test_the_batcher_is_told_every_deadline() -> None:
    async def run() -> None:
        batcher = AttentiveBatcher()
        async with serving(batcher=batcher) as here:
            before = time.monotonic()
            for timeout in (100, None):
                await failure_of(here.stub.Recognize(framed(1), timeout=timeout))
                await failure_of(here.stub.RecognizeBatch(batch(1), timeout=timeout))
                streamed = iter([pb.RecognizeStreamRequest(request=framed(1))])
                assert [answer.error.code async for answer in here.stub.RecognizeStream(streamed, timeout=timeout)] == [8]
        assert batcher.deadlines[3:] == [None] * 3
        assert batcher.deadlines[:3] == pytest.approx([before + 100] * 3, abs=30)

    asyncio.run(run())


def test_one_image_is_interactive_and_many_are_bulk_unless_said_otherwise() -> None:
    async def run() -> None:
        batcher = AttentiveBatcher(at_once=False)
        async with serving(batcher=batcher) as here:
            for priority in (pb.PRIORITY_UNSPECIFIED, pb.PRIORITY_INTERACTIVE, pb.PRIORITY_BULK):
                await failure_of(here.stub.Recognize(framed(1, priority=priority)))
                await failure_of(here.stub.RecognizeBatch(batch(1, priority=priority)))
                streamed = iter([pb.RecognizeStreamRequest(request=framed(1, priority=priority))])
                assert [answer.error.code async for answer in here.stub.RecognizeStream(streamed)] == [8]
        assert batcher.bulk == [False, True, True, False, False, False, True, True, True]

    asyncio.run(run())


def test_a_wait_that_is_too_long_is_refused_and_says_how_long_it_would_be() -> None:
    async def run() -> None:
        model = GatedModel()
        limits = Limits(max_queue_wait_ms=2000.0, times_ms={1: 60_000.0})
        async with serving(model.run, limits) as here:
            calls = await fill(here, model, batch(2))
            failure = await failure_of(here.stub.Recognize(framed(4)))
            assert (failure.code, failure.field) == ("RESOURCE_EXHAUSTED", "")
            assert re.match(r"the wait would be \d+ ms, and at most 2000 ms are allowed; try again in \d+ ms", failure.message)
            assert failure.pushback == str(math.ceil(failure.retry_ms))
            late = await failure_of(here.stub.RecognizeBatch(batch(5), timeout=100))
            assert re.match(r"the answer would take \d+ ms, and the deadline is in \d+ ms; try again in", late.message)
            never = await failure_of(here.stub.RecognizeBatch(batch(5), timeout=30))
            assert re.match(r"the answer takes 60000 ms by itself, and the deadline is in \d+ ms: allow", never.message)
            assert (never.code, never.pushback, never.retry_ms) == ("RESOURCE_EXHAUSTED", "", 0)
            model.gate.set()
            assert [list((await call).classes) for call in calls] == [[1], [2]]

    asyncio.run(run())


def test_a_cancelled_call_is_not_computed() -> None:
    async def run() -> None:
        model = GatedModel()
        async with serving(model.run) as here:
            first, gone, kept = await fill(here, model, batch(2, 4), batch(3))
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            await here.stub.ListModels(pb.ListModelsRequest())  # behind the cancellation, on the same connection
            model.gate.set()
            assert ((await first).classes, (await kept).classes) == ([1], [3])
            assert model.batches == [[1], [3]]

    asyncio.run(run())


def test_a_cancelled_stream_takes_its_requests_along() -> None:
    async def run() -> None:
        model = GatedModel()
        async with serving(model.run) as here:
            first, kept = await fill(here, model, batch(3))
            streamed = [pb.RecognizeStreamRequest(request=framed(2), id=number) for number in range(20)]
            gone = here.stub.RecognizeStream(iter(streamed))
            while here.batcher.waiting < 21:
                await asyncio.sleep(0)
            gone.cancel()
            await here.stub.ListModels(pb.ListModelsRequest())  # behind the cancellation, on the same connection
            model.gate.set()
            assert ((await first).classes, (await kept).classes) == ([1], [3])
            assert model.batches == [[1], [3]]

    asyncio.run(run())


def test_however_a_call_ends_the_drain_no_longer_waits_for_it() -> None:
    async def stream(*requests: pb.RecognizeStreamRequest) -> AsyncIterator[pb.RecognizeStreamRequest]:
        for request in requests:
            yield request
        await asyncio.Event().wait()

    async def run() -> None:
        model = GatedModel()
        async with serving(model.run) as here:
            accepted = here.servicer.accepted
            first, kept, gone = await fill(here, model, batch(3), batch(4))
            late = here.stub.Recognize(framed(5), timeout=0.2)
            unread = here.stub.RecognizeStream(stream(*[pb.RecognizeStreamRequest(request=framed(6))] * 20))
            idle = here.stub.RecognizeStream(stream())
            while here.batcher.waiting < 23 or accepted.running < 6:
                await asyncio.sleep(0)
            gone.cancel()
            assert (await failure_of(late)).code == "DEADLINE_EXCEEDED"
            idle.cancel()
            await failure_of(here.stub.Recognize(pb.RecognizeRequest()))
            model.gate.set()
            assert ((await first).classes, (await kept).classes) == ([1], [3])
            await unread.read()  # one of twenty: the others are written to a caller that is gone
            unread.cancel()
            assert await accepted.wait_until_answered(20) > 0
            assert accepted.running == 0

    asyncio.run(run())


def test_a_failing_batch_is_internal_for_its_members_alone(caplog: pytest.LogCaptureFixture) -> None:
    def run_or_fail(images: Images, explain: bool) -> Rows:
        if images[0, 0, 0] == 13:
            raise MemoryError("device memory at 0xdeadbeef")
        return GatedModel.run(open_model, images)

    open_model = GatedModel()
    open_model.gate.set()

    async def run() -> None:
        async with serving(run_or_fail) as here:
            failure = await failure_of(here.stub.Recognize(framed(13)))
            assert failure.code == "INTERNAL"
            assert b"0xdeadbeef" not in failure.message.encode() + failure.trailer
            assert (await here.stub.Recognize(framed(4))).text == "4"

    asyncio.run(run())
    assert "0xdeadbeef" in caplog.text
