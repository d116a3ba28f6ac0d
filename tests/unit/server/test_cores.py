"""How many cores may be used: the affinity's, or fewer where the container's quota says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server.cores import count_cores, count_workers


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)


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
