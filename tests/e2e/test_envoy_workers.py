"""Several workers behind Envoy: each is an endpoint of its own, so that all get calls, and what one had in hand when it died is
asked of another.
"""

from __future__ import annotations

import base64
import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.conftest import StartServer
from tests.e2e.test_envoy_servers import WITHIN_S, wait_until_healthy
from tests.e2e.test_workers import find_workers
from tests.launcher import FREE, TIMEOUT_S, children_of, fail, launch, read_addresses, read_stderr
from tests.proxy_process import ProxyProcess, ask, find_free_port, post_json
from tests.server_process import ROOT

CALLERS = 16
CALLS = 320
# Calls are held back for company, so that a worker can be killed while it has some.
HELD = ("--max-queue-delay-ms", "1000", "--max-batch-size", "4096", "--crowd-gather-ms", "0")
IMAGE = {"encoded": base64.b64encode((ROOT / "docs/examples/seven.png").read_bytes()).decode()}


def recognize(port: int) -> tuple[int, str]:
    answer = post_json(port, "/v1/recognize", {"image": IMAGE})
    return answer.status, answer.json().get("text", answer.body.decode())


def count_calls(admin_port: int, name: str) -> list[int]:
    """What Envoy tells of each worker: the calls so far (rq_total), or those under way (rq_active)."""
    hosts = ask(admin_port, "GET", "/clusters?format=json").json()["cluster_statuses"][0]["host_statuses"]
    return [read_statistic(host, name) for host in sorted(hosts, key=lambda host: str(host["address"]["pipe"]["path"]))]


def read_statistic(host: Any, name: str) -> int:
    return next(int(each.get("value", 0)) for each in host["stats"] if each["name"] == name)


def test_make_run_shares_the_calls_out_among_its_workers(models_folder: Path, tmp_path: Path) -> None:
    flags = ("--models", str(models_folder), "--workers", "2", "--admin-port", str(admin_port := find_free_port()))
    with launch(tmp_path, *FREE[:-2], *flags) as process, ThreadPoolExecutor(CALLERS) as threads:
        port, _ = read_addresses(process)
        ends = Counter(threads.map(recognize, [port] * CALLS))
        calls = count_calls(admin_port, "rq_total")
        children = children_of(process.pid)
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0
    assert ends == {(200, "7"): CALLS}
    assert len(calls) == 2
    assert sum(calls) >= CALLS
    assert min(calls) > CALLS / 4, calls
    assert sorted(children) == ["envoy", "server"]
    assert read_stderr(tmp_path).count(": drained") == 2


def test_what_a_killed_worker_had_in_hand_is_asked_of_the_other(start_server: StartServer, tmp_path: Path) -> None:
    path = str(tmp_path / "worker")
    server = start_server("--workers", "2", "--socket", path, *HELD)
    sockets = (f"{path}.1", f"{path}.2")
    with ProxyProcess(server.address, tmp_path, tmp_path, sockets=sockets) as proxy, ThreadPoolExecutor(CALLERS) as threads:
        wait_until_healthy(proxy, 2)
        calls = [threads.submit(recognize, proxy.port) for _ in range(CALLERS)]
        end_s = time.monotonic() + WITHIN_S
        while not all(count_calls(proxy.admin_port, "rq_active")):
            assert time.monotonic() < end_s, "one of them got none"
        os.kill(find_workers(server.pid)[0], signal.SIGKILL)
        assert Counter(call.result() for call in calls) == {(200, "7"): CALLERS}
        assert sum(count_calls(proxy.admin_port, "rq_total")) > CALLERS, "some were asked again"
        wait_until_healthy(proxy, 2)


def test_a_folder_whose_name_is_too_long_for_a_socket_is_told(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    status, told = fail(tmp_path, *FREE, "--workers", "2", TMPDIR=str(folder))
    assert status == 1
    *_, why, last = told.splitlines()
    assert why.startswith(f"digitserve: can't listen on {folder}/digitserve-")
    assert why.endswith("/worker.1: AF_UNIX path too long")
    assert last == "digitserve: server ended with exit status 1; its last lines stand above"
    assert "Traceback" not in told
