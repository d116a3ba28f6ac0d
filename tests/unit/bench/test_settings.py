from __future__ import annotations

from typing import Any

import pytest
from digitserve.bench.settings import BenchError, Settings


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"concurrency": 0}, "--concurrency must be at least 1"),
        ({"batch_size": -1}, "--batch-size must be at least 1"),
        ({"count": 0}, "--count must be at least 1"),
        ({"rate": 0.0}, "--rate must be a number above 0"),
        ({"rate": float("nan")}, "--rate must be a number above 0"),
        ({"rate": 1e9}, "--rate must be at most 100,000 for each of the --processes, not 1e.09"),
        ({"server": ""}, "--server: target is '': give host and port"),
        ({"server": "localhost:999999"}, "--server: target is 'localhost:999999': give host and port"),
        ({"timeout_s": 1e10}, "--timeout must be a year at most"),
        ({"duration_s": float("inf")}, "--duration must be a number above 0"),
        ({"timeout_s": -1.0}, "--timeout must be a number above 0"),
        ({"warmup_s": float("nan")}, "--warmup must be a number of seconds"),
        ({"concurrency": 2, "processes": 3}, "--concurrency 2 is less than --processes 3"),
        ({"count": 2, "processes": 3}, "--count 2 is less than --processes 3"),
        ({"mode": "batch", "encoding": "png"}, "--encoding png is for --mode single or stream"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(BenchError, match=words):
        Settings(**wrong)


def test_an_open_loop_needs_no_concurrency_for_its_processes() -> None:
    assert Settings(rate=10, concurrency=1, processes=2).rate == 10
