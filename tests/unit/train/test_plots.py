from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from train.evaluate import Bin, ClassScore
from train.plots import (
    DARK,
    LIGHT,
    THEMES,
    Theme,
    class_labels,
    draw_classes,
    draw_confusion,
    draw_curves,
    draw_gallery,
    draw_reliability,
)

HANZI = ("零", "一", "亿")
ROWS = [
    {"epoch": n, "loss": 1 / n, "accuracy": 1 - 0.1 / n, "validation_loss": 0.5 / n, "validation_accuracy": 0.99}
    for n in (1, 2)
]


def corner(png: bytes) -> tuple[int, ...]:
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    assert min(picture.size) > 100
    colour = picture.getpixel((1, 1))
    assert isinstance(colour, tuple)
    return colour


@pytest.mark.parametrize("theme", THEMES, ids=[theme.name for theme in THEMES])
def test_every_picture_has_the_themes_paper(theme: Theme) -> None:
    scores = [ClassScore("a", 10, 9, 8), ClassScore("b", 5, 6, 5), ClassScore("never", 0, 0, 0)]
    images = [np.eye(28, dtype=np.uint8) * 255, np.zeros((50, 90), np.uint8)]
    pictures = [
        draw_curves(theme, ROWS),
        draw_curves(theme, ROWS[:1]),
        draw_classes(theme, scores),
        draw_confusion(theme, [[5, 1], [0, 7]], ("a", "b")),
        draw_reliability(theme, [Bin(0.8, 0.9, 3, 0.85, 1 / 3), Bin(0.9, 1, 90, 0.99, 1.0)], 0.01),
        draw_gallery(theme, images, ["one\ntaken for two", "blank"]),
    ]
    paper = tuple(bytes.fromhex(theme.paper[1:]))
    assert [corner(png) for png in pictures] == [paper] * len(pictures)


def test_pictures_are_the_same_every_time() -> None:
    first, again = (draw_confusion(LIGHT, [[5, 1], [0, 7]], ("a", "b")) for _ in range(2))
    assert first == again
    assert first != draw_confusion(DARK, [[5, 1], [0, 7]], ("a", "b"))


def test_what_the_font_lacks_is_a_number() -> None:
    """Warnings are errors here: a missing glyph would be one."""
    assert class_labels(HANZI) == ["0", "1", "2"]
    assert class_labels(["a", "\N{LATIN SMALL LETTER E WITH ACUTE}"]) == ["a", "é"]
    assert class_labels(["seven", "a name that is far too long"]) == ["0", "1"]
    draw_confusion(LIGHT, np.eye(3, dtype=int).tolist(), HANZI)
    draw_classes(LIGHT, [ClassScore(name, 2, 2, 2) for name in HANZI])


def test_no_class_name_is_a_formula() -> None:
    draw_classes(LIGHT, [ClassScore("$", 1, 1, 1), ClassScore("$x^$", 1, 1, 1), ClassScore("_", 1, 1, 1)])


def test_a_matrix_without_mistakes_and_a_large_one() -> None:
    draw_confusion(LIGHT, np.diag([3, 4]).tolist(), ("a", "b"))
    many = np.arange(40 * 40).reshape(40, 40).tolist()
    assert corner(draw_confusion(LIGHT, many, [str(n) for n in range(40)])) == (255, 255, 255)
