"""Every kind of image that a caller may hold, as the contract's Image message."""

from __future__ import annotations

import io
import os
from typing import TypeAlias

import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from digitserve.v1 import recognizer_pb2 as pb

ImageInput: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | PIL.Image.Image | NDArray[np.uint8]"

FRAME_SIZE = 28
FRAME_SHAPE = (FRAME_SIZE, FRAME_SIZE)

# What no server's `max_pixels` goes above: encoding a larger one would be in vain.
MAX_PIXELS = 2**28

_ORIENTATION_TAG = 0x0112
_PNG_MODES = {"1", "L", "LA", "I;16", "P", "RGB", "RGBA"}
_WITH_ALPHA = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA"}  # as RGB, what is transparent would become black
_FASTEST_PNG = 1  # what zlib saves beyond that costs more time than it saves on the wire


def framed_pixels(image: object) -> bytes | None:
    """The pixels of a (28, 28) grey image that can travel in a packed batch as it is; None for any other image."""
    if isinstance(image, np.ndarray):
        return image.tobytes() if image.shape == FRAME_SHAPE and image.dtype == np.uint8 else None
    if isinstance(image, PIL.Image.Image) and image.size == FRAME_SHAPE and _is_plain_grey(image):
        return image.tobytes()
    return None


def reads_slowly(image: object) -> bool:
    """Whether turning it into a message reads a file or encodes one, which an event loop should not wait for."""
    if isinstance(image, np.ndarray):
        return image.ndim != 2
    return not isinstance(image, bytes | bytearray | memoryview)


def image_from(image: ImageInput) -> pb.Image:
    """Turns an image of any kind into a message.

    Args:
        image: the path of an image file; the bytes of one; a PIL image of any mode but F and I; or a uint8 array, (h, w)
            grey, (h, w, 3) RGB or (h, w, 4) RGBA.

    Raises:
        OSError: the file can't be read.
        TypeError: not a kind of image, a view of an array, or an array of another dtype than uint8.
        ValueError: an array of another shape, without pixels, or with more than any server takes.
    """
    if isinstance(image, str | os.PathLike):
        with open(image, "rb") as file:
            return pb.Image(encoded=file.read())
    if isinstance(image, bytes | bytearray | memoryview):
        if isinstance(image, memoryview) and image.ndim > 1:
            raise TypeError(f"image is a view of an array of shape {image.shape}: give the array itself")
        return pb.Image(encoded=bytes(image))
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, PIL.Image.Image):
        return _from_pil(image)
    raise TypeError(f"image is a {type(image).__name__}: give a path, the bytes of a file, a PIL image or a numpy array")


def _from_array(array: NDArray[np.uint8]) -> pb.Image:
    if array.dtype != np.uint8:
        raise TypeError(f"image has dtype {array.dtype}, not uint8: scale it to 0..255 and use .astype(np.uint8)")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ValueError(f"image has shape {array.shape}, not (h, w) grey, (h, w, 3) RGB or (h, w, 4) RGBA")
    if not array.size:
        raise ValueError(f"image has shape {array.shape}: there are no pixels in it")
    height, width = array.shape[:2]
    _check_size(width, height)
    if array.ndim == 3:
        return _encode_png(PIL.Image.fromarray(array))
    return pb.Image(raw=pb.RawImage(pixels=array.tobytes(), width=width, height=height))


def _from_pil(image: PIL.Image.Image) -> pb.Image:
    if not image.width or not image.height:
        raise ValueError(f"image has {image.width} x {image.height} pixels: there is nothing in it")
    _check_size(image.width, image.height)
    if image.mode in ("F", "I"):
        raise ValueError(f"image has mode {image.mode}, whose range of values is unknown: convert it to L, I;16 or RGB")
    if _is_plain_grey(image):
        return pb.Image(raw=pb.RawImage(pixels=image.tobytes(), width=image.width, height=image.height))
    upright = PIL.ImageOps.exif_transpose(image)  # a PNG would lose the camera's orientation
    return _encode_png(upright if upright.mode in _PNG_MODES else upright.convert(_WITH_ALPHA.get(upright.mode, "RGB")))


def _check_size(width: int, height: int) -> None:
    """Raises ValueError."""
    if width * height > MAX_PIXELS:
        raise ValueError(f"image has {width} x {height} = {width * height:,} pixels; no server accepts over {MAX_PIXELS:,}")


def _is_plain_grey(image: PIL.Image.Image) -> bool:
    return image.mode == "L" and "transparency" not in image.info and image.getexif().get(_ORIENTATION_TAG, 1) == 1


def _encode_png(image: PIL.Image.Image) -> pb.Image:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=_FASTEST_PNG)
    return pb.Image(encoded=file.getvalue())


def packed_pixels(images: NDArray[np.uint8]) -> bytes:
    """The pixels of (N, 28, 28) uint8 images, one image after another.

    Raises:
        TypeError: not a numpy array of uint8.
        ValueError: not of that shape, or N is 0.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        found = f"dtype {images.dtype}" if isinstance(images, np.ndarray) else f"type {type(images).__name__}"
        raise TypeError(f"images has {found}: give a numpy array of uint8")
    if images.ndim != 3 or 0 in images.shape:
        raise ValueError(f"images has shape {images.shape}, not (N, h, w) with at least one image, such as (N, 28, 28)")
    return images.tobytes()
