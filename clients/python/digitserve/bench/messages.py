"""Requests, serialized once before the run: the load then costs the client no more than sending bytes."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from digitserve.bench.images import LabelledImages
from digitserve.bench.settings import BenchError, Settings
from digitserve.channel import MAX_MESSAGE_BYTES
from digitserve.v1 import recognizer_pb2 as pb

Array = npt.NDArray[np.uint8]


def build_messages(settings: Settings, images: LabelledImages) -> list[bytes]:
    """One serialized request per image (modes single and stream) or per batch (mode batch).

    The last batch of a set that does not divide evenly is filled up from the set's start.
    """
    if settings.mode == "batch":
        return [_batch(settings, images.pixels[rows]).SerializeToString() for rows in batch_rows(settings, len(images))]
    singles = [_single(settings, pixels) for pixels in images.pixels]
    if settings.mode == "stream":
        return [pb.RecognizeStreamRequest(request=one, id=id_).SerializeToString() for id_, one in enumerate(singles)]
    return [one.SerializeToString() for one in singles]


def check_size(settings: Settings, images: LabelledImages) -> None:
    """Raises BenchError if no batch would pass, before anything as large as that is built."""
    height, width = images.pixels.shape[1:]
    size = settings.batch_size * height * width
    if settings.mode == "batch" and size > MAX_MESSAGE_BYTES:
        limit = f"{MAX_MESSAGE_BYTES:,} bytes are accepted, which is {MAX_MESSAGE_BYTES // (height * width):,} images"
        raise BenchError(f"--batch-size {settings.batch_size} makes calls of {size:,} bytes; at most {limit}")


def batch_rows(settings: Settings, count: int) -> list[npt.NDArray[np.int64]]:
    """Which images each batch holds."""
    batches = -(-count // settings.batch_size)
    rows = np.arange(batches * settings.batch_size) % count
    return list(rows.reshape(batches, settings.batch_size))


def _layout(settings: Settings) -> pb.Layout:
    return pb.LAYOUT_FRAMED if settings.layout == "framed" else pb.LAYOUT_AUTO


def _single(settings: Settings, pixels: Array) -> pb.RecognizeRequest:
    return pb.RecognizeRequest(image=_image(settings, pixels), model=settings.model, layout=_layout(settings))


def _image(settings: Settings, pixels: Array) -> pb.Image:
    if settings.encoding == "png":
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return pb.Image(encoded=file.getvalue())
    height, width = pixels.shape
    return pb.Image(raw=pb.RawImage(pixels=pixels.tobytes(), width=width, height=height))


def _batch(settings: Settings, pixels: Array) -> pb.RecognizeBatchRequest:
    _, height, width = pixels.shape
    return pb.RecognizeBatchRequest(
        images=pixels.tobytes(), model=settings.model, layout=_layout(settings), height=height, width=width
    )
