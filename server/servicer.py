"""The gRPC face of the server: a request comes in here, is framed, waits in the batcher, and its answer goes out here.

Nothing else in the server knows the wire's messages. A call costs some 0.2 ms of Python in gRPC alone, so what is added for
each call is kept short: one await, no logging, no object that nobody reads.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1 import recognizer_pb2_grpc as pb_grpc

from server.accepted import Accepted
from server.batcher import Batcher
from server.errors import InvalidRequest
from server.intake import FramedBatch, Intake
from server.job import Answer, Images
from server.preprocess import Box, Framed
from server.repository import ModelCard, refuse_unknown
from server.statuses import answers_errors, answers_errors_of_stream, read_request_id, to_error
from server.streaming import answer_in_order


class Served:
    """A model that is loaded and ready.

    Attributes:
        blank_form: an answer of this model with all that does not depend on the image, to be copied and filled in.
        whole_box: the box that `blank_form` holds already, that of a whole frame.
        map_shape: height and width of an evidence map; -1 where they are not known.
        labels: those that name it now.
        blank_images: those that were answered without the model.
    """

    def __init__(self, card: ModelCard, batcher: Batcher, provider: str, map_shape: tuple[int, int] = (-1, -1)) -> None:
        self.card = card
        self.batcher = batcher
        self.provider = provider
        self.map_shape = map_shape
        self.labels = card.labels
        self.blank_images = 0
        self.whole_box = Box(0, 0, card.size, card.size)
        self.blank_form = pb.RecognizeResponse(
            characters=(pb.Character(box=pb.Box(width=card.size, height=card.size)),),
            model=pb.ModelVersion(name=card.name, version=card.version),
            timing=pb.Timing(),
        )


class RecognizerServicer(pb_grpc.RecognizerServicer):
    """The four RPCs of digitserve.v1.Recognizer. What is public here is shared with open_inference.py."""

    def __init__(self, models: Mapping[str, Served], intake: Intake, *, stream_window: int) -> None:
        """
        Args:
            models: every way to ask for a model, "" for the default one. Others may change it between two calls of find().
            intake: decodes and frames images.
            stream_window: unanswered requests on one stream before it is read no further.
        """
        self.models = models
        self.intake = intake
        self.stream_window = stream_window
        self.accepted = Accepted()
        self.note_drop: Callable[[Exception], object] = lambda error: None  # told of a request that fails within a stream

    @answers_errors
    async def Recognize(self, request: pb.RecognizeRequest, context: Any) -> pb.RecognizeResponse:  # noqa: N802
        with self.accepted:
            return await self._recognize(request, read_deadline(context), bulk=False)

    @answers_errors
    async def RecognizeBatch(self, request: pb.RecognizeBatchRequest, context: Any) -> pb.RecognizeBatchResponse:  # noqa: N802
        with self.accepted:
            served = self.find(request.model)
            deadline, bulk = read_deadline(context), read_priority(request.priority, bulk=True)
            images = _unpack(request, served.card.size)
            framed = self.intake.take_batch(images, request.layout, deadline)
            images, boxes = framed if isinstance(framed, FramedBatch) else await framed
            answer = await served.batcher.submit(images, deadline=deadline, bulk=bulk)
            return _write_batch(served, images, boxes, answer, wants_probabilities=request.probabilities)

    @answers_errors_of_stream
    async def RecognizeStream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Answers in order while reading ahead. When the server drains, it reads no further and ends UNAVAILABLE."""
        answer = partial(self._answer_streamed, read_deadline(context), context)
        with self.accepted:
            async for item in answer_in_order(aiter(requests), answer, window=self.stream_window, drain=self.accepted.draining):
                yield item

    @answers_errors
    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:  # noqa: N802
        served = {id(one): one for one in self.models.values()}
        return pb.ListModelsResponse(models=[_describe(one) for one in served.values()])

    async def _answer_streamed(
        self, deadline: float | None, context: Any, item: pb.RecognizeStreamRequest
    ) -> pb.RecognizeStreamResponse:
        try:
            return pb.RecognizeStreamResponse(id=item.id, response=await self._recognize(item.request, deadline, bulk=True))
        except Exception as error:
            self.note_drop(error)
            return pb.RecognizeStreamResponse(id=item.id, error=to_error(error, read_request_id(context)))

    async def _recognize(self, request: pb.RecognizeRequest, deadline: float | None, *, bulk: bool) -> pb.RecognizeResponse:
        served = self.find(request.model)
        bulk = read_priority(request.priority, bulk=bulk)
        framed = self.intake.take(request, served.card.size, deadline)
        if not isinstance(framed, Framed):
            framed = await framed
        if framed.blank:
            return _write_blank(served, framed)
        images = framed.pixels[None]
        explain = request.explain
        answer = served.batcher.answer_at_once(images, deadline=deadline, explain=explain, bulk=bulk)
        if answer is None:
            answer = await served.batcher.submit(images, deadline=deadline, explain=explain, may_gather=True, bulk=bulk)
        return _write(served, framed, answer, request)

    def find(self, name: str, field: str = "model") -> Served:
        """The model of that name. Raises ModelNotFound, which blames `field`, if nobody serves it."""
        served = self.models.get(name)
        if served is None:
            raise refuse_unknown(name, sorted(name for name in self.models if name), field)
        return served


def read_deadline(context: Any) -> float | None:
    """The call's deadline in the batcher's time."""
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining


def read_priority(priority: int, *, bulk: bool, field: str = "priority") -> bool:
    """Whether a request is bulk; `bulk` says what one is that does not say. Raises InvalidRequest."""
    if not priority:
        return bulk
    if priority > pb.PRIORITY_BULK or priority < 0:
        raise InvalidRequest(f"priority {priority} is neither INTERACTIVE (1) nor BULK (2)", field=field)
    return priority == pb.PRIORITY_BULK


def _unpack(request: pb.RecognizeBatchRequest, size: int) -> Images:
    """The packed bytes as (n, size, size) uint8, without a copy."""
    height, width = request.height or size, request.width or size
    if height != size or width != size:
        raise InvalidRequest(f"images are {width} x {height} pixels each, and the model reads {size} x {size}", field="images")
    packed = request.images  # each look at this field copies it
    length, image_bytes = len(packed), size * size
    if length == 0 or length % image_bytes:
        raise InvalidRequest(
            f"images holds {length} bytes, which is not one or more images of {size} x {size} = {image_bytes} bytes",
            field="images",
        )
    return np.frombuffer(packed, np.uint8).reshape(-1, size, size)


def _write(served: Served, framed: Framed, answer: Answer, request: pb.RecognizeRequest) -> pb.RecognizeResponse:
    card = served.card
    probabilities = answer.rows[0][0]
    best = int(probabilities.argmax())
    probability = float(probabilities[best])
    response = pb.RecognizeResponse()
    response.CopyFrom(served.blank_form)  # filling in a form takes a third of the time of building all its parts
    character, timing = response.characters[0], response.timing
    response.text = character.label = card.class_names[best]
    character.probability = probability
    character.unsure = probability < card.threshold
    if framed.box != served.whole_box:
        _fill_box(character.box, framed.box)
    timing.queue_ms, timing.compute_ms, timing.batch_size = answer.queue_ms, answer.compute_ms, answer.batch_size
    if request.top_k:
        order = np.argsort(-probabilities, kind="stable")[: request.top_k].tolist()
        character.alternatives.extend(
            pb.Alternative(label=card.class_names[index], probability=float(probabilities[index])) for index in order
        )
    if request.explain:
        _explain(character, answer.rows[1][0, best], framed)
    return response


def _fill_box(message: pb.Box, box: Box) -> None:
    message.left, message.top, message.width, message.height = box


def _explain(character: pb.Character, values: np.ndarray[Any, Any], framed: Framed) -> None:
    height, width = values.shape
    character.evidence.width, character.evidence.height = width, height
    character.evidence.values.extend(values.ravel().tolist())
    character.evidence.frame = framed.pixels.tobytes()


def _write_blank(served: Served, framed: Framed) -> pb.RecognizeResponse:
    """A blank image needs no network: there is no character, and that is not an error."""
    served.blank_images += 1
    response = pb.RecognizeResponse()
    response.CopyFrom(served.blank_form)
    response.characters[0].unsure = True
    _fill_box(response.characters[0].box, framed.box)
    return response


def _write_batch(
    served: Served, images: Images, boxes: list[int], answer: Answer, *, wants_probabilities: bool
) -> pb.RecognizeBatchResponse:
    card = served.card
    probabilities = answer.rows[0]
    classes = probabilities.argmax(axis=1)
    unsure = probabilities.max(axis=1) < card.threshold
    blank = images.reshape(len(images), -1).max(axis=1) == 0
    if blank.any():
        classes = np.where(blank, -1, classes)
        unsure |= blank
        probabilities = np.where(blank[:, None], np.float32(0), probabilities)
    return pb.RecognizeBatchResponse(
        classes=classes.tolist(),
        unsure=unsure.tolist(),
        probabilities=probabilities.tobytes() if wants_probabilities else b"",
        class_names=card.class_names,
        model=pb.ModelVersion(name=card.name, version=card.version),
        timing=pb.Timing(queue_ms=answer.queue_ms, compute_ms=answer.compute_ms, batch_size=answer.batch_size),
        boxes=boxes,
    )


def _describe(served: Served) -> pb.Model:
    card = served.card
    return pb.Model(
        name=card.name,
        version=card.version,
        labels=served.labels,
        class_names=card.class_names,
        input_height=card.size,
        input_width=card.size,
        accuracy=card.accuracy,
        accuracy_n=card.accuracy_n,
        threshold=card.threshold,
        execution_provider=served.provider,
        max_batch_size=card.max_batch_size,
        description=card.description,
    )
