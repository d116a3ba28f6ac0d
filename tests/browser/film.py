"""A film for the browser's own fake camera: digits in ink on paper, one after another."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from tests.browser.hands import paint, read_hand

WIDTH, HEIGHT = 640, 480
FRAMES_A_DIGIT = 60  # 30 a second
SHOWN = ("3", "7")


def write_film(path: Path) -> None:
    """Motion JPEG: whole pictures, one behind the other. The camera shows it again and again."""
    digits = read_hand("upright")
    path.write_bytes(b"".join(_frame(paint(digits[digit])) * FRAMES_A_DIGIT for digit in SHOWN))


def _frame(picture: Image.Image) -> bytes:
    sheet = Image.new("L", (WIDTH, HEIGHT), 240)
    sheet.paste(picture, ((WIDTH - picture.width) // 2, (HEIGHT - picture.height) // 2))
    buffer = io.BytesIO()
    sheet.convert("RGB").save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
