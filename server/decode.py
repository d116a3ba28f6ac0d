"""Encoded image files to 8-bit grey pixels, trusting nothing.

The header is read before anything is decoded: the format must be on the list and the size under the cap. Whatever the
decoder raises becomes InvalidImage.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from server.errors import InvalidImage

Grey: TypeAlias = NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
# Of BMP, its two letters and the size of its first header: texts begin with BM, too.
BEGINNINGS = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "WEBP": rb"RIFF....WEBP",
    "BMP": rb"BM.{12}[\x0c\x28\x38\x40\x6c\x7c]\0\0\0",
    "GIF": rb"GIF8[79]a",
}
MAX_PIXELS = 16_777_216  # 4096 x 4096: above any phone's 12-megapixel photo
# A JPEG may have as many times more, so that 24 megapixels fit, too: it is shrunk while it is decoded, and a progressive
# one, whose coefficients are kept whole, takes less memory then (200 MiB) than a WebP without that (262 MiB).
JPEG_ALLOWANCE = 2
WORKING_SIZE = 512  # larger images are shrunk while they are decoded (JPEG) or right after, which keeps memory flat

ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Image.MAX_IMAGE_PIXELS = None  # our own cap is below Pillow's, and refuses instead of warning


class Picture(NamedTuple):
    """A decoded image.

    Attributes:
        grey: (h, w) uint8, which may be smaller than the image.
        width: of the image itself, upright, in pixels.
        height: likewise.
    """

    grey: Grey
    width: int
    height: int


def open_image(encoded: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Reads the header of an image file.

    Raises:
        InvalidImage: empty, of a format that is not on the list, damaged, or over `max_pixels` (a JPEG: twice as many).
    """
    if not encoded:
        raise InvalidImage("the image is empty: 0 bytes", field="image.encoded")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except Exception:
        raise _explain(encoded) from None
    width, height = image.size
    limit = max_pixels * JPEG_ALLOWANCE if isinstance(image, JpegImageFile) else max_pixels
    if width * height > limit:
        raise InvalidImage(
            f"the image has {width} x {height} = {width * height:,} pixels; at most {limit:,} are accepted",
            field="image.encoded",
        )
    return image


def _explain(encoded: bytes) -> InvalidImage:
    """Why a file can't even be opened: another format, or one of ours whose header is spoilt."""
    begun = next((name for name, beginning in BEGINNINGS.items() if re.match(beginning, encoded, re.DOTALL)), None)
    if begun:
        reason = f"the image can't be decoded: it begins as a {begun} file does, but is truncated or damaged"
    else:
        reason = f"not a readable image file: expected one of {', '.join(FORMATS)}"
    return InvalidImage(reason, field="image.encoded")


def decode(image: Image.Image) -> Picture:
    """Decodes an opened image to grey, upright and without alpha.

    The first frame of an animation is used, the camera's orientation is applied, 16 bits become 8, and transparent
    parts become paper.

    Raises:
        InvalidImage: the file is truncated or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(image)
    except Exception as error:
        reason = str(error) if isinstance(error, OSError) else "its data is damaged"
        raise InvalidImage(f"the image can't be decoded: {reason}", field="image.encoded") from None


def _decode(image: Image.Image) -> Picture:
    width, height = image.size
    if isinstance(image, JpegImageFile):  # its format is MPO where a phone keeps a second picture behind the first
        image.draft("L", (WORKING_SIZE, WORKING_SIZE))
    image.load()
    grey = _to_grey(image)
    orientation = image.getexif().get(ORIENTATION, 1)
    if orientation in _TURNS:
        grey = np.asarray(Image.fromarray(grey).transpose(_TURNS[orientation]))
    lies_on_its_side = orientation in (5, 6, 7, 8)
    return Picture(grey, height, width) if lies_on_its_side else Picture(grey, width, height)


def _to_grey(image: Image.Image) -> Grey:
    """(h, w) uint8, averaged down to about the working size."""
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_from_wide(np.asarray(image)))
    has_alpha = image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info
    if image.mode not in {"L", "RGB"} or has_alpha:
        image = image.convert("LA" if has_alpha else "L")
    factor = max(image.size) // WORKING_SIZE
    if factor > 1:
        image = image.reduce(factor)
    if has_alpha:
        return _flatten(np.asarray(image))
    return np.asarray(image if image.mode == "L" else image.convert("L"))


def _from_wide(values: NDArray[np.generic]) -> Grey:
    """16-bit grey to 8-bit. Pillow's own conversion clips at 255 instead of scaling."""
    return np.asarray(np.clip(values, 0, 65535).astype(np.uint16) >> 8, np.uint8)


def _flatten(grey_alpha: Grey) -> Grey:
    """Puts paper under the transparent parts: (height, width, 2) to (height, width).

    A drawing on a transparent layer is opaque only where the ink is, so the paper must contrast with it; a picture with a
    few transparent corners gets its own most common brightness there.
    """
    grey, alpha = grey_alpha[..., 0], grey_alpha[..., 1]
    opaque = grey[alpha > 127]
    if opaque.size == alpha.size:
        return grey
    if opaque.size == 0:
        return np.zeros_like(grey)
    level = float(np.median(opaque))
    paper = (0.0 if level > 127 else 255.0) if opaque.size < alpha.size / 2 else level
    share = alpha.astype(np.float32) / 255.0
    return np.asarray(grey * share + paper * (1.0 - share) + 0.5, np.uint8)
