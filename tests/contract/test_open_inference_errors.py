"""What goes wrong in the Open Inference Protocol ends in the status that Recognize would end in, or is refused by its name."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import Any

import grpc
import pytest
from digitserve.v1 import recognizer_pb2
from tritonclient.grpc import service_pb2 as pb

from server import errors
from server.limits import Limits
from tests.contract.test_causes import AttentiveBatcher
from tests.contract.test_statuses import STATUSES, FailingBatcher
from tests.details import Failure, failure_of
from tests.in_process import GatedModel, InProcess, fill_tray, serving, stamp
from tests.open_inference import SERVICE, make_request, open_stub, read_classes, stamps
from tests.pictures import encode_grey

SUPPORTED = {
    "ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics",
    "ModelInfer", "ModelStreamInfer", "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload",
}  # fmt: skip


async def stream(stub: Any, *requests: Any, **how: Any) -> list[Any]:
    return [answer async for answer in stub.ModelStreamInfer(iter(requests), **how)]


def fail(request: Any, **server: Any) -> tuple[Failure, str]:
    """How the request fails by itself, and what a stream says of it without ending."""

    async def run() -> tuple[Failure, str]:
        async with serving(**server) as here:
            stub = open_stub(here.channel)
            failure = await failure_of(stub.ModelInfer(request))
            bad, bad_too = await stream(stub, request, request)
            assert (bad.infer_response.id, bad_too.infer_response.id) == (request.id, request.id)
            assert bad.error_message
            assert not bad.infer_response.outputs
            return failure, bad.error_message

    return asyncio.run(run())


@pytest.mark.parametrize(("kind", "code"), STATUSES.items())
def test_every_error_becomes_its_status_with_its_details(kind: type[errors.RecognizerError], code: str) -> None:
    error = kind("what is wrong", field="some.field", retry_after_ms=12.5)
    failure, streamed = fail(make_request(7), batcher=FailingBatcher(error))
    assert failure[:5] == (code, "what is wrong", "some.field", 12.5, grpc.StatusCode[code].value[0])
    assert streamed == "what is wrong"


def test_the_unforeseen_is_hidden_behind_a_request_id(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "digitserve"):
        failure, streamed = fail(make_request(7), batcher=FailingBatcher(ZeroDivisionError("the secret of line 42")))
    assert failure.code == "INTERNAL"
    for message in (failure.message, streamed):
        (request_id,) = re.findall(r"request ([0-9a-f]{16})$", message)
        assert request_id in caplog.text
    assert b"secret" not in (failure.message + streamed).encode() + failure.trailer


def with_parameter(request: Any, name: str, of: str = "request", number: int = 1) -> Any:
    owner = {"request": request, "input": request.inputs[0], "output": request.outputs[0]}[of]
    owner.parameters[name].int64_param = number
    return request


def encoded(*files: bytes, **fields: Any) -> Any:
    tensor = pb.ModelInferRequest.InferInputTensor(name="encoded", datatype="BYTES", shape=[len(files)], **fields)
    tensor.contents.bytes_contents.extend(files)
    return make_request(inputs=[tensor])


def two_types() -> Any:
    request = encoded(GOOD_FILE)
    request.inputs[0].contents.uint_contents.append(7)
    return request


GOOD_FILE = encode_grey(stamps(1)[0])
LARGE_FILE = encode_grey(stamps(1)[0].repeat(8, axis=0).repeat(8, axis=1))
BAD = "INVALID_ARGUMENT"
BAD_REQUESTS = {
    "no input": (make_request(1, inputs=[]), BAD, "inputs", "expected one, 'image' or 'encoded'"),
    "no contents": (make_request(1, raw_input_contents=[]), BAD, "inputs.image", "must have contents"),
    "contents of two types": (two_types(), BAD, "inputs.encoded", "must have contents, and either raw or typed ones"),
    "a byte short": (make_request(1, raw_input_contents=[bytes(783)]), BAD, "inputs.image", "its shape needs 784"),
    "over max_batch_size": (make_request(*[1] * 65), BAD, "inputs.image", "holds 65 images; at most 64 are accepted"),
    "65 files": (encoded(*[GOOD_FILE] * 65), BAD, "inputs.encoded", "holds 65 images; at most 64 are accepted"),
    "an empty file": (encoded(b""), BAD, "inputs.encoded", "input 'encoded', image 0: the image is empty: 0 bytes"),
    "a bad second file": (encoded(GOOD_FILE, b"x"), BAD, "inputs.encoded", "image 1: not a readable image file"),
    "half a large file": (encoded(LARGE_FILE, LARGE_FILE[:-40]), BAD, "inputs.encoded", "image 1: the image can't be decoded"),
    "unknown output": (make_request(1, outputs=[{"name": "logits"}]), BAD, "outputs", "output 'logits' can't be asked for"),
    "unknown model": (make_request(1, model_name="nobody"), "NOT_FOUND", "model_name", "no model 'nobody' is served"),
    "unknown version": (make_request(1, model_version="9"), "NOT_FOUND", "model_name", "no model 'digits:9' is served"),
    "a very long version": (make_request(1, model_version="9" * 10**6), "NOT_FOUND", "model_name", "9...' is served"),
    "a sequence": (with_parameter(make_request(1), "sequence_id"), "UNIMPLEMENTED", "parameters", "'sequence_id'"),
    "a priority too many": (with_parameter(make_request(1), "priority", number=3), BAD, "parameters", "priority 3 is neither"),
    "a priority in words": (
        make_request(1, parameters={"priority": {"string_param": "1"}}), BAD, "parameters", "must be a whole number"
    ),
    "a timeout": (with_parameter(make_request(1), "timeout"), "UNIMPLEMENTED", "parameters", "'timeout'"),
    "shared memory in": (
        with_parameter(make_request(1), "shared_memory_region", "input"), "UNIMPLEMENTED", "parameters", "input 'image' has"
    ),
    "shared memory out": (
        with_parameter(make_request(1), "shared_memory_region", "output"), "UNIMPLEMENTED", "parameters", "'probabilities' has"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "code", "field", "says"), BAD_REQUESTS.values(), ids=list(BAD_REQUESTS))
def test_a_bad_request(request_: Any, code: str, field: str, says: str) -> None:
    request_.id = "its own"
    failure, streamed = fail(request_)
    assert (failure.code, failure.field, failure.retry_ms) == (code, field, 0.0)
    assert says in failure.message
    assert len(failure.message) < 300
    assert streamed == failure.message


def test_an_id_has_a_limit_and_the_answer_shows_no_more_of_it() -> None:
    async def run() -> None:
        longest, longer = make_request(1, id="n" * 1024), make_request(1, id="n" * 1025)
        async with serving() as here:
            stub = open_stub(here.channel)
            assert (await stub.ModelInfer(longest)).id == longest.id
            failure = await failure_of(stub.ModelInfer(longer))
            (answer,) = await stream(stub, longer)
        assert (failure.code, failure.field) == (BAD, "id")
        assert failure.message == answer.error_message == "id has 1,025 characters, more than 1,024"
        assert answer.infer_response.id == longest.id

    asyncio.run(run())


def test_a_call_that_never_fits_the_queue_is_refused_as_in_recognize() -> None:
    failure, _ = fail(make_request(1, 2, 3), limits=Limits(max_queue_size=2))
    assert (failure.code, failure.field) == ("INVALID_ARGUMENT", "images")


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelConfig", "ModelStatistics"])
def test_nobody_has_no_metadata(method: str) -> None:
    async def run() -> None:
        async with serving() as here:
            ask = getattr(pb, f"{method}Request")
            failures = [
                await failure_of(getattr(open_stub(here.channel), method)(ask(name=name, version=version)))
                for name, version in [("nobody", ""), ("digits", "2"), ("digits", "stable"), ("digits:1", "1")]
            ]
            assert {(failure.code, failure.field) for failure in failures} == {("NOT_FOUND", "name")}

    asyncio.run(run())


def test_a_repository_by_name_is_refused() -> None:
    async def run() -> None:
        async with serving() as here:
            call = open_stub(here.channel).RepositoryIndex(pb.RepositoryIndexRequest(repository_name="mine"))
            failure = await failure_of(call)
            assert (failure.code, failure.field) == ("UNIMPLEMENTED", "repository_name")

    asyncio.run(run())


UNSUPPORTED = [method.name for method in SERVICE.methods if method.name not in SUPPORTED]


def test_half_of_the_protocol_is_supported_and_the_other_half_is_known() -> None:
    assert {method.name for method in SERVICE.methods} >= SUPPORTED
    assert {"TraceSetting", "LogSettings"} < {*UNSUPPORTED}
    assert len(UNSUPPORTED) == 8


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_says_its_name(name: str) -> None:
    async def run() -> Failure:
        async with serving() as here:
            request = getattr(pb, SERVICE.methods_by_name[name].input_type.name)()
            return await failure_of(getattr(open_stub(here.channel), name)(request))

    failure = asyncio.run(run())
    assert (failure.code, failure.message) == ("UNIMPLEMENTED", f"{name} is not supported by this server")


async def fill(here: InProcess, model: GatedModel, *waiting: Any) -> list[Any]:
    """One image under way and these in the tray, all of them accepted."""
    return await fill_tray(here, model, open_stub(here.channel).ModelInfer, make_request(1), *waiting)


def test_a_full_tray_refuses_with_retry_info_and_keeps_what_it_has() -> None:
    async def run() -> None:
        model = GatedModel()
        async with serving(model.run, Limits(max_queue_size=2)) as here:
            calls = await fill(here, model, make_request(2, 3))
            failure = await failure_of(open_stub(here.channel).ModelInfer(make_request(4, 5)))
            assert failure.code == "RESOURCE_EXHAUSTED"
            assert failure.retry_ms > 0
            model.gate.set()
            assert [read_classes(await call) for call in calls] == [[1], [2, 3]]

    asyncio.run(run())


def test_a_late_call_is_not_computed() -> None:
    async def run() -> None:
        model = GatedModel()
        async with serving(model.run) as here:
            (first,) = await fill(here, model)
            stub = open_stub(here.channel)
            assert (await failure_of(stub.ModelInfer(make_request(2), timeout=0.05))).code == "DEADLINE_EXCEEDED"
            patient = stub.ModelInfer(make_request(3), timeout=30)
            model.gate.set()
            assert [read_classes(await call) for call in (first, patient)] == [[1], [3]]
            assert model.batches == [[1], [3]]

    asyncio.run(run())


def test_a_cancelled_call_is_not_computed_and_counts_nowhere() -> None:
    async def run() -> None:
        model = GatedModel()
        async with serving(model.run) as here:
            first, gone, kept = await fill(here, model, make_request(2, 4), make_request(3))
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            stub = open_stub(here.channel)
            await stub.ServerLive(pb.ServerLiveRequest())  # behind the cancellation, on the same connection
            model.gate.set()
            assert [read_classes(await call) for call in (first, kept)] == [[1], [3]]
            assert model.batches == [[1], [3]]
            (one,) = (await stub.ModelStatistics(pb.ModelStatisticsRequest())).model_stats
            assert (one.inference_stats.success.count, one.inference_stats.fail.count) == (2, 0)

    asyncio.run(run())


def test_the_batcher_is_told_every_deadline() -> None:
    async def run() -> None:
        batcher = AttentiveBatcher()
        async with serving(batcher=batcher) as here:
            stub, before = open_stub(here.channel), time.monotonic()
            for timeout in (100, None):
                await failure_of(stub.ModelInfer(make_request(1), timeout=timeout))
                await failure_of(stub.ModelInfer(make_request(1, 2), timeout=timeout))
                (answer,) = await stream(stub, make_request(1), timeout=timeout)
                assert answer.error_message == "not now"
        assert batcher.deadlines[3:] == [None] * 3
        assert batcher.deadlines[:3] == pytest.approx([before + 100] * 3, abs=30)

    asyncio.run(run())


def test_priorities_are_tritons() -> None:
    async def run() -> None:
        batcher = AttentiveBatcher(at_once=False)
        async with serving(batcher=batcher) as here:
            stub = open_stub(here.channel)
            for priority in (0, 1, 2):
                parameters = {"priority": {"uint64_param": priority}} if priority else {}
                for images in ((1,), (1, 2)):
                    await failure_of(stub.ModelInfer(make_request(*images, parameters=parameters)))
                await stream(stub, make_request(1, parameters=parameters))
        assert batcher.bulk == [False, True, True, False, False, False, True, True, True]

    asyncio.run(run())


def test_who_refuses_sends_new_calls_away_and_counts_them() -> None:
    async def run() -> None:
        async with serving() as here:
            stub = open_stub(here.channel)
            here.servicer.accepted.refuse()
            late = [stub.ModelInfer(make_request(2)), stub.ModelStreamInfer().read()]
            assert [(await failure_of(call)).code for call in late] == ["UNAVAILABLE"] * 2
            assert here.servicer.accepted.refused == 2

    asyncio.run(run())


def test_an_open_stream_ends_when_the_server_drains() -> None:
    async def run() -> None:
        async with serving() as here:
            stream = open_stub(here.channel).ModelStreamInfer()
            await stream.write(make_request(1))
            await stream.read()
            here.servicer.accepted.refuse()
            failure = await failure_of(stream.read())
            message = "the server is draining and reads no more of this stream; what it has read is answered"
            assert (failure.code, failure.message) == ("UNAVAILABLE", message)

    asyncio.run(run())


def test_both_services_share_the_tray() -> None:
    async def run() -> None:
        model = GatedModel()
        async with serving(model.run) as here:
            calls = await fill(here, model, make_request(2))
            batch = here.stub.RecognizeBatch(
                recognizer_pb2.RecognizeBatchRequest(images=stamp(3), priority=recognizer_pb2.PRIORITY_INTERACTIVE)
            )
            while here.batcher.waiting == 1:
                await asyncio.sleep(0)  # no time passes
            model.gate.set()
            assert [read_classes(await call) for call in calls] == [[1], [2]]
            assert list((await batch).classes) == [3]
            assert model.batches == [[1], [2, 3]]

    asyncio.run(run())
