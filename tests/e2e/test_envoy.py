"""Through a real Envoy to a real server: grpc-web as browsers send it, JSON as curl does, the page, and nobody else."""

from __future__ import annotations

import base64
import gzip
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
import pytest
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub
from google.rpc import error_details_pb2

from tests.mnist import Digits
from tests.pictures import encode_grey
from tests.proxy_process import GRPC_WEB, Answer, ProxyProcess, ask, frame, post_json, read_details, read_web_answer
from tests.server_process import ROOT, ServerProcess

SEVEN = ROOT / "docs/examples/seven.png"
RECOGNIZE = "/digitserve.v1.Recognizer/Recognize"
SCRIPT = "// a script\n" + "draw();\n" * 200
PAGE = "<!doctype html><title>digits</title>" + "<p>draw</p>" * 100
BACK_WITHIN_S = 2.0


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "secret.txt").write_text("secret")
    (folder / "dist/assets").mkdir(parents=True)
    (folder / "dist/index.html").write_text(PAGE)
    (folder / "dist/assets/app-1a2b3c.js").write_text(SCRIPT)
    return folder / "dist"


@pytest.fixture(scope="module")
def proxy(server: ServerProcess, page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(server.address, tmp_path_factory.mktemp("envoy"), page) as running:
        yield running


def call_web(proxy: ProxyProcess, request: pb.RecognizeRequest, **headers: str) -> Answer:
    return ask(proxy.port, "POST", RECOGNIZE, frame(request.SerializeToString()), GRPC_WEB | headers)


def json_image(content: bytes) -> dict[str, object]:
    return {"image": {"encoded": base64.b64encode(content).decode()}}


def test_grpc_web_gets_the_right_digits(proxy: ProxyProcess, mnist_test: Digits) -> None:
    found = []
    for digit in mnist_test.images[:20]:
        raw = pb.RawImage(pixels=digit.tobytes(), width=28, height=28)
        answer = read_web_answer(call_web(proxy, pb.RecognizeRequest(image=pb.Image(raw=raw))))
        assert answer.trailers["grpc-status"] == "0"
        found.append(pb.RecognizeResponse.FromString(answer.messages[0]).text)
    assert found == [str(label) for label in mnist_test.labels[:20]]


def test_grpc_web_gets_the_error_with_its_details(proxy: ProxyProcess) -> None:
    origin = proxy.places.origins[0]
    answer = call_web(proxy, pb.RecognizeRequest(image=pb.Image(encoded=b"nothing")), origin=origin)
    trailers = read_web_answer(answer).trailers
    assert trailers["grpc-status"] == str(grpc.StatusCode.INVALID_ARGUMENT.value[0])
    assert "not a readable image" in unquote(trailers["grpc-message"])
    bad = error_details_pb2.BadRequest()
    assert read_details(trailers).details[0].Unpack(bad)
    assert bad.field_violations[0].field == "image.encoded"
    exposed = answer.headers["access-control-expose-headers"].split(",")
    assert {"grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-retry-pushback-ms"} == set(exposed)


def test_plain_grpc_passes(proxy: ProxyProcess) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{proxy.port}") as channel:
        stub = RecognizerStub(channel)  # type: ignore[no-untyped-call]
        request = pb.RecognizeRequest(image=pb.Image(encoded=SEVEN.read_bytes()))
        assert stub.Recognize(request, timeout=10).text == "7"
        stream = stub.RecognizeStream(iter([pb.RecognizeStreamRequest(id=5, request=request)]), timeout=10)
        assert [(each.id, each.response.text) for each in stream] == [(5, "7")]


def preflight(proxy: ProxyProcess, origin: str, path: str = RECOGNIZE) -> Answer:
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-grpc-web,grpc-timeout",
    }
    return ask(proxy.port, "OPTIONS", path, None, headers)


@pytest.mark.parametrize("number", range(3))
def test_a_listed_origin_may_call(proxy: ProxyProcess, number: int) -> None:
    origin = proxy.places.origins[number]
    for path in (RECOGNIZE, "/v1/recognize", "/v1/recognize:batch", "/v1/models"):
        allowed = preflight(proxy, origin, path)
        assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, origin)
        assert "POST" in allowed.headers["access-control-allow-methods"]
        assert {"content-type", "x-grpc-web", "grpc-timeout"} <= set(allowed.headers["access-control-allow-headers"].split(","))
    answer = call_web(proxy, pb.RecognizeRequest(image=pb.Image(encoded=SEVEN.read_bytes())), origin=origin)
    assert answer.headers["access-control-allow-origin"] == origin
    assert len(read_web_answer(answer).messages) == 1


@pytest.mark.parametrize("origin", ["https://foreign.example", "https://listed.example.foreign.example", "null"])
def test_a_foreign_origin_is_refused(proxy: ProxyProcess, origin: str) -> None:
    request = pb.RecognizeRequest(image=pb.Image(encoded=SEVEN.read_bytes()))
    json_call = ask(proxy.port, "GET", "/v1/models", None, {"origin": origin})
    web_call = call_web(proxy, request, origin=origin)
    for answer in (preflight(proxy, origin), json_call, web_call):
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert preflight(proxy, origin).status == json_call.status == web_call.status == 403
    assert web_call.body == b"RBAC: access denied"


def call_from(proxy: ProxyProcess, origin: str, host: str) -> int:
    """The HTTP status of a call by a page from `origin`, at this proxy under the name `host`."""
    return ask(proxy.port, "GET", "/v1/models", None, {"origin": origin, "host": host}).status


@pytest.mark.parametrize("host", ["192.0.2.7:8080", "192.0.2.7", "[2001:db8::7]:8080", "127.0.0.2:8080"])
def test_a_page_that_came_from_here_by_an_address_may_call(proxy: ProxyProcess, host: str) -> None:
    """As from a phone: the proxy listens on every interface, and knows none of its addresses."""
    assert call_from(proxy, f"http://{host}", host) == 200


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        # A name that its owner has rebound to this machine, also one that looks like an address.
        ("http://rebound.example:8080", "rebound.example:8080"),
        ("http://192.0.2.7.rebound.example:8080", "192.0.2.7.rebound.example:8080"),
        ("http://rebound.192.0.2.7", "rebound.192.0.2.7"),
        ("http://[rebound]", "[rebound]"),
        # Another page of the same machine, or of another one.
        ("http://192.0.2.7:8081", "192.0.2.7:8080"),
        ("http://192.0.2.7", "192.0.2.7:8080"),
        ("http://192.0.2.8:8080", "192.0.2.7:8080"),
        ("https://192.0.2.7:8080", "192.0.2.7:8080"),
    ],
)
def test_a_page_that_came_from_elsewhere_may_not(proxy: ProxyProcess, origin: str, host: str) -> None:
    assert call_from(proxy, origin, host) == 403


@pytest.mark.parametrize("path", ["/", "/assets/app-1a2b3c.js"])
def test_the_pages_files_are_refused_to_nobody(proxy: ProxyProcess, path: str) -> None:
    """Browsers name an Origin when they fetch a page's own scripts."""
    answer = ask(proxy.port, "GET", path, None, {"origin": "http://proxy.example"})
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_json_gets_the_answer(proxy: ProxyProcess) -> None:
    answer = post_json(proxy.port, "/v1/recognize", json_image(SEVEN.read_bytes()) | {"topK": 2})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert told["text"] == "7"
    assert len(told["characters"][0]["alternatives"]) == 2
    assert told["characters"][0]["unsure"] is False


def test_json_gets_a_batch_and_the_models(proxy: ProxyProcess, mnist_test: Digits) -> None:
    images = base64.b64encode(mnist_test.images[:10].tobytes()).decode()
    assert post_json(proxy.port, "/v1/recognize:batch", {"images": images}).json()["classes"] == [
        int(label) for label in mnist_test.labels[:10]
    ]
    assert "digits" in [model["name"] for model in ask(proxy.port, "GET", "/v1/models").json()["models"]]


def test_a_json_error_has_its_http_status_and_names_the_field(proxy: ProxyProcess) -> None:
    wrong = post_json(proxy.port, "/v1/recognize", json_image(b"nothing"))
    assert wrong.status == 400
    assert wrong.json()["details"][0]["fieldViolations"][0]["field"] == "image.encoded"
    missing = post_json(proxy.port, "/v1/recognize", json_image(SEVEN.read_bytes()) | {"model": "nope"})
    assert missing.status == 404
    assert "nope" in missing.json()["message"]
    assert ask(proxy.port, "POST", "/v1/recognize", b"{", {}).status == 400
    assert ask(proxy.port, "GET", "/v1/nothing").status == 404


@pytest.mark.parametrize(("field", "kind"), [("layout", pb.Layout), ("ink", pb.Ink)])
def test_a_word_that_json_does_not_know_is_told_which_there_are(proxy: ProxyProcess, field: str, kind: Any) -> None:
    *others, last = [word for word in kind.DESCRIPTOR.values_by_name if not word.endswith("_UNSPECIFIED")]
    known = f"{', '.join(others)} and {last}"
    in_body = post_json(proxy.port, "/v1/recognize", {field: "FRAMED"})
    in_path = post_json(proxy.port, f"/v1/recognize?{field}=FRAMED", {})
    for answer in (in_body, in_path):
        assert (answer.status, answer.json()["code"]) == (400, 400)
        assert answer.json()["message"] == f'{field}: invalid value "FRAMED": there are {known}'
    told = post_json(proxy.port, "/v1/recognize", json_image(SEVEN.read_bytes()) | {field: last.replace("PAGE", "SINGLE")})
    assert told.json()["text"] == "7"


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/grpcs", "application/grpc-web+json", ""])
def test_a_call_that_is_no_grpc_is_told_where_json_goes(proxy: ProxyProcess, kind: str) -> None:
    answer = ask(proxy.port, "POST", RECOGNIZE, b"{}", {"content-type": kind} if kind else {})
    assert (answer.status, answer.headers["content-type"]) == (415, "application/json")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {"code": 415, "message": "there are only gRPC and grpc-web here; JSON goes to /v1/recognize"}


@pytest.mark.parametrize("kind", ["application/grpc-web", "application/grpc-web+proto"])
def test_every_name_of_grpc_web_passes(proxy: ProxyProcess, kind: str) -> None:
    message = frame(pb.RecognizeRequest(image=pb.Image(encoded=SEVEN.read_bytes())).SerializeToString())
    answer = read_web_answer(ask(proxy.port, "POST", RECOGNIZE, message, GRPC_WEB | {"content-type": kind}))
    assert pb.RecognizeResponse.FromString(answer.messages[0]).text == "7"


@pytest.mark.parametrize(
    ("path", "allowed", "others"),
    [
        ("/v1/recognize", "POST", ("GET", "HEAD", "PUT", "OPTIONS")),
        ("/v1/recognize:batch", "POST", ("GET",)),
        ("/v1/models", "GET, HEAD", ("POST", "DELETE", "OPTIONS")),
        (RECOGNIZE, "POST", ("GET", "PUT")),
    ],
)
def test_another_method_is_told_which_there_are(proxy: ProxyProcess, path: str, allowed: str, others: tuple[str, ...]) -> None:
    for method in others:
        answer = ask(proxy.port, method, path)
        assert (answer.status, answer.headers["allow"]) == (405, allowed)
        if method != "HEAD" and path.startswith("/v1/"):
            assert answer.json()["code"] == 405


def test_head_is_get_without_its_body(proxy: ProxyProcess) -> None:
    """As it goes over the wire: what libraries know of HEAD would hide a body."""
    whole = ask(proxy.port, "GET", "/v1/models")
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as caller, caller.makefile("rb") as told:
        caller.sendall(b"HEAD /v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        status, *headers, end, body = told.read().split(b"\r\n")
    assert (status, end, body) == (b"HTTP/1.1 200 OK", b"", b"")
    assert {b"content-type: application/json", b"content-length: %d" % len(whole.body)} <= set(headers)


def test_an_unknown_parameter_is_named(proxy: ProxyProcess) -> None:
    request = json_image(SEVEN.read_bytes())
    assert len(post_json(proxy.port, "/v1/recognize?topK=2", request).json()["characters"][0]["alternatives"]) == 2
    for answer in (post_json(proxy.port, "/v1/recognize?topk=2", request), ask(proxy.port, "GET", "/v1/models?topk=2")):
        assert answer.status == 400
        assert '"topk"' in answer.json()["message"]


def test_what_is_too_large_is_refused_before_it_is_sent(proxy: ProxyProcess) -> None:
    answer = ask(proxy.port, "POST", "/v1/recognize", None, {"content-length": str(8 * 2**20 + 1)})
    assert answer.status == 413
    assert answer.json()["code"] == 413


@pytest.mark.parametrize(("path", "encoding"), [("/", "gzip"), ("/assets/app-1a2b3c.js", "gzip"), ("/", "br")])
def test_the_page_is_served_compressed_with_its_headers(proxy: ProxyProcess, path: str, encoding: str) -> None:
    answer = ask(proxy.port, "GET", path, None, {"accept-encoding": encoding})
    plain = ask(proxy.port, "GET", path)
    assert answer.status == 200
    assert answer.headers["content-encoding"] == encoding
    assert len(answer.body) < len(plain.body) / 3
    assert plain.body.decode() == (PAGE if path == "/" else SCRIPT)
    if encoding == "gzip":
        assert gzip.decompress(answer.body) == plain.body
    cached = "no-cache" if path == "/" else "public, max-age=31536000, immutable"
    assert answer.headers["cache-control"] == cached
    kind = "text/html" if path == "/" else "text/javascript"
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"


def test_the_page_may_load_nothing_from_elsewhere(proxy: ProxyProcess) -> None:
    headers = ask(proxy.port, "GET", "/").headers
    rules = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
    for name in ("default-src", "base-uri", "form-action", "frame-ancestors"):
        assert rules[name] == "'none'"
    assert {rules[name] for name in ("script-src", "style-src", "connect-src", "worker-src")} == {"'self'"}
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "camera=(self)" in headers["permissions-policy"]


@pytest.mark.parametrize(
    "path", ["/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/assets/../../secret.txt", "//../secret.txt"]
)
def test_no_path_leads_out_of_the_page(proxy: ProxyProcess, path: str) -> None:
    answer = ask(proxy.port, "GET", path)
    assert answer.status in {400, 404}
    assert b"secret" not in answer.body


def test_what_is_missing_is_not_cached(proxy: ProxyProcess) -> None:
    answer = ask(proxy.port, "GET", "/assets/app-later.js")
    assert (answer.status, answer.headers["cache-control"]) == (404, "no-store")


def test_a_server_that_came_back_is_found(models_folder: Path, page: Path, tmp_path: Path, mnist_test: Digits) -> None:
    image = json_image(encode_grey(mnist_test.images[0]))
    with ServerProcess("--port", "0", "--models", str(models_folder)) as first:
        port = first.address.rpartition(":")[2]
        proxy = ProxyProcess(first.address, tmp_path, page).__enter__()
    try:
        away = post_json(proxy.port, "/v1/recognize", image)
        assert away.status == 503
        assert away.json()["code"] == 503
        assert ask(proxy.port, "HEAD", "/v1/models").status == 503
        with ServerProcess("--port", port, "--models", str(models_folder)):
            since_s = time.monotonic()
            while post_json(proxy.port, "/v1/recognize", image).status != 200:
                assert time.monotonic() - since_s < BACK_WITHIN_S
    finally:
        proxy.__exit__(None, None, None)
