"""How many cores may be used: the affinity's, or fewer where a container's quota says so; and which one a server keeps to."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from server.cores import count_cores, count_workers, find_cores, keep_to_one_core, use_all_cores
from tests.server_process import ROOT

# Keeps to one of two cores under a claim of its own, and says what its threads may use, until its standard input ends.
KEEPER = """
import json, os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from server.cores import count_cores, keep_to_one_core, use_all_cores

def look():
    return sorted(os.sched_getaffinity(0))

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
whole = look()
core = keep_to_one_core(sys.argv[1], Path("/no quota"))
started, computing = ThreadPoolExecutor(1), ThreadPoolExecutor(1, "model", use_all_cores)
told = {"core": core, "whole": whole, "here": look(), "count": count_cores(Path("/no quota"))}
print(json.dumps(told | {"started": started.submit(look).result(), "computing": computing.submit(look).result()}), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    find_cores.cache_clear()
    yield
    find_cores.cache_clear()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """What a process of eight cores asks its system for."""
    asked: list[set[int]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: asked.append(set(cores)), raising=False)
    return asked


@pytest.fixture
def claim() -> str:
    """A name that only this test knows: servers may run on this machine."""
    return f"\0{uuid4()}-{{}}"


@pytest.mark.parametrize(
    ("content", "cores"),
    [("max 100000\n", 8), ("200000 100000\n", 2), ("250000 100000\n", 2), ("50000 100000\n", 1), ("9900000 100000\n", 8)],
)
def test_the_quota_bounds_the_cores(tmp_path: Path, content: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert count_cores(tmp_path / "cpu.max") == cores


@pytest.mark.parametrize("content", ["", "nonsense\n", "1 2 3\n"])
def test_what_cant_be_read_is_no_quota(tmp_path: Path, content: str) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert count_cores(tmp_path / "cpu.max") == 8


def test_no_cgroup_is_no_quota(tmp_path: Path) -> None:
    assert count_cores(tmp_path / "cpu.max") == 8


@pytest.mark.parametrize(("count", "cores"), [(6, 6), (None, 1)])
def test_where_there_is_no_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int | None, cores: int) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert count_cores(tmp_path / "cpu.max") == cores


def test_workers_are_a_number_or_one_for_each_core() -> None:
    assert [count_workers(workers) for workers in ("1", "07", "auto")] == [1, 7, count_cores()]


class Keeper:
    """A process that keeps to a core, and what it has told."""

    def __init__(self, claim: str) -> None:
        words = (sys.executable, "-c", KEEPER.replace("sys.argv[1]", repr(claim)))
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)

    def __enter__(self) -> dict[str, Any]:
        assert self.process.stdout
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        return told

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def test_servers_side_by_side_keep_to_cores_of_their_own_while_there_are_any(claim: str) -> None:
    with ExitStack() as stack:
        keepers = [stack.enter_context(Keeper(claim)) for _ in range(3)]
    whole = keepers[0]["whole"]
    kept = [keeper["core"] for keeper in keepers]
    assert sorted(kept[:2]) == whole if len(whole) == 2 else kept == [None] * 3
    assert kept[2] in kept[:2]
    for keeper in keepers:
        assert keeper["here"] == keeper["started"] == (whole if keeper["core"] is None else [keeper["core"]])
        assert keeper["computing"] == whole
        assert keeper["count"] == len(whole)


def test_a_core_is_free_again_once_its_server_has_ended(claim: str) -> None:
    for _ in range(4):  # by lot, all of them could be the same once in a while
        with Keeper(claim) as first, Keeper(claim) as second:
            assert first["core"] is None or first["core"] != second["core"]


def test_a_core_that_is_taken_is_left_to_its_server_while_there_are_others(
    tmp_path: Path, claim: str, asked: list[set[int]]
) -> None:
    kept = [keep_to_one_core(claim, tmp_path / "none") for _ in range(9)]
    assert set(kept[:8]) == set(range(8))
    assert kept[8] in kept[:8]
    assert asked == [{core} for core in kept]


def test_without_a_choice_nothing_is_asked_for(claim: str, asked: list[set[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3})
    find_cores.cache_clear()
    assert keep_to_one_core(claim, Path("/no quota")) is None
    assert asked == []


def test_with_a_quota_the_cores_are_shared_with_others_and_none_is_kept(
    tmp_path: Path, claim: str, asked: list[set[int]]
) -> None:
    (tmp_path / "cpu.max").write_text("200000 100000\n")
    assert keep_to_one_core(claim, tmp_path / "cpu.max") is None
    assert asked == []


def test_where_a_thread_cant_keep_to_a_core(claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    assert keep_to_one_core(claim, Path("/no quota")) is None
    use_all_cores()


def test_where_it_may_not_it_claims_none(claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(process: int, cores: set[int]) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", refuse, raising=False)
    assert keep_to_one_core(claim, Path("/no quota")) is None
    for core in range(8):
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(claim.format(core))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3}, raising=False)
    with ThreadPoolExecutor(1, "model", use_all_cores) as executor:
        assert executor.submit(lambda: "well").result() == "well"


def test_what_was_bound_from_outside_stays_bound(asked: list[set[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    find_cores()
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 2})
    use_all_cores()
    assert asked == []
