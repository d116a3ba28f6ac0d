"""Callers load and unload models by the Open Inference Protocol, where the server lets them, with the stock tritonclient."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import tritonclient.grpc.aio
from digitserve.v1 import recognizer_pb2
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from server.app import OPEN_INFERENCE, SERVICE, make_server
from server.batcher import Batcher
from server.catalog import Catalog
from server.config import Settings
from server.health import HealthServicer
from server.intake import Intake
from server.limits import Limits
from server.repository import ModelCard
from server.servicer import RecognizerServicer, Served
from server.session import ModelError
from tests.contract.test_causes import framed
from tests.details import failure_of
from tests.in_process import GatedModel, read_stamps
from tests.open_inference import image_input, open_stub, stamps
from tests.repository import write_model

Test = Callable[[Any, grpc.aio.Channel], Awaitable[None]]
NAMES = tuple("0123456789")


def publish(root: Path, version: str, **changes: Any) -> None:
    write_model(root, version=version, class_names=NAMES, **changes)


GATED = GatedModel()
TRAYS: list[Batcher] = []  # before it
GATES: list[asyncio.Event] = []  # of loads that wait


async def load(card: ModelCard, report: Callable[[], object]) -> Served:
    """Stands for the loader; the card's description says whether it is any good."""
    if card.description == "slow":
        TRAYS.append(Batcher(GATED.run, Limits(), ThreadPoolExecutor(1)))
        return Served(card, TRAYS[-1], "CPUExecutionProvider")
    if card.description == "waits":
        GATES.append(asyncio.Event())
        await GATES[-1].wait()
    elif card.description:
        raise ModelError(f"{card.path} is not the model that was measured: it takes a 7 for a 1")
    return Served(card, Batcher(read_stamps, Limits(), ThreadPoolExecutor(1)), "CPUExecutionProvider")


@asynccontextmanager
async def serving(root: Path, *, control: bool = True) -> AsyncIterator[tuple[str, RecognizerServicer]]:
    """A server of the models in a folder: its address, and what is behind it."""
    health = HealthServicer(SERVICE, OPEN_INFERENCE)
    catalog = Catalog(root, health)
    await catalog.open(load)
    intake = Intake(ThreadPoolExecutor(1), max_pixels=10**6, max_waiting=2, max_waiting_bytes=10**8)
    servicer = RecognizerServicer(catalog.models, intake, stream_window=4)
    server = make_server(servicer, health, Settings(port=0, model_control=control), catalog)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    catalog.watch(0)
    yield address, servicer
    await server.stop(None)


def with_client(root: Path, test: Test, *, control: bool = True) -> None:
    """A server of the models in a folder, and the stock client before it."""

    async def run() -> None:
        async with serving(root, control=control) as (address, _):
            client = tritonclient.grpc.aio.InferenceServerClient(address)
            async with client, grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                await test(client, channel)

    asyncio.run(asyncio.wait_for(run(), 60))


async def read_index(client: Any) -> list[tuple[str, str, str]]:
    return [(one.version, one.state, one.reason) for one in (await client.get_model_repository_index()).models]


def test_a_model_is_unloaded_and_loaded(tmp_path: Path) -> None:
    publish(tmp_path, "1")

    async def test(client: Any, channel: grpc.aio.Channel) -> None:
        assert await client.is_model_ready("digits")
        await client.unload_model("digits")
        assert not await client.is_model_ready("digits")
        assert await read_index(client) == [("1", "UNAVAILABLE", "unloaded")]
        with pytest.raises(InferenceServerException, match="no model 'digits' is served"):
            await client.infer("digits", [image_input(stamps(1))])
        with pytest.raises(InferenceServerException, match="no model 'digits' is served"):
            await client.unload_model("digits")
        await client.load_model("digits")
        assert await client.is_model_ready("digits", "1")
        assert await read_index(client) == [("1", "READY", "")]

    with_client(tmp_path, test)


def test_whoever_has_found_a_model_is_answered_by_it_though_it_is_gone(tmp_path: Path) -> None:
    """One in the model, one in the tray, and two of a stream."""
    publish(tmp_path, "1", description="slow")

    async def test(client: Any, channel: grpc.aio.Channel) -> None:
        stub = RecognizerStub(channel)  # type: ignore[no-untyped-call]
        calls = [stub.Recognize(framed(7))]
        await GATED.started()
        calls.append(stub.Recognize(framed(3)))
        stream = stub.RecognizeStream(iter([recognizer_pb2.RecognizeStreamRequest(request=framed(5))] * 2))
        while TRAYS[-1].waiting < 3:
            await asyncio.sleep(0)  # no time passes: this only lets the server's side of the loop go on
        await client.unload_model("digits")
        assert (await failure_of(stub.Recognize(framed(1)))).code == "NOT_FOUND"
        GATED.gate.set()
        assert [(await call).text for call in calls] == ["7", "3"]
        assert [answer.response.text async for answer in stream] == ["5", "5"]

    with_client(tmp_path, test)


def test_a_new_version_is_loaded_at_once_for_both_services(tmp_path: Path) -> None:
    publish(tmp_path, "1", labels=["stable"])

    async def test(client: Any, channel: grpc.aio.Channel) -> None:
        publish(tmp_path, "2", labels=["stable"])
        await client.load_model("digits")
        response = (await client.infer("digits", [image_input(stamps(1))])).get_response()
        assert response.model_version == "2"
        models = (await RecognizerStub(channel).ListModels(recognizer_pb2.ListModelsRequest())).models  # type: ignore[no-untyped-call]
        assert {(one.version, tuple(one.labels)) for one in models} == {("1", ()), ("2", ("stable",))}

    with_client(tmp_path, test)


def test_a_version_that_is_refused_says_why_and_names_no_path(tmp_path: Path) -> None:
    publish(tmp_path, "1")

    async def test(client: Any, channel: grpc.aio.Channel) -> None:
        publish(tmp_path, "2", description="bad")
        reason = "digits/2/model.onnx is not the model that was measured"
        request = pb.RepositoryModelLoadRequest(model_name="digits")
        failure = await failure_of(open_stub(channel).RepositoryModelLoad(request))
        assert (failure.code, failure.field) == ("FAILED_PRECONDITION", "model_name")
        assert failure.message == f"digits 2 is refused: {reason}"
        assert str(tmp_path).encode() not in failure.message.encode() + failure.trailer
        assert await read_index(client) == [("1", "READY", ""), ("2", "UNAVAILABLE", reason)]
        assert await client.is_model_ready("digits")

    with_client(tmp_path, test)


def load_request(**fields: Any) -> Any:
    return pb.RepositoryModelLoadRequest(model_name="digits", **fields)


def unload_request(**fields: Any) -> Any:
    return pb.RepositoryModelUnloadRequest(model_name="digits", **fields)


YES, TEXT = pb.ModelRepositoryParameter(bool_param=True), pb.ModelRepositoryParameter(string_param="{}")
REFUSED = {
    "a configuration": (load_request(parameters={"config": TEXT}), "UNIMPLEMENTED", "parameters", "'config'"),
    "a file": (load_request(parameters={"file:1/model.onnx": TEXT}), "UNIMPLEMENTED", "parameters", "'file:1/model.onnx'"),
    "a repository": (load_request(repository_name="mine"), "UNIMPLEMENTED", "repository_name", "there is one repository"),
    "nobody": (pb.RepositoryModelLoadRequest(model_name="letters"), "NOT_FOUND", "model_name", "no model 'letters' lies"),
    "a path": (pb.RepositoryModelLoadRequest(model_name="../digits"), "NOT_FOUND", "model_name", "no model '../digits' lies"),
    "dependents": (
        unload_request(parameters={"unload_dependents": YES}), "UNIMPLEMENTED", "parameters", "'unload_dependents'"
    ),
    "a parameter": (unload_request(parameters={"force": YES}), "UNIMPLEMENTED", "parameters", "'force'"),
    "a repository to unload": (unload_request(repository_name="mine"), "UNIMPLEMENTED", "repository_name", "one repository"),
    "nobody to unload": (pb.RepositoryModelUnloadRequest(model_name="letters"), "NOT_FOUND", "model_name", "'letters' is"),
}  # fmt: skip


def call(channel: grpc.aio.Channel, request: Any) -> Any:
    method = type(request).__name__.removesuffix("Request")
    return getattr(open_stub(channel), method)(request)


@pytest.mark.parametrize(("request_", "code", "field", "says"), REFUSED.values(), ids=list(REFUSED))
def test_what_is_not_supported_is_refused_by_its_name(tmp_path: Path, request_: Any, code: str, field: str, says: str) -> None:
    publish(tmp_path, "1")

    async def test(client: Any, channel: grpc.aio.Channel) -> None:
        failure = await failure_of(call(channel, request_))
        assert (failure.code, failure.field) == (code, field)
        assert says in failure.message
        assert await client.is_model_ready("digits")

    with_client(tmp_path, test)


@pytest.mark.parametrize("request_", [load_request(), unload_request()], ids=["load", "unload"])
def test_nobody_loads_or_unloads_unless_the_server_says_so(tmp_path: Path, request_: Any) -> None:
    publish(tmp_path, "1")

    async def test(client: Any, channel: grpc.aio.Channel) -> None:
        publish(tmp_path, "2")
        failure = await failure_of(call(channel, request_))
        name = type(request_).__name__.removesuffix("Request")
        said = f"{name} is not supported by this server unless it is started with --model-control true"
        assert (failure.code, failure.message) == ("UNIMPLEMENTED", said)
        assert await read_index(client) == [("1", "READY", "")]

    with_client(tmp_path, test, control=False)


def test_the_drain_waits_for_a_load_and_lets_no_other_begin(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (address, servicer), tritonclient.grpc.aio.InferenceServerClient(address) as client:
            publish(tmp_path, "2", description="waits")
            loading = asyncio.create_task(client.load_model("digits"))
            while not GATES:
                await asyncio.sleep(0)
            servicer.accepted.refuse()
            assert servicer.accepted.running == 1
            for refused in (client.load_model("digits"), client.unload_model("digits")):
                with pytest.raises(InferenceServerException, match="draining") as raised:
                    await refused
                assert raised.value.status() == "StatusCode.UNAVAILABLE"
            GATES.pop().set()
            assert await servicer.accepted.wait_until_answered(20) > 0
            await loading
            assert servicer.models["digits"].card.version == "2"

    publish(tmp_path, "1")
    asyncio.run(asyncio.wait_for(run(), 60))
