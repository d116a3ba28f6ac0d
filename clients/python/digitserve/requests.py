"""From the arguments of a call to its request, checked as far as can be done without the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from digitserve.arguments import checked_flag, checked_text, checked_top_k, checked_word
from digitserve.images import FRAME_SHAPE, FRAME_SIZE, packed_pixels
from digitserve.tray import Letter
from digitserve.v1 import recognizer_pb2 as pb


def _by_word(enum: Any, prefix: str) -> dict[str, Any]:
    """The enum's values by the words that callers use; the unspecified one, 0, has none."""
    return {name.removeprefix(prefix).lower(): value for name, value in enum.items() if value}


# The words, for editors and type checkers; test_requests.py holds them and the contract together.
Layout: TypeAlias = Literal["auto", "framed", "single", "line", "page"]
PackedLayout: TypeAlias = Literal["auto", "framed"]  # a batch has no other layouts, and no `ink` at all
Ink: TypeAlias = Literal["auto", "light", "dark"]
Priority: TypeAlias = Literal["interactive", "bulk"]

LAYOUTS = _by_word(pb.Layout, "LAYOUT_")
INKS = _by_word(pb.Ink, "INK_")
PRIORITIES = _by_word(pb.Priority, "PRIORITY_")

PACKED_LAYOUTS: frozenset[str] = frozenset(get_args(PackedLayout))

# More images than this travel in several calls. 4,096 of 28 x 28 are 3 MiB, under gRPC's default limit of 4 MiB that a proxy
# may have kept, and enough for the server to give each of its cores some batches.
IMAGES_PER_CALL = 4096

# While one is being computed, the other is on its way. Both together are half of the server's default queue, so that they
# hardly ever are refused.
CALLS_IN_FLIGHT = 2


# What letters must have in common to travel together: model, layout and priority.
Route: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about an image, whatever the image is.

    Raises:
        TypeError: an argument of another type than its own.
        ValueError: an unknown layout, ink or priority, or a `top_k` below 0.
    """

    model: str = ""
    layout: Layout = "auto"
    ink: Ink = "auto"
    top_k: int = 0
    explain: bool = False
    priority: Priority = "interactive"

    def __post_init__(self) -> None:
        checked_text("model", self.model)
        checked_word("layout", self.layout, LAYOUTS)
        checked_word("ink", self.ink, INKS)
        checked_top_k(self.top_k)
        checked_flag("explain", self.explain)
        checked_word("priority", self.priority, PRIORITIES)

    @property
    def route(self) -> Route:
        return self.model, self.layout, self.priority

    @property
    def may_be_packed(self) -> bool:
        """Whether a framed image with this question may share a RecognizeBatch with others."""
        return self.layout in PACKED_LAYOUTS and self.ink == "auto" and not self.explain

    def request_for(self, image: pb.Image) -> pb.RecognizeRequest:
        return pb.RecognizeRequest(
            image=image,
            model=self.model,
            layout=LAYOUTS[self.layout],
            ink=INKS[self.ink],
            top_k=self.top_k,
            explain=bool(self.explain),
            priority=PRIORITIES[self.priority],
        )


def batch_request(
    images: NDArray[np.uint8], model: str, layout: str, priority: str, *, probabilities: bool
) -> pb.RecognizeBatchRequest:
    """The request for (N, 28, 28) images. Raises as `packed_pixels`, and as `Question` for the other arguments."""
    checked_text("model", model)
    if checked_word("layout", layout, LAYOUTS) not in PACKED_LAYOUTS:
        raise ValueError(f"layout is {layout!r}: packed images are framed already, or 'auto'")
    checked_word("priority", priority, PRIORITIES)
    checked_flag("probabilities", probabilities)
    pixels = packed_pixels(images)
    return pack(pixels, images.shape[1:], model, layout, priority, probabilities=probabilities)


class Part(NamedTuple):
    """One call of several that share a batch.

    Attributes:
        size: images in it.
        timeout_s: what is left of the deadline of all; 0 or less once that has passed.
    """

    request: pb.RecognizeBatchRequest
    size: int
    timeout_s: float


def needs_several_calls(images: NDArray[np.uint8]) -> bool:
    """What is no stack of images does not: it goes on whole, to be refused as what it is."""
    return isinstance(images, np.ndarray) and images.ndim == 3 and len(images) > IMAGES_PER_CALL


def deadline_in(timeout_s: float) -> float:
    """When `timeout_s` are over, by the clock of `batch_parts`."""
    return monotonic() + timeout_s


def batch_parts(
    images: NDArray[np.uint8], model: str, layout: str, priority: str, deadline: float, *, probabilities: bool
) -> Iterator[Part]:
    """The calls for (N, 28, 28) images, in order, each packed when it is taken. Raises as `batch_request`."""
    for start in range(0, len(images), IMAGES_PER_CALL):
        part = images[start : start + IMAGES_PER_CALL]
        request = batch_request(part, model, layout, priority, probabilities=probabilities)
        yield Part(request, len(part), deadline - monotonic())


def pack(
    pixels: bytes, shape: tuple[int, ...], model: str, layout: str, priority: str, *, probabilities: bool
) -> pb.RecognizeBatchRequest:
    """`shape` is each image's height and width: without them the server would cut what is no frame into frames."""
    height, width = shape
    return pb.RecognizeBatchRequest(
        images=pixels,
        model=model,
        layout=LAYOUTS[layout],
        probabilities=bool(probabilities),
        priority=PRIORITIES[priority],
        height=height,
        width=width,
    )


def pack_letters(van: Sequence[Letter[Any]], model: str, layout: str, priority: str) -> pb.RecognizeBatchRequest:
    """One request for all letters of a van. A single image's answer has a probability, so a packed one needs them, too."""
    pixels = b"".join([letter.pixels for letter in van])
    return pack(pixels, FRAME_SHAPE, model, layout, priority, probabilities=True)


def lone_request(letter: Letter[Any], model: str, layout: str, priority: str) -> pb.RecognizeRequest:
    """A van of one is an ordinary call: for one image that is the cheaper of the two to write and to read."""
    raw = pb.RawImage(pixels=letter.pixels, width=FRAME_SIZE, height=FRAME_SIZE)
    return pb.RecognizeRequest(
        image=pb.Image(raw=raw),
        model=model,
        layout=LAYOUTS[layout],
        top_k=letter.top_k,
        priority=PRIORITIES[priority],
    )
