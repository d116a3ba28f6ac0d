"""Envoy's command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.proxy import make_command


@pytest.mark.parametrize(("workers", "threads"), [(1, "1"), (3, "1"), (4, "2"), (256, "86")])
def test_it_has_as_many_threads_as_the_workers_keep_busy(workers: int, threads: str) -> None:
    command = make_command(Path("envoy"), Path("envoy.yaml"), workers)
    assert command[:3] == ["envoy", "-c", "envoy.yaml"]
    assert command[command.index("--concurrency") + 1] == threads


def test_the_server_is_one_process_unless_it_is_told_otherwise() -> None:
    assert make_command(Path("envoy"), Path("envoy.yaml")) == make_command(Path("envoy"), Path("envoy.yaml"), 1)
