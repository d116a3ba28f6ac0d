"""Arguments checked where they come in: what can't be meant raises there, names the argument, and nothing is sent."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np

MAX_INT32 = 2**31 - 1
MAX_UINT32 = 2**32 - 1

# Longer than anybody waits. gRPC takes what is centuries ahead for what has passed already.
MAX_TIMEOUT_S = 365 * 24 * 3600.0


def checked_timeout_s(timeout_s: float) -> float:
    """Every call has a deadline: infinity is not one, and over a year is a year.

    Raises:
        TypeError: not a number.
        ValueError: not above 0, or infinite.
    """
    if not isinstance(timeout_s, float | int | Real):
        raise TypeError(f"timeout_s is {timeout_s!r}: give a number of seconds")
    if not 0 < timeout_s < math.inf:
        raise ValueError(f"timeout_s is {timeout_s}: give a number of seconds above 0")
    return float(min(timeout_s, MAX_TIMEOUT_S))


def checked_top_k(top_k: int) -> int:
    """Raises TypeError for what is no integer, and ValueError for one that counts nothing."""
    try:
        if isinstance(top_k, bool):
            raise TypeError
        count = operator.index(top_k)
    except TypeError:
        raise TypeError(f"top_k is {top_k!r}: it counts alternatives, so give an int") from None
    if not 0 <= count <= MAX_UINT32:
        raise ValueError(f"top_k is {top_k}: it counts alternatives, from 0 up")
    return count


def checked_count(what: str, count: float) -> int:
    """How many of something, at least one. Raises TypeError for what is no number, and ValueError for any other number."""
    if not isinstance(count, Real):
        raise TypeError(f"{what} is {count!r}: give a whole number")
    if not 1 <= count <= MAX_INT32 or count != int(count):
        raise ValueError(f"{what} is {count}: give a whole number from 1 to {MAX_INT32}")
    return int(count)


def checked_text(what: str, text: str) -> str:
    """Raises TypeError for what is no str, and ValueError for one that can't travel as UTF-8."""
    if not isinstance(text, str):
        raise TypeError(f"{what} is {text!r}: give a str")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} is {text!r}, which is no text: it can't be written as UTF-8") from None
    return text


def checked_word(what: str, word: str, known: Iterable[str] | Mapping[str, Any]) -> str:
    """Raises TypeError for what is no str, and ValueError for one that is not known."""
    if not isinstance(word, str):
        raise TypeError(f"{what} is {word!r}: give a str")
    if word not in known:
        raise ValueError(f"{what} is {word!r}, not one of {', '.join(known)}")
    return word


def checked_flag(what: str, flag: bool) -> bool:
    """Raises TypeError for what is neither true nor false."""
    if not isinstance(flag, bool | np.bool_ | int):
        raise TypeError(f"{what} is {flag!r}: give True or False")
    return bool(flag)
