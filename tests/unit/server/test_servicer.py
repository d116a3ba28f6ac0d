"""The servicer without a socket: what each RPC makes of a request, on a model that answers by a simple rule."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from digitserve.v1 import recognizer_pb2 as pb

from server import intake
from server.batcher import Batcher
from server.crowd import Crowd
from server.errors import RecognizerError
from server.intake import Intake
from server.job import Images, Rows
from server.limits import Limits
from server.preprocess import is_framed
from server.repository import ModelCard
from server.servicer import RecognizerServicer, Served
from tests.unit.server.test_preprocess import REFERENCE, draw_seven
from tests.unit.server.vans import played

CARD = ModelCard(
    name="digits",
    version="3",
    path=Path("unused"),
    labels=("stable",),
    class_names=("a", "b", "c"),
    size=28,
    max_batch_size=8,
    threshold=0.6,
    accuracy=0.99,
    accuracy_n=100,
    description="a test's model",
)


class Aborted(Exception):
    """The call was ended by the server."""


class Context:
    """As much of a gRPC context as is used."""

    code: grpc.StatusCode | None = None

    def time_remaining(self) -> float | None:
        return 5.0

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    async def abort(self, code: grpc.StatusCode, message: str, metadata: object) -> None:
        self.code = code
        raise Aborted(message)


def answer_by_corner(images: Images, explain: bool = False) -> Rows:
    """The class is the corner pixel modulo 3, with probability 0.5 where that pixel is over 200, else 0.8."""
    corners = images[:, 0, 0].astype(int)
    best = np.where(corners > 200, 0.5, 0.8)
    probabilities = np.repeat((1 - best)[:, None] / 2, 3, axis=1)
    probabilities[np.arange(len(images)), corners % 3] = best
    evidence = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2) + corners[:, None, None, None]
    rows = probabilities.astype(np.float32), evidence.astype(np.float32)
    return rows if explain else rows[:1]


def make_intake(threads: ThreadPoolExecutor, max_waiting: int) -> Intake:
    return Intake(threads, max_pixels=10**6, max_waiting=max_waiting, max_waiting_bytes=10**8)


def make_servicer(stream_window: int = 4) -> RecognizerServicer:
    threads = ThreadPoolExecutor(1)
    served = Served(CARD, Batcher(answer_by_corner, Limits(inline_batch_size=4), threads), "CPUExecutionProvider")
    models = dict.fromkeys(("", "digits", "digits:3", "digits@stable"), served)
    return RecognizerServicer(models, make_intake(threads, max_waiting=2), stream_window=stream_window)


def framed(corner: int) -> bytes:
    pixels = REFERENCE.copy()
    pixels[0, 0] = corner
    return pixels.tobytes()


def ask(corner: int, **fields: object) -> pb.RecognizeRequest:
    raw = pb.RawImage(pixels=framed(corner), width=28, height=28)
    return pb.RecognizeRequest(image=pb.Image(raw=raw), layout=pb.LAYOUT_FRAMED, **fields)  # type: ignore[arg-type]


@played
async def test_recognize_answers_with_all_that_belongs_to_it() -> None:
    response = await make_servicer().Recognize(ask(4), Context())
    assert response.text == "b"
    (character,) = response.characters
    assert (character.label, round(character.probability, 5), character.unsure) == ("b", 0.8, False)
    assert (character.box.left, character.box.top, character.box.width, character.box.height) == (0, 0, 28, 28)
    assert not character.alternatives
    assert not character.HasField("evidence")
    assert (response.model.name, response.model.version) == ("digits", "3")
    assert response.timing.batch_size == 1


@played
async def test_below_the_threshold_is_unsure() -> None:
    response = await make_servicer().Recognize(ask(201), Context())
    assert response.characters[0].unsure
    assert response.text == "a"


@played
async def test_alternatives_come_best_first_and_no_more_than_there_are() -> None:
    two = (await make_servicer().Recognize(ask(5, top_k=2), Context())).characters[0].alternatives
    assert [one.label for one in two] == ["c", "a"]
    all_of_them = (await make_servicer().Recognize(ask(5, top_k=99), Context())).characters[0].alternatives
    assert [round(one.probability, 5) for one in all_of_them] == [0.8, 0.1, 0.1]


@played
async def test_explain_brings_the_winners_evidence_and_the_frame() -> None:
    evidence = (await make_servicer().Recognize(ask(4, explain=True), Context())).characters[0].evidence
    assert (evidence.width, evidence.height) == (2, 2)
    assert list(evidence.values) == [8.0, 9.0, 10.0, 11.0]
    assert evidence.frame == framed(4)


@played
async def test_a_picture_is_framed_before_the_model_sees_it() -> None:
    picture = 255 - draw_seven()
    raw = pb.RawImage(pixels=picture.tobytes(), width=200, height=200)
    request = pb.RecognizeRequest(image=pb.Image(raw=raw), explain=True)
    (character,) = (await make_servicer().Recognize(request, Context())).characters
    assert character.evidence.frame != b""
    assert character.box.width < 120


@played
async def test_a_blank_image_is_unsure_and_no_error() -> None:
    raw = pb.RawImage(pixels=bytes(784), width=28, height=28)
    response = await make_servicer().Recognize(pb.RecognizeRequest(image=pb.Image(raw=raw)), Context())
    assert response.text == ""
    assert response.characters[0].unsure
    assert response.characters[0].probability == 0.0
    assert response.timing.batch_size == 0


@played
async def test_a_batch_is_answered_in_order_and_blank_rows_are_marked() -> None:
    request = pb.RecognizeBatchRequest(images=framed(1) + bytes(784) + framed(201), probabilities=True)
    response = await make_servicer().RecognizeBatch(request, Context())
    assert list(response.classes) == [1, -1, 0]
    assert list(response.unsure) == [False, True, True]
    rows = np.frombuffer(response.probabilities, "<f4").reshape(3, 3)
    assert rows[0] == pytest.approx([0.1, 0.8, 0.1])
    assert rows[1].tolist() == [0, 0, 0]
    assert list(response.class_names) == ["a", "b", "c"]
    assert not response.boxes


@played
async def test_a_batch_says_no_probabilities_unless_asked() -> None:
    response = await make_servicer().RecognizeBatch(pb.RecognizeBatchRequest(images=framed(1)), Context())
    assert response.probabilities == b""


@played
async def test_a_batch_may_say_how_large_its_images_are() -> None:
    request = pb.RecognizeBatchRequest(images=framed(1) + framed(201), height=28, width=28)
    assert list((await make_servicer().RecognizeBatch(request, Context())).classes) == [1, 0]


@played
async def test_auto_frames_the_strangers_of_a_batch_alone() -> None:
    stranger = (255 - REFERENCE).tobytes()
    request = pb.RecognizeBatchRequest(images=REFERENCE.tobytes() + stranger, layout=pb.LAYOUT_AUTO)
    response = await make_servicer().RecognizeBatch(request, Context())
    assert list(response.classes) == [0, 0]
    assert list(response.boxes)[:4] == [0, 0, 28, 28]
    assert list(response.boxes)[4:] != [0, 0, 28, 28]
    as_framed = await make_servicer().RecognizeBatch(pb.RecognizeBatchRequest(images=stranger), Context())
    assert as_framed.timing.batch_size == 1
    assert not as_framed.boxes


@played
async def test_many_strangers_are_framed_on_a_thread_as_a_few_are_at_once() -> None:
    stranger = (255 - REFERENCE).tobytes()
    servicer = make_servicer()
    few = await servicer.RecognizeBatch(pb.RecognizeBatchRequest(images=stranger, layout=pb.LAYOUT_AUTO), Context())
    names: set[str] = set()

    def note(images: Images) -> list[bool]:
        names.add(threading.current_thread().name)
        return is_framed(images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "is_framed", note)
        request = pb.RecognizeBatchRequest(images=stranger * 5, layout=pb.LAYOUT_AUTO)
        many = await servicer.RecognizeBatch(request, Context())
    assert list(many.boxes) == list(few.boxes) * 5
    assert list(many.classes) == list(few.classes) * 5
    assert len(names) == 2  # looked at on the loop, framed on a thread


@played
async def test_the_models_are_listed_once_each() -> None:
    (model,) = (await make_servicer().ListModels(pb.ListModelsRequest(), Context())).models
    assert (model.name, model.version, list(model.labels)) == ("digits", "3", ["stable"])
    assert model.execution_provider == "CPUExecutionProvider"
    assert model.threshold == pytest.approx(0.6)


async def stream(servicer: RecognizerServicer, requests: list[pb.RecognizeRequest]) -> list[pb.RecognizeStreamResponse]:
    async def source() -> AsyncIterator[pb.RecognizeStreamRequest]:
        for number, request in enumerate(requests):
            yield pb.RecognizeStreamRequest(id=number + 10, request=request)

    return [answer async for answer in servicer.RecognizeStream(source(), Context())]


@played
async def test_a_stream_answers_in_order_and_a_bad_image_ends_nothing() -> None:
    bad = pb.RecognizeRequest(image=pb.Image(encoded=b"text"))
    answers = await stream(make_servicer(), [ask(0), bad, ask(1), ask(2, model="nobody"), ask(2)])
    assert [answer.id for answer in answers] == [10, 11, 12, 13, 14]
    assert [answer.response.text for answer in answers] == ["a", "", "b", "", "c"]
    assert (answers[1].error.code, answers[1].error.field) == (3, "image.encoded")
    assert (answers[3].error.code, answers[3].error.field) == (5, "model")


@played
async def test_in_a_crowd_the_requests_of_a_stream_gather() -> None:
    servicer = make_servicer()
    limits = Limits(inline_batch_size=4, crowd_gather_ms=2000, bulk_gathers=True)
    batcher = servicer.find("").batcher = Batcher(answer_by_corner, limits, ThreadPoolExecutor(1))
    batcher._crowds[True].has_gathered(Crowd.ENOUGH)
    answers = await stream(servicer, [ask(corner) for corner in range(4)])
    assert [answer.response.timing.batch_size for answer in answers] == [4, 4, 4, 4]
    assert [answer.response.text for answer in answers] == ["a", "b", "c", "a"]


@played
async def test_a_stream_reads_no_further_than_its_window() -> None:
    servicer = make_servicer(stream_window=4)
    read = 0
    gate = asyncio.Event()

    async def held(request: object, deadline: object, *, bulk: bool) -> pb.RecognizeResponse:
        await gate.wait()
        return pb.RecognizeResponse()

    async def source() -> AsyncIterator[pb.RecognizeStreamRequest]:
        nonlocal read
        for number in range(50):
            read += 1
            yield pb.RecognizeStreamRequest(id=number)

    servicer._recognize = held  # type: ignore[method-assign]
    answers = servicer.RecognizeStream(source(), Context())
    first = asyncio.ensure_future(anext(answers))
    for _ in range(200):
        await asyncio.sleep(0)
    assert read <= 5
    gate.set()
    assert (await first).id == 0
    assert [answer.id async for answer in answers] == list(range(1, 50))


@played
async def test_a_stream_that_is_left_leaves_nothing_running() -> None:
    servicer = make_servicer()

    async def for_ever(request: object, deadline: object, *, bulk: bool) -> pb.RecognizeResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async def source() -> AsyncIterator[pb.RecognizeStreamRequest]:
        yield pb.RecognizeStreamRequest()
        await asyncio.Event().wait()

    servicer._recognize = for_ever  # type: ignore[method-assign]
    reading = asyncio.ensure_future(anext(servicer.RecognizeStream(source(), Context())))
    for _ in range(10):
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


@played
async def test_a_stream_that_is_idle_does_not_hold_up_a_drain() -> None:
    servicer, context = make_servicer(), Context()

    async def source() -> AsyncIterator[pb.RecognizeStreamRequest]:
        yield pb.RecognizeStreamRequest(id=1, request=ask(0))
        await asyncio.Event().wait()

    answers = servicer.RecognizeStream(source(), context)
    assert (await anext(answers)).id == 1
    ending = asyncio.ensure_future(anext(answers))
    await asyncio.wait([ending], timeout=0.05)
    assert not ending.done()  # idle is no reason to end as long as the server serves
    servicer.accepted.refuse()
    with pytest.raises(Aborted, match="reads no more of this stream"):
        await ending
    assert context.code is grpc.StatusCode.UNAVAILABLE


@played
async def test_a_stream_that_never_pauses_ends_with_the_drain_and_all_that_was_read_is_answered() -> None:
    servicer, gate, read = make_servicer(), asyncio.Event(), 0

    async def answer_later(request: pb.RecognizeRequest, deadline: object, *, bulk: bool) -> pb.RecognizeResponse:
        await gate.wait()
        return pb.RecognizeResponse()

    async def source() -> AsyncIterator[pb.RecognizeStreamRequest]:
        nonlocal read
        while True:
            await asyncio.sleep(0)
            read += 1
            yield pb.RecognizeStreamRequest(id=read, request=ask(0))

    servicer._recognize = answer_later  # type: ignore[method-assign]
    context, answered = Context(), list[int]()

    async def receive() -> None:
        async for item in servicer.RecognizeStream(source(), context):
            answered.append(item.id)

    receiving = asyncio.ensure_future(receive())
    while read < 3:
        await asyncio.sleep(0)
    servicer.accepted.refuse()
    for _ in range(10):
        await asyncio.sleep(0)
    read_when_refused = read
    gate.set()
    with pytest.raises(Aborted, match="what it has read is answered"):
        await receiving
    assert context.code is grpc.StatusCode.UNAVAILABLE
    assert (answered, read) == (list(range(1, len(answered) + 1)), read_when_refused)
    assert len(answered) >= 3 - 1  # the last one may be under way when the reading stops


@played
async def test_a_stream_whose_end_was_read_ends_well_though_the_server_drains() -> None:
    servicer, gate, ended = make_servicer(), asyncio.Event(), asyncio.Event()

    async def answer_later(request: pb.RecognizeRequest, deadline: object, *, bulk: bool) -> pb.RecognizeResponse:
        await gate.wait()
        return pb.RecognizeResponse()

    async def source() -> AsyncIterator[pb.RecognizeStreamRequest]:
        for number in (1, 2, 3):
            yield pb.RecognizeStreamRequest(id=number, request=ask(0))
        ended.set()

    async def receive() -> list[int]:
        return [item.id async for item in servicer.RecognizeStream(source(), Context())]

    servicer._recognize = answer_later  # type: ignore[method-assign]
    receiving = asyncio.ensure_future(receive())
    await ended.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    servicer.accepted.refuse()
    gate.set()
    assert await receiving == [1, 2, 3]


@played
async def test_images_that_wait_for_a_thread_are_bounded() -> None:
    full = make_intake(ThreadPoolExecutor(1), max_waiting=0)
    raw = pb.RawImage(pixels=bytes(200 * 200), width=200, height=200)
    taken = full.take(pb.RecognizeRequest(image=pb.Image(raw=raw)), 28)
    with pytest.raises(RecognizerError, match="0 large images wait") as caught:
        await taken  # type: ignore[misc]
    assert caught.value.code == "RESOURCE_EXHAUSTED"
