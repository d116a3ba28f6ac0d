"""The event loop and gRPC's threads keep to one core; what computes goes where there is room."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from digitserve.v1 import recognizer_pb2 as pb

from server.cores import count_cores
from tests.server_process import ServerProcess

PACKED = pb.RecognizeBatchRequest(images=bytes(256 * 784))
KEEPS = re.compile(r"the event loop keeps to core (\d+)")


def read_affinities(pid: int) -> list[set[int]]:
    """Each thread's."""
    affinities = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended meanwhile
            affinities.append(os.sched_getaffinity(int(task.name)))
    return affinities


def test_all_threads_keep_to_one_core_but_those_that_compute() -> None:
    whole = os.sched_getaffinity(0)
    with ServerProcess("--port", "0", "--execution-provider", "cpu") as server:
        server.stub().RecognizeBatch(PACKED, timeout=10)
        affinities = read_affinities(server.pid)
        found = KEEPS.search(server.stderr)
        assert bool(found) == (1 < len(whole) == count_cores())
        home = {int(found[1])} if found else whole
        assert os.sched_getaffinity(server.pid) == home
        assert re.search(rf"\b{count_cores()} instances", server.stderr)
    assert affinities.count(home) >= 2  # the loop's and gRPC's
    assert affinities.count(whole) >= 1  # that which ran the batch
    assert all(affinity in (home, whole) for affinity in affinities)


def test_switched_off_all_go_where_there_is_room() -> None:
    whole = os.sched_getaffinity(0)
    with ServerProcess("--port", "0", "--one-core", "no") as server:
        server.stub().RecognizeBatch(PACKED, timeout=10)
        assert all(affinity == whole for affinity in read_affinities(server.pid))
        assert not KEEPS.search(server.stderr)


def test_several_workers_go_where_there_is_room() -> None:
    whole = os.sched_getaffinity(0)
    with ServerProcess("--port", "0", "--workers", "2") as server:
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text(encoding="ascii").split()
        assert len(children) == 2
        assert all(affinity == whole for worker in children for affinity in read_affinities(int(worker)))
