"""The stock tritonclient, sync and asyncio, works unchanged: whatever the Open Inference Protocol has and this server, too."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import digitserve
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
from digitserve.v1 import recognizer_pb2 as pb
from tritonclient.grpc import InferInput, InferResult, service_pb2
from tritonclient.utils import InferenceServerException

from server.job import Images, Rows
from server.limits import Limits
from tests.in_process import NAMES, GatedModel, InProcess, read_stamps, serving
from tests.open_inference import ask_for, encoded_input, image_input, make_request, open_stub, read_classes, stamps
from tests.pictures import encode_grey

Call = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def connect(here: InProcess, kind: str) -> AsyncIterator[Call]:
    """Calls the methods of one of tritonclient's clients by their names."""
    if kind == "asyncio":
        async with tritonclient.grpc.aio.InferenceServerClient(here.address) as client:
            yield lambda method, *given, **named: getattr(client, method)(*given, **named)
        return
    client = tritonclient.grpc.InferenceServerClient(here.address)
    yield lambda method, *given, **named: asyncio.to_thread(getattr(client, method), *given, **named)
    await asyncio.to_thread(client.close)


@pytest.fixture(params=["sync", "asyncio"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def with_client(kind: str, test: Callable[[InProcess, Call], Awaitable[None]], **server: Any) -> None:
    async def run() -> None:
        async with serving(**server) as here, connect(here, kind) as call:
            await test(here, call)

    asyncio.run(run())


def best(result: InferResult) -> list[int]:
    classes: list[int] = result.as_numpy("probabilities").argmax(axis=1).tolist()
    return classes


def test_health(kind: str) -> None:
    async def test(here: InProcess, call: Call) -> None:
        assert await call("is_server_live") is True
        for asked, ready in [(("digits",), True), (("digits", "1"), True), (("",), True), (("digits", "2"), False)]:
            assert await call("is_model_ready", *asked) is ready, asked
        for nobody in ("nobody", "digitserve.v1.Recognizer"):
            assert await call("is_model_ready", nobody) is False
        assert await call("is_server_ready") is True
        here.health.report(dict.fromkeys(NAMES, False))
        assert [await call("is_server_ready"), await call("is_model_ready", "digits")] == [False, False]
        here.health.report(dict.fromkeys(NAMES, True))
        assert await call("is_server_ready") is True
        here.health.drain()
        assert [await call("is_server_ready"), await call("is_model_ready", "digits", "1")] == [False, False]
        assert await call("is_server_live") is True

    with_client(kind, test)


def test_server_metadata_claims_what_there_is(kind: str) -> None:
    async def test(here: InProcess, call: Call) -> None:
        metadata = await call("get_server_metadata")
        assert (metadata.name, metadata.version) == ("digitserve", digitserve.__version__)
        assert metadata.extensions == ["classification", "model_configuration", "statistics"]

    with_client(kind, test)


def test_model_metadata_names_every_tensor(kind: str) -> None:
    async def test(here: InProcess, call: Call) -> None:
        assert await call("get_model_metadata", "digits", "1") == await call("get_model_metadata", "digits")
        metadata = await call("get_model_metadata", "digits")
        assert (metadata.name, metadata.versions, metadata.platform) == ("digits", ["1"], "onnxruntime_onnx")
        tensors = {one.name: (one.datatype, list(one.shape)) for one in [*metadata.inputs, *metadata.outputs]}
        assert tensors == {
            "image": ("UINT8", [-1, 28, 28]),
            "encoded": ("BYTES", [-1]),
            "probabilities": ("FP32", [-1, 10]),
            "evidence": ("FP32", [-1, 10, 7, 7]),
        }

    with_client(kind, test)


def test_model_configuration(kind: str) -> None:
    async def test(here: InProcess, call: Call) -> None:
        config = (await call("get_model_config", "digits")).config
        assert (config.name, config.max_batch_size, config.backend) == ("digits", 64, "onnxruntime")
        assert config.HasField("dynamic_batching")
        assert json.loads(config.parameters["class_names"].string_value) == list("0123456789")
        inputs = [(one.name, list(one.dims), one.optional) for one in config.input]
        assert inputs == [("image", [28, 28], False), ("encoded", [1], True)]
        outputs = [(one.name, list(one.dims)) for one in config.output]
        assert outputs == [("probabilities", [10]), ("evidence", [10, 7, 7])]

    with_client(kind, test)


def test_the_repository_index_tells_who_is_ready(kind: str) -> None:
    async def test(here: InProcess, call: Call) -> None:
        (one,) = (await call("get_model_repository_index")).models
        assert (one.name, one.version, one.state, one.reason) == ("digits", "1", "READY", "")
        here.health.report(dict.fromkeys(NAMES, False))
        (one,) = (await call("get_model_repository_index")).models
        assert (one.state, one.reason) == ("UNAVAILABLE", "the server drains, or the model keeps failing")
        only_ready = service_pb2.RepositoryIndexRequest(ready=True)
        assert not (await open_stub(here.channel).RepositoryIndex(only_ready)).models

    with_client(kind, test)


def test_pixels_lead_to_the_outputs_of_the_model(kind: str) -> None:
    async def test(here: InProcess, call: Call) -> None:
        result = await call("infer", "digits", [image_input(stamps(3, 1, 4))], request_id="mine")
        response = result.get_response()
        assert (response.model_name, response.model_version, response.id) == ("digits", "1", "mine")
        assert [output.name for output in response.outputs] == ["probabilities", "evidence"]
        np.testing.assert_array_equal(result.as_numpy("probabilities"), read_stamps(stamps(3, 1, 4))[0])
        assert result.as_numpy("evidence").shape == (3, 10, 7, 7)

    with_client(kind, test)


@pytest.mark.parametrize("shape", [(2, 28, 28), (2, 1, 28, 28), (2, 28, 28, 1)])
@pytest.mark.parametrize("scale", [None, np.float32(255)])
def test_every_form_of_pixels_is_taken(kind: str, shape: Any, scale: Any) -> None:
    async def test(here: InProcess, call: Call) -> None:
        images = stamps(7, 2).reshape(shape)
        assert best(await call("infer", "digits", [image_input(images if scale is None else images / scale)])) == [7, 2]

    with_client(kind, test)


@pytest.mark.parametrize(("datatype", "contents"), [("UINT8", "uint_contents"), ("FP32", "fp32_contents")])
def test_typed_contents_are_taken(datatype: str, contents: str) -> None:
    async def run() -> None:
        async with serving() as here:
            values = stamps(5, 6).ravel() / 255 if datatype == "FP32" else stamps(5, 6).ravel()
            request = make_request(5, 6, raw_input_contents=[])
            request.inputs[0].datatype = datatype
            getattr(request.inputs[0].contents, contents).extend(values.tolist())
            response = await open_stub(here.channel).ModelInfer(request)
            assert read_classes(response) == [5, 6]

    asyncio.run(run())


def add_up(images: Images, explain: bool = False) -> Rows:
    """A model whose answer depends on every pixel."""
    numbers = images.reshape(len(images), -1) @ (np.arange(28 * 28) % 13) % 10
    return read_stamps(np.repeat(numbers, 28 * 28).reshape(-1, 28, 28).astype(np.uint8), explain)


@pytest.mark.parametrize("side", [28, 200], ids=["on the loop", "on a thread"])
def test_image_files_are_looked_at_as_by_recognize(kind: str, side: int) -> None:
    async def test(here: InProcess, call: Call) -> None:
        drawn = np.full((3, side, side), 250, np.uint8)
        for number, image in enumerate(drawn, 2):
            image[side // 4 : side // 2, side // 3 : side // 3 + side // number] = 10
        files = [encode_grey(image, form) for image, form in zip(drawn, ("PNG", "BMP", "GIF"), strict=True)]
        answers = [await here.stub.Recognize(pb.RecognizeRequest(image=pb.Image(encoded=file))) for file in files]
        assert best(await call("infer", "digits", [encoded_input(files)])) == [int(answer.text) for answer in answers]
        assert len({answer.text for answer in answers}) > 1, "the test must be able to tell them apart"

    with_client(kind, test, run=add_up)


def test_image_files_come_as_typed_contents_and_as_a_column() -> None:
    async def run() -> None:
        async with serving() as here:
            request = make_request(raw_input_contents=[])
            request.inputs[0].MergeFrom(service_pb2.ModelInferRequest.InferInputTensor(name="encoded", datatype="BYTES"))
            request.inputs[0].shape[:] = [2, 1]
            request.inputs[0].contents.bytes_contents.extend([encode_grey(stamps(9)[0])] * 2)
            response = await open_stub(here.channel).ModelInfer(request)
            assert list(response.outputs[0].shape) == [2, 10]

    asyncio.run(run())


@pytest.mark.parametrize("names", [["evidence"], ["probabilities"], ["evidence", "probabilities"]])
def test_only_what_is_asked_for_is_returned(kind: str, names: list[str]) -> None:
    explained = []

    def run(images: Images, explain: bool = False) -> Rows:
        explained.append(explain)
        return read_stamps(images, explain)

    async def test(here: InProcess, call: Call) -> None:
        result = await call("infer", "digits", [image_input(stamps(1))], outputs=ask_for(*names))
        assert [output.name for output in result.get_response().outputs] == names
        assert len(result.get_response().raw_output_contents) == len(names)
        assert explained == ["evidence" in names], "evidence that nobody asks for is not computed"

    with_client(kind, test, run=run)


def test_classes_by_name(kind: str) -> None:
    async def test(here: InProcess, call: Call) -> None:
        outputs = ask_for("probabilities", classes=2)
        result = await call("infer", "digits", [image_input(stamps(6, 0))], outputs=outputs)
        assert result.as_numpy("probabilities").tolist() == [
            [b"0.910000:6:6", b"0.010000:0:0"],
            [b"0.910000:0:0", b"0.010000:1:1"],
        ]

    with_client(kind, test)


def test_a_blank_image_shows_no_class(kind: str) -> None:
    async def test(here: InProcess, call: Call) -> None:
        images = stamps(4, 4, 4).copy()
        images[1] = 0
        result = await call("infer", "digits", [image_input(images)])
        probabilities = result.as_numpy("probabilities")
        assert best(result) == [4, 0, 4]
        assert probabilities.max(axis=1).tolist() == [np.float32(0.91), 0, np.float32(0.91)]
        assert not result.as_numpy("evidence")[1].any()

    with_client(kind, test, run=lambda images, explain: tuple(one + np.float32(0) for one in read_stamps(images, explain)))


def test_a_call_is_compressed_if_it_wants(kind: str) -> None:
    async def test(here: InProcess, call: Call) -> None:
        for algorithm in ("gzip", "deflate"):
            result = await call("infer", "digits", [image_input(stamps(5))], compression_algorithm=algorithm)
            assert best(result) == [5]

    with_client(kind, test)


def test_a_stream_of_the_sync_client() -> None:
    async def test(here: InProcess, call: Call) -> None:
        answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        await call("start_stream", callback=lambda result, error: answers.put((result, error)))
        for number in range(20):
            tensor = image_input(stamps(number % 10))
            name = "nobody" if number == 3 else "digits"
            await call("async_stream_infer", name, [tensor], request_id=str(number))
        await call("stop_stream")
        got = [answers.get_nowait() for _ in range(20)]
        assert "no model 'nobody' is served" in str(got[3][1])
        assert got.pop(3)[0] is None
        numbers = [number for number in range(20) if number != 3]
        assert [result.get_response().id for result, _ in got] == [str(number) for number in numbers]
        assert [best(result) for result, _ in got] == [[number % 10] for number in numbers]
        assert answers.empty()

    with_client("sync", test)


def test_a_stream_of_the_asyncio_client_is_answered_in_order_and_reads_ahead() -> None:
    model = GatedModel()

    async def requests(reached: asyncio.Event) -> AsyncIterator[Any]:
        for number in (1, 2, 3):
            yield {"model_name": "digits", "inputs": [image_input(stamps(number))], "request_id": str(number)}
        wrong = InferInput("image", [1, 28, 28], "INT8")
        yield {"model_name": "digits", "inputs": [wrong], "request_id": "bad"}
        reached.set()

    async def run() -> None:
        async with serving(model.run) as here, tritonclient.grpc.aio.InferenceServerClient(here.address) as client:
            reached = asyncio.Event()
            answers = client.stream_infer(requests(reached))
            first = asyncio.ensure_future(anext(answers))
            await model.started()
            await reached.wait()  # though nothing is answered yet
            model.gate.set()
            got = [await first, *[answer async for answer in answers]]
            assert [best(result) for result, error in got if error is None] == [[1], [2], [3]]
            assert got[3][0] is None
            assert "must have contents" in str(got[3][1])

    asyncio.run(run())


def test_a_failed_answer_of_a_stream_says_whose_it_is() -> None:
    async def run() -> None:
        async with serving() as here:
            requests = iter([make_request(1, id="a", model_name="nobody"), make_request(2, id="b")])
            bad, good = [answer async for answer in open_stub(here.channel).ModelStreamInfer(requests)]
            assert (bad.infer_response.id, good.infer_response.id) == ("a", "b")
            assert bad.error_message
            assert not good.error_message

    asyncio.run(run())


def test_statistics_are_what_happened(kind: str) -> None:
    async def test(here: InProcess, call: Call) -> None:
        (before,) = (await call("get_inference_statistics")).model_stats
        assert (before.name, before.version, before.inference_count) == ("digits", "1", 0)
        for numbers in ((1,), (2, 3), (4, 5, 6)):
            await call("infer", "digits", [image_input(stamps(*numbers))])
        with pytest.raises(InferenceServerException):
            await call("infer", "digits", [image_input(stamps(1))], outputs=ask_for("nothing"))
        with pytest.raises(InferenceServerException):
            await call("infer", "nobody", [image_input(stamps(1))])
        (one,) = (await call("get_inference_statistics", "digits", "1")).model_stats
        stats = one.inference_stats
        assert (one.inference_count, one.execution_count) == (6, 3)
        parts = [stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output]
        assert [stats.success.count, stats.fail.count, *(part.count for part in parts)] == [3, 1, 3, 3, 3, 3]
        assert 0 < sum(part.ns for part in parts) <= stats.success.ns * 1.5
        assert stats.fail.ns > 0
        assert one.last_inference > 1_700_000_000_000

    with_client(kind, test)


def test_statistics_count_a_batch_once_however_many_calls_rode_in_it() -> None:
    model = GatedModel()

    async def run() -> None:
        async with serving(model.run, Limits()) as here:
            stub = open_stub(here.channel)
            first = stub.ModelInfer(make_request(1))
            await model.started()
            others = [stub.ModelInfer(make_request(number)) for number in (2, 3, 4)]
            while here.batcher.waiting < 3:
                await asyncio.sleep(0)  # no time passes: this only lets the server's side of the loop go on
            model.gate.set()
            assert [read_classes(await call) for call in [first, *others]] == [[1], [2], [3], [4]]
            assert model.batches == [[1], [2, 3, 4]]
            (one,) = (await stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name="digits"))).model_stats
            assert (one.inference_count, one.execution_count) == (4, 2)
            assert one.inference_stats.queue.ns > 0

    asyncio.run(run())


def test_every_name_of_a_model_leads_to_it(kind: str) -> None:
    async def test(here: InProcess, call: Call) -> None:
        for name, version in [("digits", ""), ("digits", "1"), ("digits@stable", ""), ("digits:1", ""), ("", "")]:
            response = (await call("infer", name, [image_input(stamps(1))], model_version=version)).get_response()
            assert (response.model_name, response.model_version) == ("digits", "1")

    with_client(kind, test)
