"""Many images over one stream, in both flavours."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import PIL.Image
import pytest
from digitserve import (
    AsyncClient,
    Client,
    ClientClosed,
    Internal,
    InvalidImage,
    ModelNotFound,
    Recognition,
    Unavailable,
)
from numpy.typing import NDArray

from tests.unit.client.fake_server import PATIENCE_S, FakeServer

StreamAll: TypeAlias = Callable[..., list[Any]]


def stream_sync(target: str, images: Iterable[Any], **arguments: Any) -> list[Any]:
    with Client(target) as client:
        return list(client.recognize_stream(images, **arguments))


def stream_async(target: str, images: Iterable[Any], **arguments: Any) -> list[Any]:
    async def scenario() -> list[Any]:
        async with AsyncClient(target) as client:
            return [answer async for answer in client.recognize_stream(images, **arguments)]

    return asyncio.run(scenario())


async def one_by_one(images: Iterable[Any]) -> AsyncIterator[Any]:
    for image in images:
        yield image


def stream_async_source(target: str, images: Iterable[Any], **arguments: Any) -> list[Any]:
    return stream_async(target, one_by_one(images), **arguments)  # type: ignore[arg-type]


@pytest.fixture(params=[stream_sync, stream_async, stream_async_source], ids=["sync", "async", "async source"])
def stream(request: pytest.FixtureRequest) -> StreamAll:
    flavour: StreamAll = request.param
    return flavour


def image_of(number: int) -> NDArray[np.uint8]:
    return np.full((28, 28), number, np.uint8)


def test_answers_come_in_order(stream: StreamAll, server: FakeServer) -> None:
    answers = stream(server.target, (image_of(index % 200 + 1) for index in range(500)), top_k=1)
    assert [answer.text for answer in answers] == [str((index % 200 + 1) % 10) for index in range(500)]
    assert {call.method for call in server.recognizer.calls} == {"RecognizeStream"}
    assert answers[6].characters[0].alternatives[0].label == "7"


def test_a_stream_has_a_deadline(stream: StreamAll, server: FakeServer) -> None:
    stream(server.target, [image_of(1)], timeout_s=50.0)
    remaining_s = server.recognizer.calls[0].time_remaining_s
    assert remaining_s is not None
    assert 0 < remaining_s < 51


@pytest.mark.parametrize("window", [0, -1, 1.5, float("nan")])
def test_a_window_that_holds_nothing_is_refused_at_once(window: Any) -> None:
    """When the method is called, not when its answers are iterated; a window of 0 would wait for ever."""
    with Client() as client, pytest.raises(ValueError, match="window is"):
        client.recognize_stream([], window=window)
    with pytest.raises(ValueError, match="window is"):
        AsyncClient().recognize_stream([], window=window)


@pytest.mark.parametrize("images", ["seven.png", Path("seven.png"), b"image", image_of(7), PIL.Image.new("L", (9, 9)), None, 5])
def test_one_image_is_not_many(images: Any) -> None:
    with Client() as client, pytest.raises(TypeError, match=r"images is .*: give an iterable of images, such as a list"):
        client.recognize_stream(images)
    with pytest.raises(TypeError, match=r"images is .*: give an iterable of images, such as a list"):
        AsyncClient().recognize_stream(images)


def test_only_the_asyncio_client_takes_what_is_awaited() -> None:
    with Client() as client, pytest.raises(TypeError, match="of type async_generator"):
        client.recognize_stream(one_by_one([]))  # type: ignore[arg-type]


def test_whatever_can_be_iterated_is_many(stream: StreamAll, server: FakeServer) -> None:
    class Indexed:
        def __getitem__(self, index: int) -> NDArray[np.uint8]:
            return [image_of(1), image_of(2)][index]

    held = np.empty(2, object)
    held[:] = [image_of(1), image_of(2)]
    for images in (held, np.stack([image_of(1), image_of(2)]), Indexed()):
        assert [answer.text for answer in stream(server.target, images)] == ["1", "2"]


def test_no_images_no_answers(stream: StreamAll, server: FakeServer) -> None:
    assert stream(server.target, []) == []


def test_an_image_that_fails_on_the_server_ends_nothing(stream: StreamAll, server: FakeServer) -> None:
    first, second = stream(server.target, [image_of(1), image_of(2)], model="nonsense")
    for error in (first, second):
        assert isinstance(error, ModelNotFound)
        assert (error.message, error.field, error.retry_after_s) == ("no such model", "model", 0.25)


def test_an_image_that_cannot_be_sent_keeps_its_place(stream: StreamAll, server: FakeServer) -> None:
    images = [image_of(1), "absent.png", image_of(3), np.zeros((2, 2)), None]
    answers = stream(server.target, images)
    assert [answer.text if isinstance(answer, Recognition) else type(answer) for answer in answers] == [
        "1",
        InvalidImage,
        "3",
        InvalidImage,
        InvalidImage,
    ]
    assert isinstance(answers[1].__cause__, FileNotFoundError)
    assert "float64" in answers[3].message


def test_a_window_full_of_bad_images_does_not_block(stream: StreamAll, server: FakeServer) -> None:
    answers = stream(server.target, ["absent.png"] * 20 + [image_of(7)], window=4)
    assert len(answers) == 21
    assert answers[-1].text == "7"


def test_what_the_source_raises_is_raised(stream: StreamAll, server: FakeServer) -> None:
    def source() -> Iterator[Any]:
        yield image_of(1)
        raise ZeroDivisionError("the camera broke")

    with pytest.raises(ZeroDivisionError, match="the camera broke"):
        stream(server.target, source())


def test_answers_out_of_order_are_refused(stream: StreamAll, server: FakeServer) -> None:
    with pytest.raises(Internal, match="out of order"):
        stream(server.target, [image_of(1)], model="disorder")


def test_a_stream_that_the_server_ends_early_is_an_error(stream: StreamAll, server: FakeServer) -> None:
    with pytest.raises(Unavailable, match="ended the stream"):
        stream(server.target, [image_of(index) for index in range(100)], model="brief")


def test_no_server_is_unavailable(stream: StreamAll, dead_target: str) -> None:
    with pytest.raises(Unavailable):
        stream(dead_target, [image_of(1)])


def test_bad_arguments_never_leave(stream: StreamAll, server: FakeServer) -> None:
    with pytest.raises(ValueError, match="layout"):
        stream(server.target, [image_of(1)], layout="x")
    with pytest.raises(ValueError, match="timeout_s"):
        stream(server.target, [image_of(1)], timeout_s=float("inf"))
    assert not server.recognizer.calls


class Counted:
    """A source without end that knows how far it was read."""

    def __init__(self) -> None:
        self.count = 0

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        while True:
            self.count += 1
            yield image_of(7)


def test_the_window_bounds_how_far_the_source_is_read(server: FakeServer) -> None:
    source = Counted()
    with Client(server.target) as client:
        answers = client.recognize_stream(source, window=8)
        for taken in range(1, 50):
            next(answers)
            assert source.count <= taken + 9
        answers.close()  # type: ignore[attr-defined]


def test_the_window_bounds_an_asyncio_source_too(server: FakeServer) -> None:
    async def scenario() -> None:
        source = Counted()
        async with AsyncClient(server.target) as client:
            answers = client.recognize_stream(source, window=8)
            for taken in range(1, 50):
                await anext(answers)
                assert source.count <= taken + 9
            await answers.aclose()  # type: ignore[attr-defined]

    asyncio.run(scenario())


def test_an_answer_does_not_wait_for_the_next_image(server: FakeServer) -> None:
    """A camera sees its first answer before it takes the second picture."""
    answered: list[str] = []

    async def camera() -> AsyncIterator[NDArray[np.uint8]]:
        for number in (1, 2, 3):
            taken.clear()
            yield image_of(number)
            await taken.wait()

    taken = asyncio.Event()

    async def scenario() -> None:
        async with AsyncClient(server.target) as client:
            async for answer in client.recognize_stream(camera()):
                assert isinstance(answer, Recognition)
                answered.append(answer.text)
                taken.set()

    asyncio.run(scenario())
    assert answered == ["1", "2", "3"]


def test_closing_ends_a_stream_that_waits_for_its_source(server: FakeServer) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def camera() -> Iterator[NDArray[np.uint8]]:
        yield image_of(1)
        asked.set()
        go_on.wait(PATIENCE_S)

    client = Client(server.target)
    answers = client.recognize_stream(camera())
    next(answers)
    assert asked.wait(PATIENCE_S)
    client.close()
    with pytest.raises(ClientClosed):
        next(answers)
    go_on.set()


def test_closing_ends_an_asyncio_stream_that_waits_for_its_source(server: FakeServer) -> None:
    async def camera() -> AsyncIterator[NDArray[np.uint8]]:
        yield image_of(1)
        await asyncio.Event().wait()

    async def scenario() -> None:
        client = AsyncClient(server.target)
        answers = client.recognize_stream(camera())
        await anext(answers)
        await client.close()
        with pytest.raises(ClientClosed):
            await anext(answers)

    asyncio.run(scenario())


def test_a_closed_client_streams_nothing(server: FakeServer) -> None:
    client = Client(server.target)
    client.close()
    with pytest.raises(ClientClosed):
        client.recognize_stream([])

    async def scenario() -> None:
        closed = AsyncClient(server.target)
        await closed.close()
        with pytest.raises(ClientClosed):
            closed.recognize_stream([])

    asyncio.run(scenario())
