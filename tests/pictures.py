"""Image files made in the test: good ones, strange ones and hostile ones."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.uint8]
ORIENTATION = 0x0112  # the EXIF tag


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A whole image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def encode_grey(pixels: Grey, kind: str = "PNG", **options: Any) -> bytes:
    return encode(Image.fromarray(pixels), kind, **options)


def paint(digit: Grey, *, side: int = 168, ink: int = 20, paper: int = 235) -> Grey:
    """A framed digit as a larger picture: (side, side), ink of one brightness on paper of another."""
    share = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255
    blended = paper + (ink - paper) * share
    return (blended + 0.5).astype(np.uint8)


def paint_on_glass(digit: Grey, *, ink: int, side: int = 168) -> Image.Image:
    """The digit as a drawing on a transparent layer: RGBA, opaque only where the ink is."""
    alpha = paint(digit, side=side, ink=255, paper=0)
    layers = [Image.new("L", alpha.shape[::-1], ink)] * 3
    return Image.merge("RGBA", [*layers, Image.fromarray(alpha)])


def photograph(picture: Grey, orientation: int) -> bytes:
    """A JPEG as a camera writes it that was held at an angle: the pixels lie, and EXIF says how."""
    turns = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    turn, image = turns[orientation], Image.fromarray(picture)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encode(image if turn is None else image.transpose(turn), "JPEG", exif=exif, quality=95)


def forge_png(width: int, height: int, *, size: int = 2048) -> bytes:
    """A PNG of a few bytes that claims to be huge: 1 bit a pixel, and the beginning of its data."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = zlib.compress(bytes(size * 500))[:size]
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
