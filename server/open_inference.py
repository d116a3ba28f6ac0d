"""The Open Inference Protocol v2: what stock Triton and KServe clients speak, before the same models as the Recognizer.

The stubs are those that tritonclient ships. docs/open-inference.md says what is supported; the rest is refused by its name.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from digitserve import __version__
from digitserve.v1 import recognizer_pb2
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from server.catalog import Catalog
from server.errors import InvalidImage, InvalidRequest, Unsupported
from server.health import HealthServicer
from server.job import Answer, Images, Rows
from server.preprocess import Framed
from server.servicer import RecognizerServicer, Served, read_deadline, read_priority
from server.statuses import answers_errors, answers_errors_of_stream, read_request_id, to_known
from server.streaming import answer_in_order
from server.tensors import (
    ENCODED,
    EVIDENCE,
    IMAGE,
    PROBABILITIES,
    read_input,
    read_outputs,
    read_whole_number,
    refuse_parameters,
    write_outputs,
)

EXTENSIONS = ("classification", "model_configuration", "statistics")
LONGEST_ID = 1024  # characters of a request's id
ENVELOPE_BYTES = 64  # what a stream lays around an answer
PRIORITY = "priority"  # the one parameter of a request that is known


class Tally:
    """What became of one model's calls of this service. A call that its caller cancels counts nowhere."""

    def __init__(self, served: Served) -> None:
        self._card = served.card
        self._last_s = 0.0
        self._images, self._batches = 0, 0.0
        self._succeeded, self._failed = 0, 0
        # Added up as numbers: to add to a message's fields would take five times as long.
        self._success_ns = self._input_ns = self._output_ns = self._fail_ns = 0
        self._queue_ms = self._compute_ms = 0.0

    def read(self) -> Any:
        """ModelStatistics until now. Half of a batch's images are half an execution: other callers have the rest of it."""

        def total(ns: float, count: int = self._succeeded) -> Any:
            return service_pb2.StatisticDuration(count=count, ns=int(ns))

        return service_pb2.ModelStatistics(
            name=self._card.name,
            version=self._card.version,
            last_inference=int(self._last_s * 1e3),
            inference_count=self._images,
            execution_count=round(self._batches),
            inference_stats=service_pb2.InferStatistics(
                success=total(self._success_ns),
                fail=total(self._fail_ns, self._failed),
                queue=total(self._queue_ms * 1e6),
                compute_input=total(self._input_ns),
                compute_infer=total(self._compute_ms * 1e6),
                compute_output=total(self._output_ns),
            ),
        )

    def fail(self, begun_ns: int) -> None:
        """Counts a call that ends in an error."""
        self._last_s = time.time()
        self._failed += 1
        self._fail_ns += time.perf_counter_ns() - begun_ns

    def succeed(self, begun_ns: int, read_ns: int, computed_ns: int, images: int, answer: Answer) -> None:
        """Counts an answer that is written, given when the call came, when its input was read, and when it was computed."""
        now_ns = time.perf_counter_ns()
        self._last_s = time.time()
        self._images += images
        self._batches += images / answer.batch_size
        self._succeeded += 1
        self._success_ns += now_ns - begun_ns
        self._input_ns += read_ns - begun_ns
        self._output_ns += now_ns - computed_ns
        self._queue_ms += answer.queue_ms
        self._compute_ms += answer.compute_ms


class OpenInferenceServicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # generated without types
    """inference.GRPCInferenceService. What it does not define is added below, as a refusal."""

    def __init__(
        self, recognizer: RecognizerServicer, health: HealthServicer, catalog: Catalog, *, control: bool, max_answer_bytes: int
    ) -> None:
        """
        Args:
            recognizer: its models, intake and drain are ours, too.
            health: knows who is ready.
            catalog: knows what is not served.
            control: whether callers may load and unload models.
            max_answer_bytes: gRPC would drop a larger one, and end its stream, without a word that helps.
        """
        self._recognizer = recognizer
        self._health = health
        self._catalog = catalog
        self._control = control
        self._max_answer_bytes = max_answer_bytes - ENVELOPE_BYTES
        self._tallies: dict[str, Tally] = {}

    @answers_errors
    async def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerLiveResponse(live=True)

    @answers_errors
    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerReadyResponse(ready=self._health.is_serving())

    @answers_errors
    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """False, and no error, for a model that is not there: clients ask until one is."""
        name = _join(request.name, request.version)
        return service_pb2.ModelReadyResponse(ready=name in self._recognizer.models and self._health.is_serving(name))

    @answers_errors
    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerMetadataResponse(name="digitserve", version=__version__, extensions=EXTENSIONS)

    @answers_errors
    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        served = self._find(request)
        versions = [one.card.version for one in self._list() if one.card.name == served.card.name]
        return _describe(served, versions)

    @answers_errors
    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ModelConfigResponse(config=_configure(self._find(request)))

    @answers_errors
    async def ModelStatistics(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Of one version, of all versions of a model, or of all models."""
        chosen = self._list()
        if request.name:
            asked = self._find(request)
            chosen = [one for one in chosen if one is asked or (not request.version and one.card.name == asked.card.name)]
        return service_pb2.ModelStatisticsResponse(model_stats=[self._tally(one).read() for one in chosen])

    @answers_errors
    async def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        _refuse_repository(request)
        response = service_pb2.RepositoryIndexResponse()
        absent = self._catalog.list_absent()
        for card in (one.card for one in self._list()):
            reason = absent.pop((card.name, card.version), "")
            if self._health.is_serving(_name(card)):
                response.models.add(name=card.name, version=card.version, state="READY", reason=reason)
            elif not request.ready:
                reason = "the server drains, or the model keeps failing"
                response.models.add(name=card.name, version=card.version, state="UNAVAILABLE", reason=reason)
        for (name, version), reason in absent.items() if not request.ready else ():
            response.models.add(name=name, version=version, state="UNAVAILABLE", reason=reason)
        return response

    @answers_errors
    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Looks for the model now, and answers once its newest version is served."""
        self._check_control("RepositoryModelLoad", request, request.parameters)
        with self._recognizer.accepted:
            await self._catalog.load(request.model_name)
        return service_pb2.RepositoryModelLoadResponse()

    @answers_errors
    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Takes the model out, until it is loaded again."""
        parameters = dict(request.parameters)
        if "unload_dependents" in parameters and not parameters["unload_dependents"].bool_param:
            del parameters["unload_dependents"]  # tritonclient always sends it
        self._check_control("RepositoryModelUnload", request, parameters)
        with self._recognizer.accepted:
            await self._catalog.unload(request.model_name)
        return service_pb2.RepositoryModelUnloadResponse()

    def _check_control(self, rpc: str, request: Any, parameters: Mapping[str, Any]) -> None:
        if not self._control:
            raise Unsupported(f"{rpc} is not supported by this server unless it is started with --model-control true")
        _refuse_repository(request)
        refuse_parameters(parameters, "the request")

    @answers_errors
    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        with self._recognizer.accepted:
            return await self._infer(request, read_deadline(context), streamed=False)

    @answers_errors_of_stream
    async def ModelStreamInfer(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """As RecognizeStream: in order, reading ahead, each request with an error of its own."""
        ours, answer = self._recognizer, partial(self._answer_streamed, context, read_deadline(context))
        with ours.accepted:
            async for item in answer_in_order(aiter(requests), answer, window=ours.stream_window, drain=ours.accepted.draining):
                yield item

    async def _answer_streamed(self, context: Any, deadline: float | None, request: Any) -> Any:
        try:
            return service_pb2.ModelStreamInferResponse(infer_response=await self._infer(request, deadline, streamed=True))
        except Exception as error:
            self._recognizer.note_drop(error)
            # Says which request the message is about, as Triton does.
            failed = service_pb2.ModelInferResponse(id=request.id[:LONGEST_ID])
            message = to_known(error, read_request_id(context)).message
            return service_pb2.ModelStreamInferResponse(error_message=message, infer_response=failed)

    async def _infer(self, request: Any, deadline: float | None, *, streamed: bool) -> Any:
        begun_ns = time.perf_counter_ns()
        served = self._recognizer.find(_join(request.model_name, request.model_version), "model_name")
        card, tally = served.card, self._tally(served)
        try:
            refuse_parameters(request.parameters, "the request", known=PRIORITY)
            if len(request.id) > LONGEST_ID:
                raise InvalidRequest(f"id has {len(request.id):,} characters, more than {LONGEST_ID:,}", field="id")
            wanted = read_outputs(request.outputs)
            images = read_input(request, card.size, card.max_batch_size)
            priority = read_whole_number(request.parameters, PRIORITY)
            # Triton's 1, the highest, and 2 are our own two.
            bulk = read_priority(priority, bulk=streamed or len(images) > 1, field="parameters")
            if isinstance(images, list):
                files = enumerate(images)
                images = np.stack([await self._frame(number, file, card.size, deadline) for number, file in files])
            read_ns = time.perf_counter_ns()
            answer = await _compute(served, images, deadline, explain=EVIDENCE in wanted, bulk=bulk)
            computed_ns = time.perf_counter_ns()
            response = service_pb2.ModelInferResponse(model_name=card.name, model_version=card.version, id=request.id)
            write_outputs(response, _blank_out(images, answer.rows), wanted, card.class_names)
            if (size_bytes := response.ByteSize()) > self._max_answer_bytes:
                message = f"the answer has {size_bytes:,} bytes, more than max_message_bytes allows"
                raise InvalidRequest(f"{message}: ask for fewer images, or for {PROBABILITIES} alone", field="inputs")
        except Exception:
            tally.fail(begun_ns)
            raise
        tally.succeed(begun_ns, read_ns, computed_ns, len(images), answer)
        return response

    async def _frame(self, number: int, file: bytes, size: int, deadline: float | None) -> Images:
        """Called one after another, so that no call holds more than one of the places where large images wait."""
        if number:
            await asyncio.sleep(0)  # small images are decoded on the event loop: other calls have their turn in between
        try:
            image = recognizer_pb2.Image(encoded=file)
            framed = self._recognizer.intake.take(recognizer_pb2.RecognizeRequest(image=image), size, deadline)
            return (framed if isinstance(framed, Framed) else await framed).pixels
        except InvalidImage as error:
            raise InvalidImage(f"input {ENCODED!r}, image {number}: {error.message}", field=f"inputs.{ENCODED}") from None

    def _find(self, request: Any) -> Served:
        return self._recognizer.find(_join(request.name, request.version), "name")

    def _list(self) -> list[Served]:
        """Every version once, in order of name and version."""
        served = {id(one): one for one in self._recognizer.models.values()}.values()
        return sorted(served, key=lambda one: (one.card.name, int(one.card.version)))

    def _tally(self, served: Served) -> Tally:
        name = _name(served.card)
        if name not in self._tallies:
            self._tallies[name] = Tally(served)
        return self._tallies[name]


def _refuse_repository(request: Any) -> None:
    if request.repository_name:
        raise Unsupported("repository_name is not supported: there is one repository", field="repository_name")


def _join(name: str, version: str) -> str:
    return f"{name}:{version}" if version else name


def _name(card: Any) -> str:
    return _join(card.name, card.version)


async def _compute(served: Served, images: Images, deadline: float | None, *, explain: bool, bulk: bool) -> Answer:
    batcher, lone = served.batcher, len(images) == 1
    answer = batcher.answer_at_once(images, deadline=deadline, explain=explain, bulk=bulk) if lone else None
    return answer or await batcher.submit(images, deadline=deadline, explain=explain, may_gather=lone, bulk=bulk)


def _blank_out(images: Images, rows: Rows) -> Rows:
    """Zeros for each blank image, as in RecognizeBatch: it shows no character."""
    inked = images.reshape(len(images), -1).any(axis=1)
    if inked.all():
        return rows
    return tuple(np.where(inked.reshape(-1, *[1] * (column.ndim - 1)), column, np.float32(0)) for column in rows)


def _outputs(served: Served) -> dict[str, list[int]]:
    """The shape of each output, for one image."""
    classes = len(served.card.class_names)
    return {PROBABILITIES: [classes], EVIDENCE: [classes, *served.map_shape]}


def _describe(served: Served, versions: list[str]) -> Any:
    size, tensor = served.card.size, service_pb2.ModelMetadataResponse.TensorMetadata
    image = tensor(name=IMAGE, datatype="UINT8", shape=[-1, size, size])
    return service_pb2.ModelMetadataResponse(
        name=served.card.name,
        versions=versions,
        platform="onnxruntime_onnx",
        inputs=[image, tensor(name=ENCODED, datatype="BYTES", shape=[-1])],
        outputs=[tensor(name=name, datatype="FP32", shape=[-1, *shape]) for name, shape in _outputs(served).items()],
    )


def _configure(served: Served) -> Any:
    card, pb = served.card, model_config_pb2
    # Only `encoded` is called optional: a tool that fills in what is not must send one of the two, and dims can't be empty.
    image = pb.ModelInput(name=IMAGE, data_type=pb.TYPE_UINT8, dims=[card.size, card.size])
    encoded = pb.ModelInput(name=ENCODED, data_type=pb.TYPE_STRING, dims=[1], reshape=pb.ModelTensorReshape(), optional=True)
    return pb.ModelConfig(
        name=card.name,
        platform="onnxruntime_onnx",
        backend="onnxruntime",
        max_batch_size=card.max_batch_size,
        input=[image, encoded],
        output=[pb.ModelOutput(name=name, data_type=pb.TYPE_FP32, dims=dims) for name, dims in _outputs(served).items()],
        dynamic_batching=pb.ModelDynamicBatching(priority_levels=2),
        parameters={"class_names": pb.ModelParameter(string_value=json.dumps(card.class_names, ensure_ascii=False))},
    )


def _refuse(name: str) -> Any:
    @answers_errors
    async def refuse(self: Any, request: Any, context: Any) -> Any:
        raise Unsupported(f"{name} is not supported by this server")

    return refuse


# The generated class would say "Method not implemented!", and not which.
for _method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
    if _method.name not in vars(OpenInferenceServicer):
        setattr(OpenInferenceServicer, _method.name, _refuse(_method.name))
