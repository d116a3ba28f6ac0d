"""The log's two forms."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from server.logs import JsonFormatter, set_up_logging


def make_record(message: str, *arguments: object, **more: Any) -> logging.LogRecord:
    record = logging.LogRecord("digitserve.app", logging.ERROR, "app.py", 1, message, arguments, more.pop("exc_info", None))
    record.__dict__.update(more)
    return record


def write(record: logging.LogRecord) -> dict[str, str]:
    text = JsonFormatter().format(record)
    assert "\n" not in text
    told: dict[str, str] = json.loads(text)
    return told


def test_an_object_has_time_level_logger_and_message() -> None:
    record = make_record("batch %s of %d", "a1", 3, created=1_700_000_000.25, msecs=250.0)
    assert write(record) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "error",
        "logger": "digitserve.app",
        "message": "batch a1 of 3",
    }


def test_a_request_id_and_an_exception_are_fields() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        told = write(make_record("it failed", exc_info=sys.exc_info(), request_id="r-1"))
    assert told["request_id"] == "r-1"
    assert told["exception"].startswith("Traceback")
    assert told["exception"].endswith("ValueError: two\nlines")


@pytest.mark.parametrize("text", ["a\nb", '"quoted"', "漢字", "\ud800", "\x1b[31m"])
def test_whatever_is_said_is_one_line_of_ascii(text: str) -> None:
    assert write(make_record(text))["message"] == text
    assert JsonFormatter().format(make_record(text)).isascii()


@contextmanager
def bare_logging() -> Iterator[None]:
    """No handlers at all, as at the start of a process; afterwards everything as it was."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers, root.level, sys.excepthook = handlers, level, hook


def test_text_is_what_it_always_was(capsys: pytest.CaptureFixture[str]) -> None:
    hook = sys.excepthook
    with bare_logging():
        set_up_logging("info", "text")
        logging.getLogger("digitserve.app").info("serving on %s", "here")
        assert capsys.readouterr().err.endswith(" INFO digitserve.app: serving on here\n")
        assert sys.excepthook is hook


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_worker_has_its_number_in_every_line(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    with bare_logging():
        set_up_logging("info", log_format, worker=3)
        logging.getLogger("digitserve.app").info("drained")
        said = capsys.readouterr().err
    if log_format == "json":
        assert json.loads(said)["worker"] == 3
    else:
        assert said.endswith(" INFO [w3] digitserve.app: drained\n")


def test_with_json_nothing_else_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with bare_logging():
        set_up_logging("warning", "json")
        logging.getLogger("digitserve.app").info("not this")
        logging.getLogger("digitserve.app").warning("this")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", DeprecationWarning, stacklevel=1)
        sys.excepthook(ValueError, ValueError("the end"), None)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [each["level"] for each in told] == ["warning", "warning", "critical"]
    assert told[0]["message"] == "this"
    assert "DeprecationWarning: old" in told[1]["message"]
    assert told[2]["exception"] == "ValueError: the end"
