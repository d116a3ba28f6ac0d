"""What Client and AsyncClient promise alike, against a server in this process."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import PIL.Image
import pytest
from digitserve import AsyncClient, Client, errors
from digitserve.v1 import recognizer_pb2 as pb

from tests.unit.client.fake_server import FakeServer, Refusal, serve
from tests.unit.client.flavours import Flavour, Use

SEVEN = np.full((28, 28), 7, np.uint8)
THREE = np.full((28, 28), 3, np.uint8)
BLANK = np.zeros((28, 28), np.uint8)
Code = grpc.StatusCode


@pytest.fixture(params=[True, False], ids=["coalescing", "apart"])
def coalesce(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_an_image_is_read(call: Flavour, server: FakeServer, coalesce: bool) -> None:
    answer = call(server.target, lambda client: client.recognize(SEVEN, top_k=2), coalesce=coalesce)
    (character,) = answer.characters
    assert (answer.text, character.label, character.probability, character.unsure) == ("7", "7", 0.71875, False)
    assert [(other.label, other.probability) for other in character.alternatives] == [("7", 0.71875), ("8", 0.25)]
    assert (character.box.width, character.box.height, character.evidence) == (28, 28, None)
    assert (str(answer.model), answer.timing.batch_size, answer.timing.queue_ms) == ("digits:1", 2, 0.25)


def test_a_blank_is_unsure_and_no_error(call: Flavour, server: FakeServer, coalesce: bool) -> None:
    answer = call(server.target, lambda client: client.recognize(BLANK), coalesce=coalesce)
    assert (answer.text, answer.characters[0].unsure) == ("", True)


def test_every_argument_arrives(call: Flavour, server: FakeServer) -> None:
    arguments = {"model": "digits@stable", "layout": "single", "ink": "dark", "top_k": 3, "explain": True}
    answer = call(server.target, lambda client: client.recognize(SEVEN, **arguments))
    request = server.recognizer.calls[0].request
    assert (request.model, request.layout, request.ink) == ("digits@stable", pb.LAYOUT_SINGLE, pb.INK_DARK)
    assert (request.top_k, request.explain) == (3, True)
    assert answer.characters[0].evidence.values.shape == (2, 3)


@pytest.mark.parametrize("coalesce", [True, False])
def test_one_image_is_interactive_and_many_are_bulk_unless_said_otherwise(
    call: Flavour, server: FakeServer, coalesce: bool
) -> None:
    many = SEVEN[None]
    call(server.target, lambda client: client.recognize(SEVEN), coalesce=coalesce)
    call(server.target, lambda client: client.recognize(SEVEN, priority="bulk"), coalesce=coalesce)
    call(server.target, lambda client: client.recognize_batch(many))
    call(server.target, lambda client: client.recognize_batch(many, priority="interactive"))
    assert [each.request.priority for each in server.recognizer.calls] == [1, 2, 2, 1]


def test_every_kind_of_image_arrives(call: Flavour, server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(b"12345")
    colour = PIL.Image.new("RGB", (4, 4))
    kinds: list[Any] = [path, str(path), b"12345", SEVEN, PIL.Image.fromarray(SEVEN), SEVEN[:20]]
    texts = [call(server.target, lambda client, image=image: client.recognize(image)).text for image in kinds]
    assert texts == ["5", "5", "5", "7", "7", "7"]
    call(server.target, lambda client: client.recognize(colour))
    assert server.recognizer.calls[-1].request.image.encoded.startswith(b"\x89PNG")


def test_bad_arguments_never_leave(call: Flavour, server: FakeServer) -> None:
    with pytest.raises(ValueError, match="layout"):
        call(server.target, lambda client: client.recognize(SEVEN, layout="x"))
    with pytest.raises(ValueError, match="priority"):
        call(server.target, lambda client: client.recognize_batch(SEVEN[None], priority="x"))
    with pytest.raises(TypeError, match="float64"):
        call(server.target, lambda client: client.recognize(SEVEN / 2))
    with pytest.raises(FileNotFoundError):
        call(server.target, lambda client: client.recognize("absent.png"))
    with pytest.raises(ValueError, match="timeout_s"):
        call(server.target, lambda client: client.recognize(SEVEN, timeout_s=0))
    with pytest.raises(TypeError, match=r"^timeout_s is '5'"):
        call(server.target, lambda client: client.recognize(SEVEN, timeout_s="5"))
    with pytest.raises(TypeError, match=r"^model is 5"):
        call(server.target, lambda client: client.recognize(SEVEN, model=5))
    with pytest.raises(TypeError, match=r"^top_k is 1.5"):
        call(server.target, lambda client: client.recognize(SEVEN, top_k=1.5))
    with pytest.raises(TypeError, match=r"^top_k is True"):
        call(server.target, lambda client: client.recognize(SEVEN, top_k=True))
    with pytest.raises(TypeError, match=r"^service is 5"):
        call(server.target, lambda client: client.health(5))
    with pytest.raises(ValueError, match=r"localhost:1"):
        call("http://localhost:1", lambda client: client.recognize(SEVEN))
    assert not server.recognizer.calls


def test_a_batch_is_read(call: Flavour, server: FakeServer) -> None:
    images = np.stack([SEVEN, BLANK, THREE])
    batch = call(server.target, lambda client: client.recognize_batch(images, probabilities=True, layout="auto"))
    assert batch.labels == ["7", "", "3"]
    assert batch.probabilities.shape == (3, 10)
    assert server.recognizer.calls[0].request.layout == pb.LAYOUT_AUTO
    assert call(server.target, lambda client: client.recognize_batch(images)).probabilities is None


def test_an_image_over_the_usual_4_mib_passes(call: Flavour, server: FakeServer) -> None:
    file = bytes(5 * 1024 * 1024)
    assert call(server.target, lambda client: client.recognize(file)).text == str(len(file) % 10)


def test_an_answer_over_the_usual_4_mib_passes(call: Flavour, server: FakeServer) -> None:
    server.recognizer.models = [pb.Model(name="wordy", description="x" * 5 * 1024 * 1024)]
    assert call(server.target, lambda client: client.models())[0].name == "wordy"


def test_a_message_over_the_limit_is_named(call: Flavour) -> None:
    with serve(max_message_bytes=1024) as small, pytest.raises(errors.MessageTooLarge):
        call(small.target, lambda client: client.recognize_batch(np.stack([SEVEN, SEVEN])))
    with serve() as server, pytest.raises(errors.MessageTooLarge):
        call(server.target, lambda client: client.recognize_batch(np.stack([SEVEN, SEVEN])), max_message_bytes=1024)


def test_models_are_listed(call: Flavour, server: FakeServer) -> None:
    (model,) = call(server.target, lambda client: client.models())
    assert (model.name, model.version, model.max_batch_size) == ("digits", "1", 256)


def test_health_is_asked(call: Flavour, server: FakeServer) -> None:
    states = [
        call(server.target, lambda client, service=service: client.health(service))
        for service in ("", "digits", "nobody", "n" * 300)
    ]
    assert states == ["SERVING", "NOT_SERVING", "SERVICE_UNKNOWN", "SERVICE_UNKNOWN"]


CALLS: dict[str, Use] = {
    "recognize": lambda client: client.recognize(SEVEN),
    "recognize_apart": lambda client: client.recognize(b"image"),
    "recognize_batch": lambda client: client.recognize_batch(SEVEN[None]),
    "models": lambda client: client.models(),
}


@pytest.mark.parametrize("use", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("timeout_s", [None, 7.0])
def test_every_call_has_a_deadline(call: Flavour, server: FakeServer, use: Use, timeout_s: float | None) -> None:
    settings = {} if timeout_s is None else {"timeout_s": timeout_s}
    call(server.target, use, **settings)
    remaining_s = server.recognizer.calls[0].time_remaining_s
    assert remaining_s is not None
    assert 0 < remaining_s < (timeout_s or 10.0) + 1  # the two clocks may differ a little


@pytest.mark.parametrize("use", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("timeout_s", [1e10, float(sys.maxsize)])
def test_a_deadline_may_be_as_far_as_one_likes(call: Flavour, server: FakeServer, use: Use, timeout_s: float) -> None:
    call(server.target, use, timeout_s=timeout_s)
    remaining_s = server.recognizer.calls[0].time_remaining_s
    assert remaining_s is not None
    assert remaining_s > 300 * 24 * 3600


STATUSES: list[tuple[Refusal, type[errors.DigitserveError]]] = [
    (Refusal(Code.INVALID_ARGUMENT, "no such layout", field="layout"), errors.InvalidRequest),
    (Refusal(Code.INVALID_ARGUMENT, "not an image", field="image.encoded"), errors.InvalidImage),
    (Refusal(Code.NOT_FOUND, "no such model", field="model"), errors.ModelNotFound),
    (Refusal(Code.RESOURCE_EXHAUSTED, "the tray is full", retry_after_s=0.25), errors.Overloaded),
    (Refusal(Code.DEADLINE_EXCEEDED, "too late"), errors.DeadlineExceeded),
    (Refusal(Code.UNAUTHENTICATED, "no token"), errors.Unauthenticated),
    (Refusal(Code.PERMISSION_DENIED, "wrong token"), errors.Unauthenticated),
    (Refusal(Code.UNIMPLEMENTED, "not yet", field="layout"), errors.Unimplemented),
    (Refusal(Code.INTERNAL, "request 7"), errors.Internal),
    (Refusal(Code.DATA_LOSS, "lost"), errors.Internal),
]


@pytest.mark.parametrize(("refusal", "kind"), STATUSES, ids=lambda value: getattr(value, "message", ""))
@pytest.mark.parametrize("use", CALLS.values(), ids=CALLS)
def test_each_status_is_its_error_after_one_attempt(
    call: Flavour, server: FakeServer, use: Use, refusal: Refusal, kind: type[errors.DigitserveError]
) -> None:
    server.recognizer.script.append(refusal)
    with pytest.raises(kind) as caught:
        call(server.target, use)
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.message, error.field) == (refusal.code.name, refusal.message, refusal.field)
    assert error.retry_after_s == (refusal.retry_after_s or None)
    assert isinstance(error.__cause__, grpc.RpcError)
    assert len(server.recognizer.calls) == 1


@pytest.mark.parametrize("use", CALLS.values(), ids=CALLS)
def test_unavailable_is_retried(call: Flavour, server: FakeServer, use: Use) -> None:
    server.recognizer.script.extend([Refusal(Code.UNAVAILABLE)] * 2)
    call(server.target, use)
    assert len(server.recognizer.calls) == 3


def test_a_big_batch_is_retried_too(call: Flavour, server: FakeServer) -> None:
    server.recognizer.script.append(Refusal(Code.UNAVAILABLE))
    images = np.repeat(SEVEN[None], 2_000, axis=0)
    assert len(call(server.target, lambda client: client.recognize_batch(images))) == 2_000


def test_four_attempts_are_the_last(call: Flavour, server: FakeServer) -> None:
    server.recognizer.script.extend([Refusal(Code.UNAVAILABLE, "draining")] * 10)
    with pytest.raises(errors.Unavailable, match="draining"):
        call(server.target, CALLS["recognize"])
    assert len(server.recognizer.calls) == 4


def test_retries_end_with_the_deadline(call: Flavour, server: FakeServer) -> None:
    server.recognizer.open.clear()
    with pytest.raises(errors.DeadlineExceeded, match=r"^no answer before the deadline"):
        call(server.target, lambda client: client.recognize(SEVEN, timeout_s=0.1))
    with pytest.raises(errors.DeadlineExceeded):
        call(server.target, lambda client: client.recognize_batch(SEVEN[None], timeout_s=0.1))


def test_no_server_is_unavailable(call: Flavour, dead_target: str) -> None:
    with pytest.raises(errors.Unavailable):
        call(dead_target, CALLS["recognize"], timeout_s=30.0)


def test_a_service_that_is_no_recognizer_is_unimplemented(call: Flavour, server: FakeServer) -> None:
    server.recognizer.script.append(Refusal(Code.UNIMPLEMENTED, "Method not found!"))
    with pytest.raises(errors.Unimplemented):
        call(server.target, CALLS["models"])


@pytest.mark.parametrize("use", CALLS.values(), ids=CALLS)
def test_a_closed_client_says_so(server: FakeServer, use: Use) -> None:
    with Client(server.target) as client:
        use(client)
    client.close()
    with pytest.raises(errors.ClientClosed):
        use(client)

    async def scenario() -> None:
        async with AsyncClient(server.target) as client:
            await use(client)
        await client.close()
        with pytest.raises(errors.ClientClosed):
            await use(client)

    asyncio.run(scenario())


def test_an_injected_channel_stays_open(server: FakeServer) -> None:
    with grpc.insecure_channel(server.target) as channel:
        with Client(channel=channel) as client:
            assert client.recognize(SEVEN).text == "7"
        with Client(channel=channel) as client:
            assert client.recognize(SEVEN).text == "7"


def test_an_injected_asyncio_channel_stays_open(server: FakeServer) -> None:
    async def scenario() -> None:
        async with grpc.aio.insecure_channel(server.target) as channel:
            async with AsyncClient(channel=channel) as client:
                assert (await client.recognize(SEVEN)).text == "7"
            async with AsyncClient(channel=channel) as client:
                assert (await client.recognize(SEVEN)).text == "7"

    asyncio.run(scenario())
