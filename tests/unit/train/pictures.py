"""Folders of pictures as people make them: dark ink on light paper, of any size and format, one sub-folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont


def draw(text: str, number: int = 0) -> Image.Image:
    """One picture; another `number` is another size and place."""
    width, height = 60 + 7 * number, 80 + 5 * number
    picture = Image.new("L", (width, height), 230)
    font = ImageFont.load_default(36 + number)
    ImageDraw.Draw(picture).text((14 + number, 12 + number), text, fill=20, font=font)
    return picture


def write_pictures(folder: Path, classes: Sequence[str], each: int) -> Path:
    """`each` pictures of each class, drawn with the first letter of its name."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            draw(name[0], number).save(folder / name / f"{number:02}.{('png', 'jpg', 'bmp')[number % 3]}")
    return folder
