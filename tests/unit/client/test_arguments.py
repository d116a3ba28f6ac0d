from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from digitserve.arguments import MAX_TIMEOUT_S, checked_count, checked_timeout_s


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("inf"), float("nan")])
def test_every_call_has_a_deadline(timeout_s: float) -> None:
    with pytest.raises(ValueError, match=r"timeout_s is"):
        checked_timeout_s(timeout_s)


@pytest.mark.parametrize("timeout_s", ["5", None, [5], 1j])
def test_a_timeout_is_a_number(timeout_s: Any) -> None:
    with pytest.raises(TypeError, match=r"timeout_s is .*: give a number of seconds"):
        checked_timeout_s(timeout_s)


@pytest.mark.parametrize("timeout_s", [1e10, float(sys.maxsize), 10**400, sys.float_info.max])
def test_over_a_year_is_a_year(timeout_s: float) -> None:
    assert checked_timeout_s(timeout_s) == MAX_TIMEOUT_S


@pytest.mark.parametrize("timeout_s", [5, 0.5, np.float32(0.5), MAX_TIMEOUT_S])
def test_up_to_a_year_is_what_it_says(timeout_s: float) -> None:
    assert checked_timeout_s(timeout_s) == timeout_s


@pytest.mark.parametrize("count", [0, -1, 1.5, float("nan"), float("inf"), 2**31])
def test_a_count_is_a_whole_number_from_1_up(count: float) -> None:
    with pytest.raises(ValueError, match=r"window is .*: give a whole number from 1 to 2147483647"):
        checked_count("window", count)
    assert checked_count("window", np.float64(7.0)) == 7


@pytest.mark.parametrize("count", ["1", None])
def test_a_count_is_a_number(count: Any) -> None:
    with pytest.raises(TypeError, match=r"window is .*: give a whole number"):
        checked_count("window", count)
