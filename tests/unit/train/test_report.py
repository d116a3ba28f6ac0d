from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from tests.unit.train.printed import print_digits
from train.metrics import Corrupted, Evaluation, Outcome, Reader, Real, Strange
from train.report import NONE, Figure, Picture, Section, Table, compose, draw, render, share, tell

DIGITS = tuple("0123456789")


def evaluate(names: tuple[str, ...] = DIGITS) -> Evaluation:
    """Forty images, of which the first is taken for a 5 with certainty, and the second is unsure."""
    test = print_digits(40, seed=4)
    probabilities = torch.eye(10)[test.labels] * 0.9 + 0.01
    probabilities[0] = torch.eye(10)[5]
    probabilities[1] = 0.05
    probabilities[1, 1] = 0.55
    reader = Reader("network gap", names, 0.6, lambda images: probabilities[: len(images)])
    return Evaluation(reader, test, probabilities, origin="printed digits", command="python -m train evaluate best.pt")


@pytest.fixture(scope="module")
def plain() -> Evaluation:
    return evaluate()


@pytest.fixture(scope="module")
def full(plain: Evaluation) -> Evaluation:
    frame = np.zeros((28, 28), np.uint8)
    return replace(
        plain,
        curves=[{"epoch": 1, "loss": 1.0, "accuracy": 0.9, "validation_loss": 0.5, "validation_accuracy": 0.95}],
        corrupted=[Corrupted("blur", "1 px", Outcome(40, 30, 4), Outcome(20, 18, 2))],
        strangers=[Strange("crosses", 50, 49)],
        letters=[Strange("A", 10, 10), Strange("O", 10, 1)],
        real=[
            Real("a.png", "3", "3", 0.99, unsure=False, frame=frame),
            Real("b.png", "4", "9", 0.97, unsure=False, frame=frame),
            Real("c.png", "5", "", 0.0, unsure=True, frame=frame),
        ],
    )


class Reading(HTMLParser):
    """What a browser would fetch, and whether tags match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_full_report_holds_everything_in_itself(full: Evaluation) -> None:
    pictures = draw(full)
    assert [p.name for p in pictures] == ["curves", "classes", "confusion", "reliability", "mistakes", "corruptions", "real"]
    page = compose(full, pictures)
    read = Reading(page)
    assert not read.open, "a tag is not closed"
    assert len(read.addresses) == 2 * len(pictures), "each picture in light and dark"
    assert all(address.startswith("data:image/png;base64,") for address in read.addresses)
    assert not {"script", "link"} & set(read.tags)
    assert "://" not in page
    assert "url(" not in page
    for words in ("97.50", "blur", "crosses", "no ink found", "wrong: 9, 97%", "prefers-color-scheme: dark", "@media print"):
        assert words in page


def test_what_was_not_measured_is_not_mentioned(plain: Evaluation) -> None:
    pictures = draw(plain)
    assert [p.name for p in pictures] == ["classes", "confusion", "reliability", "mistakes"]
    page = compose(plain, pictures)
    for words in ("Corruptions", "Strangers", "Real pictures", "Training"):
        assert words not in page


def test_chinese_classes_are_numbers_in_pictures_and_names_in_the_table() -> None:
    evaluation = evaluate(tuple("零一二三四五六七八九"))
    page = compose(evaluation, draw(evaluation))
    assert re.search(r">5</td><td class=\"words\">五<", page)
    assert "五" in "\n".join(tell(evaluation))


def test_text_is_taken_literally() -> None:
    table = Table(("<i>",), [("a < b & c",)])
    section = Section("<h9>", "</section>", [Picture("x", '"', b"1" * 24, b"2" * 24)], [table])
    page = render("<title>", "<script>", [Figure("<b>", "<u>", "<s>")], [section], command="<code>")
    assert not {"i", "h9", "script", "b", "u", "s"} & set(Reading(page).tags)
    assert "a &lt; b &amp; c" in page
    assert 'alt="&quot;"' in page


def test_the_numbers_are_plain_and_complete(full: Evaluation) -> None:
    numbers = json.loads(json.dumps(full.numbers()))
    assert (numbers["n"], numbers["errors"], numbers["accuracy"]) == (40, 1, 0.975)
    assert numbers["mistakes"] == [{"number": 0, "label": "0", "answer": "5", "probability": 1.0}]
    assert numbers["sureness"] == {
        "threshold": 0.6, "n": 40, "unsure": 1, "sure_errors": 1, "unsure_share": 1 / 40, "sure_error_rate": 1 / 39,
    }  # fmt: skip
    assert numbers["corruptions"][0]["drawing"] == {"n": 20, "accuracy": 0.9, "unsure_share": 0.1}
    assert [one["name"] for one in numbers["strangers"]] == ["crosses", "letters", "letters but B G I L O Q S Z"]
    assert [one["unsure_share"] for one in numbers["strangers"]] == [0.98, 0.55, 1.0]
    assert numbers["real"][1] == {"file": "b.png", "label": "4", "answer": "9", "probability": 0.97, "unsure": False}
    assert sum(map(sum, numbers["confusion"])) == 40


def test_the_terminal_is_told_the_same(full: Evaluation) -> None:
    said = "\n".join(tell(full))
    assert "97.50% (87.12% to 99.56%), 1 errors in 40" in said
    assert re.search(r"blur +1 px +75\.00\s% +10\.00\s% +90\.00\s% +10\.00\s%", said)
    assert "1 (33.3" in said, "of three real pictures one was read"
    assert "b.png" in said


def test_a_share_of_nothing_is_a_dash() -> None:
    assert share(None) == NONE
    assert share(0.99634) == "99.63\N{NO-BREAK SPACE}%"
