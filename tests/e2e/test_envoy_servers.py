"""Several servers behind one Envoy: whoever has least to do gets the call, and one that goes away is not missed."""

from __future__ import annotations

import base64
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import pytest
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub
from grpc import StatusCode

from tests.proxy_process import Answer, Edit, ProxyProcess, ask, post_json
from tests.server_process import ROOT, ServerProcess
from tests.upstream import Upstream

CALLS = 40
DRAWS = 100
WITHIN_S = 10.0
CALLERS = 2


def add_servers(addresses: Sequence[str]) -> Edit:
    """One more line of lb_endpoints for each, as docs/browser.md says."""

    def edit(root: Any) -> None:
        endpoints = root["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"]
        for address in addresses:
            host, _, port = address.rpartition(":")
            endpoints.append({"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}})

    return edit


@pytest.fixture
def pair() -> Iterator[tuple[Upstream, Upstream]]:
    arrived = threading.Condition()
    with Upstream("left", arrived) as left, Upstream("right", arrived) as right:
        yield left, right


@pytest.fixture
def proxy(pair: tuple[Upstream, Upstream], tmp_path: Path) -> Iterator[ProxyProcess]:
    left, right = pair
    with ProxyProcess(left.address, tmp_path, tmp_path, add_servers([right.address])) as running:
        wait_until_healthy(running, 2)
        yield running


def wait_until_healthy(proxy: ProxyProcess, number: int) -> None:
    query = "/stats?format=json&filter=^cluster.recognizer.membership_healthy$"
    end_s = time.monotonic() + WITHIN_S
    while ask(proxy.admin_port, "GET", query).json()["stats"][0]["value"] != number:
        assert time.monotonic() < end_s


def post(proxy: ProxyProcess) -> Answer:
    return post_json(proxy.port, "/v1/recognize", {})


def names(proxy: ProxyProcess, calls: int = CALLS) -> Counter[str]:
    """Who answered."""
    return Counter(post(proxy).json()["text"] for _ in range(calls))


def test_both_get_calls(proxy: ProxyProcess) -> None:
    assert sorted(names(proxy)) == ["left", "right"]


def wait_for_calls(pair: tuple[Upstream, Upstream], number: int) -> None:
    left, right = pair
    with left.arrived:
        assert left.arrived.wait_for(lambda: left.calls + right.calls == number, WITHIN_S)


def test_who_is_busy_gets_fewer_calls(proxy: ProxyProcess, pair: tuple[Upstream, Upstream]) -> None:
    """Of two servers drawn at random (perhaps the same one twice), the less busy one is taken: the other gets a quarter."""
    left, _ = pair
    left.gate.clear()
    with grpc.insecure_channel(f"127.0.0.1:{proxy.port}") as channel:
        stub = RecognizerStub(channel)  # type: ignore[no-untyped-call]
        calls = []
        for number in range(1, DRAWS + 1):
            calls.append(stub.Recognize.future(pb.RecognizeRequest(), timeout=60))
            wait_for_calls(pair, number)
        busy = left.calls
        left.gate.set()
        assert Counter(call.result().text for call in calls) == {"left": busy, "right": DRAWS - busy}
    assert busy < DRAWS * 0.4


def test_who_says_not_serving_is_left(proxy: ProxyProcess, pair: tuple[Upstream, Upstream]) -> None:
    left, _ = pair
    left.say_not_serving()
    wait_until_healthy(proxy, 1)
    end_s = time.monotonic() + WITHIN_S
    while names(proxy) != {"right": CALLS}:
        assert time.monotonic() < end_s


def test_who_comes_back_is_called_at_once(proxy: ProxyProcess, pair: tuple[Upstream, Upstream]) -> None:
    """Two changes of health in less than a second, which Envoy would hand on together at the end of it."""
    left, _ = pair
    left.say_not_serving()
    wait_until_healthy(proxy, 1)
    left.say_serving()
    wait_until_healthy(proxy, 2)
    assert sorted(names(proxy)) == ["left", "right"]


def test_nobody_healthy_is_503_at_once(proxy: ProxyProcess, pair: tuple[Upstream, Upstream]) -> None:
    for each in pair:
        each.say_not_serving()
    wait_until_healthy(proxy, 0)
    end_s = time.monotonic() + WITHIN_S
    while post(proxy).status != 503:
        assert time.monotonic() < end_s
    before = [each.calls for each in pair]
    assert [post(proxy).status for _ in range(CALLS)] == [503] * CALLS
    assert [each.calls for each in pair] == before


def test_another_try_goes_to_another_server(proxy: ProxyProcess, pair: tuple[Upstream, Upstream]) -> None:
    left, _ = pair
    left.expect(*[StatusCode.UNAVAILABLE] * CALLS * 3)
    assert names(proxy) == {"right": CALLS}
    assert left.calls > 0


class Callers:
    """Calls on and on inside a `with` statement; `told` is how often each answer came."""

    def __init__(self, proxy: ProxyProcess) -> None:
        self.told: Counter[tuple[int, str]] = Counter()
        self._proxy = proxy
        self._stop = threading.Event()
        self._threads = ThreadPoolExecutor(CALLERS)

    def __enter__(self) -> Self:
        self._calls = [self._threads.submit(self._call) for _ in range(CALLERS)]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._threads.shutdown()
        self.told = sum((call.result() for call in self._calls), Counter())

    def _call(self) -> Counter[tuple[int, str]]:
        told: Counter[tuple[int, str]] = Counter()
        image = {"encoded": base64.b64encode((ROOT / "docs/examples/seven.png").read_bytes()).decode()}
        while not self._stop.is_set():
            answer = post_json(self._proxy.port, "/v1/recognize", {"image": image})
            told[answer.status, answer.json().get("text", answer.body.decode())] += 1
        return told


def test_servers_restart_one_after_the_other_and_no_call_fails(models_folder: Path, tmp_path: Path) -> None:
    flags = ("--models", str(models_folder), "--port")
    with ExitStack() as stack:
        first, second = (stack.enter_context(ServerProcess(*flags, "0")) for _ in range(2))
        proxy = stack.enter_context(ProxyProcess(first.address, tmp_path, tmp_path, add_servers([second.address])))
        wait_until_healthy(proxy, 2)
        with Callers(proxy) as callers:
            for old in (first, second):
                old.terminate()
                assert old.wait() == 0
                wait_until_healthy(proxy, 1)
                stack.enter_context(ServerProcess(*flags, old.address.rpartition(":")[2]))
                wait_until_healthy(proxy, 2)
    assert list(callers.told) == [(200, "7")]
    assert callers.told.total() > 10 * CALLERS


def test_a_caller_that_claims_another_address_is_still_named(pair: tuple[Upstream, Upstream], proxy: ProxyProcess) -> None:
    """Whoever stands behind reads the last address of the list, which is the one that Envoy has seen itself."""
    ask(proxy.port, "POST", "/v1/recognize", b"{}", {"content-type": "application/json", "x-forwarded-for": "10.0.0.1"})
    (metadata,) = (upstream.metadata for upstream in pair if upstream.calls)
    claimed, seen = str(metadata["x-forwarded-for"]).split(",")
    assert claimed == "10.0.0.1"
    assert seen != claimed  # of this machine; Envoy takes another than the loopback one where there is one
