"""Through a real Envoy: every gRPC status has its HTTP status; what a server that goes away says is tried again, no more."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from digitserve.v1 import recognizer_pb2 as pb
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2
from grpc import StatusCode

from server.limits import Limits
from tests.in_process import GatedModel, serving, stamp
from tests.proxy_process import GRPC_WEB, Answer, ProxyProcess, ask, frame, post_json, read_details, read_web_answer
from tests.upstream import Upstream

RECOGNIZE = "/digitserve.v1.Recognizer/Recognize"
TRIES = 3
# A server that goes away says the first, and the second to a call that meets its very last moment.
TRIED_AGAIN = {StatusCode.UNAVAILABLE, StatusCode.CANCELLED}
HTTP = {
    StatusCode.CANCELLED: 499,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.NOT_FOUND: 404,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.INTERNAL: 500,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
}


def call_web(proxy: ProxyProcess, message: bytes = b"") -> Answer:
    return ask(proxy.port, "POST", RECOGNIZE, frame(message), GRPC_WEB)


@pytest.mark.parametrize("code", HTTP, ids=lambda code: code.name)
def test_json_gets_the_http_status_that_belongs_to_it(proxy: ProxyProcess, upstream: Upstream, code: StatusCode) -> None:
    upstream.expect(*[code] * 2 * TRIES)
    answer = post_json(proxy.port, "/v1/recognize", {})
    assert answer.status == HTTP[code]
    assert (answer.json()["code"], answer.json()["message"]) == (code.value[0], "as told")
    assert upstream.calls == (TRIES if code in TRIED_AGAIN else 1)


@pytest.mark.parametrize("code", HTTP, ids=lambda code: code.name)
def test_grpc_web_gets_the_status_itself(proxy: ProxyProcess, upstream: Upstream, code: StatusCode) -> None:
    upstream.expect(*[code] * 2 * TRIES)
    answer = call_web(proxy)
    trailers = read_web_answer(answer).trailers
    assert answer.status == 200
    assert (trailers["grpc-status"], trailers["grpc-message"]) == (str(code.value[0]), "as told")
    assert upstream.calls == (TRIES if code in TRIED_AGAIN else 1)


@pytest.mark.parametrize("code", sorted(TRIED_AGAIN, key=str), ids=lambda code: code.name)
def test_another_try_that_succeeds_is_all_one_sees(proxy: ProxyProcess, upstream: Upstream, code: StatusCode) -> None:
    upstream.expect(*[code] * (TRIES - 1))
    assert post_json(proxy.port, "/v1/recognize", {}).json()["text"] == "7"
    assert upstream.calls == TRIES


def test_a_status_that_says_nothing_of_when_to_come_back_has_no_retry_after(proxy: ProxyProcess, upstream: Upstream) -> None:
    upstream.expect(StatusCode.RESOURCE_EXHAUSTED)
    answer = post_json(proxy.port, "/v1/recognize", {})
    assert (answer.status, "retry-after" in answer.headers) == (429, False)


@pytest.mark.usefixtures("upstream")
def test_head_has_the_status_of_get(proxy: ProxyProcess) -> None:
    """This server does not list its models."""
    assert [ask(proxy.port, method, "/v1/models").status for method in ("GET", "HEAD")] == [501, 501]


def test_only_what_should_not_have_happened_is_logged(upstream: Upstream, tmp_path: Path) -> None:
    with ProxyProcess(upstream.address, tmp_path, tmp_path) as proxy:
        upstream.expect(StatusCode.INVALID_ARGUMENT)
        for _ in range(3):
            call_web(proxy)
            post_json(proxy.port, "/v1/recognize", {})
        upstream.expect(StatusCode.INTERNAL)
        call_web(proxy)
    (line,) = proxy.log.splitlines()
    assert re.search(r"envoy: POST /digitserve\.v1\.Recognizer/Recognize 200 grpc Internal .* in \d+ ms", line)


def trust(root: Any) -> None:
    """The server in this process has no health of its own to ask for."""
    del root["static_resources"]["clusters"][0]["health_checks"]


def refused_by_a_full_tray(folder: Path, *asks: Callable[[ProxyProcess], Answer]) -> list[Answer]:
    """What `asks` are told while one image is under way and two fill the tray; these three must be answered all the same."""

    async def run() -> list[Answer]:
        model = GatedModel()
        async with serving(model.run, Limits(max_queue_size=2)) as here:
            with ProxyProcess(here.address, folder, folder, trust) as proxy:
                calls = [here.stub.RecognizeBatch(pb.RecognizeBatchRequest(images=stamp(1)))]
                await model.started()
                calls.append(here.stub.RecognizeBatch(pb.RecognizeBatchRequest(images=stamp(2) + stamp(3))))
                while here.batcher.waiting < 2:
                    await asyncio.sleep(0)  # no time passes: this only lets the server's side of the loop go on
                refused = [await asyncio.to_thread(each, proxy) for each in asks]
                model.gate.set()
                assert [list((await call).classes) for call in calls] == [[1], [2, 3]]
        return refused

    return asyncio.run(run())


def test_a_full_tray_says_when_to_come_back(tmp_path: Path) -> None:
    framed = pb.Image(raw=pb.RawImage(pixels=stamp(4), width=28, height=28))
    request = pb.RecognizeRequest(image=framed, layout=pb.LAYOUT_FRAMED, priority=pb.PRIORITY_BULK)
    by_json, by_web = refused_by_a_full_tray(
        tmp_path,
        lambda proxy: post_json(proxy.port, "/v1/recognize", MessageToDict(request)),
        lambda proxy: call_web(proxy, request.SerializeToString()),
    )
    assert by_json.status == 429
    (detail,) = by_json.json()["details"]
    assert detail["@type"].endswith("google.rpc.RetryInfo")
    seconds = float(detail["retryDelay"].removesuffix("s"))
    assert by_json.headers["retry-after"] == str(math.ceil(seconds)) != "0"
    trailers, wait = read_web_answer(by_web).trailers, error_details_pb2.RetryInfo()
    assert trailers["grpc-status"] == str(StatusCode.RESOURCE_EXHAUSTED.value[0])
    assert read_details(trailers).details[0].Unpack(wait)
    assert wait.retry_delay.ToTimedelta().total_seconds() > 0
