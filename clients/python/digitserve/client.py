"""The blocking client."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import NDArray

from digitserve.answers import batch_from, find_takeover, joined, model_from, recognition_from, rows_for
from digitserve.arguments import checked_count, checked_flag, checked_text, checked_timeout_s
from digitserve.channel import (
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT_S,
    MAX_MESSAGE_BYTES,
    Calls,
    check_own_channel,
    checked_target,
    open_channel,
)
from digitserve.coalescing import IN_FLIGHT, Landing, ThreadLane
from digitserve.errors import ClientClosed, DigitserveError, ModelNotFound, RecognitionError
from digitserve.images import ImageInput, framed_pixels, image_from
from digitserve.requests import (
    CALLS_IN_FLIGHT,
    Ink,
    Layout,
    PackedLayout,
    Part,
    Priority,
    Question,
    Route,
    batch_parts,
    batch_request,
    deadline_in,
    lone_request,
    needs_several_calls,
    pack_letters,
)
from digitserve.results import BatchRecognition, Model, Recognition
from digitserve.security import TLS, checked_token
from digitserve.statuses import error_from_rpc
from digitserve.streaming import STREAM_TIMEOUT_S, STREAM_WINDOW, check_iterable, stream
from digitserve.tray import Letter, Van
from digitserve.v1 import recognizer_pb2 as pb


class Client:
    """A connection to a digitserve server. Use it as a context manager, and from as many threads as you like.

    Single (28, 28) images that several threads ask for at the same time travel together in one call (digitserve.coalescing).
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        coalesce: bool = True,
        tls: TLS | None = None,
        token: str = "",
        channel: Any = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        in_flight: int = IN_FLIGHT,
    ) -> None:
        """
        Args:
            target: host and port. Nothing is connected before the first call.
            timeout_s: deadline of each call that names none of its own.
            coalesce: whether single images may travel together.
            tls: how to encrypt the connection; None for plain gRPC.
            token: what the server knows its callers by, if it asks. Without TLS, whoever listens on the way reads it.
            channel: a `grpc.Channel` to use instead. Whoever made it closes it.
            max_message_bytes: largest request and answer.
            in_flight: how many coalesced calls may be under way at the same time.

        Raises:
            TypeError, ValueError: an argument that can't be meant.
        """
        self._timeout_s = checked_timeout_s(timeout_s)
        self._coalesce = checked_flag("coalesce", coalesce)
        self._in_flight = checked_count("in_flight", in_flight)
        max_message_bytes = checked_count("max_message_bytes", max_message_bytes)
        self._own_channel = None
        checked_token(token)
        check_own_channel(channel, tls)
        if channel is None:
            channel = self._own_channel = open_channel(grpc, checked_target(target), max_message_bytes, tls)
        self._calls = Calls(channel, token)
        self._lanes: dict[Route, ThreadLane[Recognition]] = {}
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends every call that is under way with ClientClosed, and the connection. Twice is fine."""
        self._is_closed = True
        for lane in list(self._lanes.values()):
            lane.close()
        if self._own_channel is not None:
            self._own_channel.close()

    def recognize(
        self,
        image: ImageInput,
        *,
        model: str = "",
        layout: Layout = "auto",
        ink: Ink = "auto",
        top_k: int = 0,
        explain: bool = False,
        priority: Priority = "interactive",
        timeout_s: float | None = None,
    ) -> Recognition:
        """Reads one image.

        Args:
            image: the path of an image file; the bytes of one; a PIL image; or a uint8 array, (h, w) grey, (h, w, 3) RGB or
                (h, w, 4) RGBA.
            model: "name", "name:version" or "name@label"; "" is the server's default.
            layout: "auto"; "framed" (as in MNIST already); "single" (find the one character); "line"; "page".
            ink: "auto", "light" (on dark paper) or "dark".
            top_k: how many alternatives to list for each character.
            explain: whether to return the evidence maps, too.
            priority: "interactive" goes first and is refused at once if its wait would be long; "bulk" may wait.
            timeout_s: how long to wait for the answer, retries included; over a year is a year.

        Raises:
            RecognitionError: see digitserve.errors.
            OSError: the file can't be read.
            TypeError, ValueError: an argument that can't be meant.
        """
        question = Question(model, layout, ink, top_k, explain, priority)
        timeout_s = self._deadline(timeout_s)
        pixels = framed_pixels(image) if self._coalesce and question.may_be_packed else None
        if pixels is not None:
            return self._lane(question).ask(pixels, question.top_k, timeout_s)
        request = question.request_for(image_from(image))
        return recognition_from(self._call(self._calls.recognize, request, timeout_s))

    def recognize_batch(
        self,
        images: NDArray[np.uint8],
        *,
        model: str = "",
        layout: PackedLayout = "framed",
        probabilities: bool = False,
        priority: Priority = "bulk",
        timeout_s: float | None = None,
    ) -> BatchRecognition:
        """Reads N packed images: the fast road.

        Over 4,096 images travel in several calls, two at a time, and their answers are joined in order. The first that fails
        ends the others, and its error is raised.

        Args:
            images: (N, 28, 28) uint8, of the model's own size, any other is InvalidImage; light ink on black.
            layout: "framed", or "auto" to have those framed that are not.
            probabilities: whether to return the probabilities of all classes, too.
            timeout_s: how long to wait for the answer to all images, retries included.

        Raises:
            As `recognize`; Internal, too, if versions keep taking over between the calls: after one, all are asked again.
        """
        if needs_several_calls(images):
            how = (layout, priority, deadline_in(self._deadline(timeout_s)))
            ask = partial(self._ask_for, probabilities=probabilities)
            answers = ask(batch_parts(images, model, *how, probabilities=probabilities))
            if pinned := find_takeover(answers):
                answers = ask(batch_parts(images, pinned, *how, probabilities=probabilities))
            return joined(answers, *images.shape[1:])
        request = batch_request(images, model, layout, priority, probabilities=probabilities)
        answer = self._call(self._calls.recognize_batch, request, self._deadline(timeout_s))
        return batch_from(answer, len(images), probabilities=probabilities)

    def recognize_stream(
        self,
        images: Iterable[ImageInput],
        *,
        model: str = "",
        layout: Layout = "auto",
        ink: Ink = "auto",
        top_k: int = 0,
        explain: bool = False,
        priority: Priority = "bulk",
        timeout_s: float = STREAM_TIMEOUT_S,
        window: int = STREAM_WINDOW,
    ) -> Iterator[Recognition | RecognitionError]:
        """Reads many images over one stream, and yields their answers in order.

        An image that fails yields its error and ends nothing. `images` is iterated on another thread, as far ahead as
        `window` allows, so that a million images need no memory.

        Args:
            timeout_s: for the whole stream.
            window: how many images may be on their way at the same time.

        Raises:
            RecognitionError: the stream itself failed. What `images` raises is raised here.
            TypeError, ValueError: at once, for an argument that can't be meant, such as one image instead of many.
        """
        self._check_open()
        check_iterable(images)
        question = Question(model, layout, ink, top_k, explain, priority)
        timeout_s, window = checked_timeout_s(timeout_s), checked_count("window", window)
        return stream(self._calls.recognize_stream, images, question, timeout_s, window, self._error_of)

    def models(self, *, timeout_s: float | None = None) -> list[Model]:
        """The models that the server serves."""
        answer = self._call(self._calls.list_models, pb.ListModelsRequest(), self._deadline(timeout_s))
        return [model_from(each) for each in answer.models]

    def health(self, service: str = "", *, timeout_s: float | None = None) -> str:
        """Whether a service serves: "SERVING", "NOT_SERVING" or "SERVICE_UNKNOWN".

        Args:
            service: a model's name; "" is the whole server.
        """
        checked_text("service", service)
        try:
            state: str = self._call(self._calls.check_health, service, self._deadline(timeout_s))
            return state
        except ModelNotFound:
            return "SERVICE_UNKNOWN"

    def _deadline(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else checked_timeout_s(timeout_s)

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClientClosed

    def _call(self, method: Any, request: Any, timeout_s: float) -> Any:
        self._check_open()
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._error_of(error) from error
        except ValueError:
            self._check_open()  # gRPC refuses a channel that was closed between these lines
            raise

    def _ask_for(self, parts: Iterator[Part], *, probabilities: bool) -> list[BatchRecognition]:
        """The answers to several calls, in order. None of the calls outlives this one."""
        answers: list[BatchRecognition] = []
        under_way: deque[tuple[Any, int]] = deque()
        try:
            while True:
                for part in islice(parts, CALLS_IN_FLIGHT - len(under_way)):
                    under_way.append((self._call(self._calls.recognize_batch.future, part.request, part.timeout_s), part.size))
                if not under_way:
                    return answers
                call, size = under_way[0]
                answers.append(batch_from(self._result_of(call), size, probabilities=probabilities))
                under_way.popleft()
        finally:
            for call, _ in under_way:
                call.cancel()

    def _result_of(self, call: Any) -> Any:
        try:
            return call.result()
        except grpc.RpcError as error:
            raise self._error_of(error) from error

    def _error_of(self, error: Exception) -> DigitserveError:
        return ClientClosed() if self._is_closed else error_from_rpc(error)

    def _lane(self, question: Question) -> ThreadLane[Recognition]:
        self._check_open()
        route = question.route
        lane = self._lanes.get(route)
        if lane is None:
            lane = ThreadLane(
                lambda *ride: self._send(route, *ride),
                lambda *ride: self._send_alone(route, *ride),
                in_flight=self._in_flight,
            )
            lane = self._lanes.setdefault(route, lane)
        return lane

    def _send_alone(self, route: Route, letter: Letter[Recognition], timeout_s: float) -> Recognition:
        return recognition_from(self._call(self._calls.recognize, lone_request(letter, *route), timeout_s))

    def _send(self, route: Route, van: Van[Recognition], timeout_s: float, landing: Landing[Recognition]) -> None:
        call = self._calls.recognize_batch.future(pack_letters(van, *route), timeout=timeout_s)
        call.add_done_callback(lambda call: landing(self._read(call, van)))

    def _read(self, call: Any, van: Sequence[Letter[Recognition]]) -> list[Recognition] | Exception:
        try:
            return rows_for(van, call.result())
        except grpc.RpcError as error:
            known = self._error_of(error)
            known.__cause__ = error
            return known
        except Exception as error:
            return error
