"""A real Envoy in front of a real server, and what a browser or curl would send to it."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import yaml
from google.rpc import status_pb2

from deploy.bootstrap import Places, list_origins, make_bootstrap
from deploy.proxy import find_envoy, make_command
from tests.server_process import ROOT

START_TIMEOUT_S = 20.0
GRPC_WEB = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
TRAILERS = 0x80

Edit = Callable[[Any], None]


class Answer(NamedTuple):
    """An HTTP answer; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class WebAnswer(NamedTuple):
    """A grpc-web answer: its messages, and its trailers (from the headers, where there is no body)."""

    messages: list[bytes]
    trailers: dict[str, str]


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
    """One HTTP/1.1 request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def post_json(port: int, path: str, message: Any) -> Answer:
    return ask(port, "POST", path, json.dumps(message).encode(), {"content-type": "application/json"})


def frame(message: bytes) -> bytes:
    """A message as gRPC and grpc-web send it."""
    return struct.pack(">BI", 0, len(message)) + message


def read_web_answer(answer: Answer) -> WebAnswer:
    messages, trailers, rest = [], dict(answer.headers), answer.body
    while rest:
        flags, length = struct.unpack(">BI", rest[:5])
        part, rest = rest[5 : 5 + length], rest[5 + length :]
        if flags & TRAILERS:
            pairs = (line.split(":", 1) for line in part.decode().splitlines() if line)
            trailers |= {name.lower(): value.strip() for name, value in pairs}
        else:
            messages.append(part)
    return WebAnswer(messages, trailers)


def read_details(trailers: dict[str, str]) -> status_pb2.Status:
    """google.rpc.Status of a failed grpc-web call."""
    encoded = trailers["grpc-status-details-bin"]
    return status_pb2.Status.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))


def find_manager(root: Any) -> Any:
    """The part of Envoy's configuration that is about the public port's HTTP."""
    return root["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def find_route(root: Any, name: str) -> Any:
    routes = find_manager(root)["route_config"]["virtual_hosts"][0]["routes"]
    return next(route["route"] for route in routes if route["name"] == name)


class ProxyProcess:
    """Envoy with the configuration that `python -m deploy` writes, inside a `with` statement.

    `edit` may change the parsed configuration first: shorter times, lower limits, more servers. With `sockets`, it calls those.
    """

    def __init__(
        self, server_address: str, folder: Path, page: Path, edit: Edit | None = None, sockets: tuple[str, ...] = ()
    ) -> None:
        host, _, port = server_address.rpartition(":")
        self.port, self.admin_port = find_free_port(), find_free_port()
        origins = list_origins("127.0.0.1", self.port, ("https://listed.example",))
        self.places = Places("127.0.0.1", self.port, self.admin_port, host, int(port), page, origins, 2**26, sockets)
        self._edit = edit
        self._configuration = folder / "envoy.yaml"
        self._log = folder / "envoy.log"

    def __enter__(self) -> Self:
        self._configuration.write_text(self._configure(), encoding="utf-8")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(make_command(find_envoy(), self._configuration), cwd=ROOT, stderr=log)
        end_s = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > end_s:
                self.__exit__(None, None, None)
                raise AssertionError(f"Envoy did not start:\n{self.log}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _configure(self) -> str:
        root = yaml.safe_load(make_bootstrap(self.places))
        if self._edit:
            self._edit(root)
        return yaml.safe_dump(root, sort_keys=False)

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def _is_ready(self) -> bool:
        try:
            return ask(self.admin_port, "GET", "/ready").status == 200
        except OSError:
            return False
