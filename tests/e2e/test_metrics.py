"""Promise: with --metrics-port the numbers are exact, under load and to the end of the drain; without it there is no port."""

from __future__ import annotations

import re
import socket
import threading
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from digitserve.v1 import recognizer_pb2 as pb
from grpc_health.v1 import health_pb2

from server.metrics import METRICS
from tests.conftest import StartServer
from tests.e2e.conftest import Reference
from tests.e2e.metrics import find_metrics, read_metrics, scrape, total
from tests.mnist import Digits
from tests.promql import Series
from tests.server_process import ServerProcess, start_process

WORKERS = 8
CALLS = 150  # single ones of each worker
BATCHES, BATCH = 5, 50  # packed ones of each worker


class Load:
    """Workers that call in every way; somebody else scrapes meanwhile, as often as can be."""

    def __init__(self, server: ServerProcess, digits: Digits) -> None:
        self.server = server
        self.digits = digits
        self.done = threading.Event()
        self.scrapes: list[Series] = []

    def run(self) -> None:
        scraping = threading.Thread(target=self.scrape)
        scraping.start()
        try:
            with ThreadPoolExecutor(WORKERS) as workers:
                list(workers.map(self.work, range(WORKERS)))
        finally:
            self.done.set()
            scraping.join()

    def scrape(self) -> None:
        while not self.done.is_set():
            self.scrapes.append(read_metrics(self.server))

    def work(self, number: int) -> None:
        stub, images = self.server.stub(), self.digits.images[number * 1000 : number * 1000 + CALLS]
        for image in images:
            stub.Recognize(make_request(image.tobytes()))
        for _ in range(BATCHES):
            stub.RecognizeBatch(pb.RecognizeBatchRequest(images=images[:BATCH].tobytes()))
        streamed = iter([pb.RecognizeStreamRequest(request=make_request(image.tobytes())) for image in images])
        assert len(list(stub.RecognizeStream(streamed))) == CALLS
        for _ in range(3):
            with pytest.raises(grpc.RpcError):
                stub.Recognize(make_request(bytes(784), model="nothing"))
        stub.Recognize(make_request(bytes(784)))
        stub.RecognizeBatch(pb.RecognizeBatchRequest(images=bytes(784) * 2))


def make_request(pixels: bytes, model: str = "") -> pb.RecognizeRequest:
    raw = pb.RawImage(pixels=pixels, width=28, height=28)
    return pb.RecognizeRequest(image=pb.Image(raw=raw), layout=pb.LAYOUT_FRAMED, model=model)


def settled(server: ServerProcess) -> Series:
    """The metrics once no call runs: a client has its answer a moment before the server is done with the call."""
    while total(series := read_metrics(server), "digitserve_running_calls"):
        pass
    return series


def test_counts_add_up_to_what_was_sent(start_server: StartServer, mnist_test: Digits, reference: Reference) -> None:
    server = start_server("--metrics-port", "0")
    load = Load(server, mnist_test)
    load.run()
    series = settled(server)
    ended = {
        ("Recognize", "OK"): WORKERS * (CALLS + 1),
        ("Recognize", "NOT_FOUND"): WORKERS * 3,
        ("RecognizeBatch", "OK"): WORKERS * (BATCHES + 1),
        ("RecognizeStream", "OK"): WORKERS,
    }
    for (method, status), number in ended.items():
        assert total(series, "digitserve_calls_total", method=method, status=status) == number
    assert total(series, "digitserve_calls_total") == sum(ended.values())
    assert total(series, "digitserve_call_seconds_count") == sum(ended.values())
    assert total(series, "digitserve_drops_total") == total(series, "digitserve_drops_total", reason="model_not_found")
    blank, inked = WORKERS * 3, WORKERS * (2 * CALLS + BATCHES * BATCH)
    assert total(series, "digitserve_images_total", model="digits") == blank + inked
    assert total(series, "digitserve_images_total", model="digits", result="blank") == blank
    assert total(series, "digitserve_batch_images_sum") == inked + WORKERS * 2, "one blank image needed no model"
    assert total(series, "digitserve_queue_wait_seconds_count") == WORKERS * (2 * CALLS + BATCHES + 1)
    batches = total(series, "digitserve_batch_images_count")
    assert total(series, "digitserve_batches_total") == total(series, "digitserve_compute_seconds_count") == batches
    assert total(series, "digitserve_confidence_ratio_count", model="digits") == inked
    check_classes(series, mnist_test, reference)
    check_progress(load.scrapes)


def check_classes(series: Series, digits: Digits, reference: Reference) -> None:
    """The classes are those that a direct look at the model gives."""
    expected = np.zeros(len(reference.names), int)
    for number in range(WORKERS):
        found = reference.probabilities[number * 1000 : number * 1000 + CALLS].argmax(axis=1)
        expected += 2 * np.bincount(found, minlength=len(expected))
        expected += BATCHES * np.bincount(found[:BATCH], minlength=len(expected))
    counted = [total(series, "digitserve_answers_total", model="digits", **{"class": name}) for name in reference.names]
    assert sum(counted) == sum(expected)
    assert np.abs(np.array(counted) - expected).max() <= 5, "a picture between two classes may fall either way"


def check_progress(scrapes: list[Series]) -> None:
    """It was scraped under load, nothing counted backwards, and nothing counts less than what it is made of."""
    assert len(scrapes) > 1
    calls = [total(series, "digitserve_calls_total") for series in scrapes]
    assert calls == sorted(calls)
    assert calls[0] < calls[-1]


@pytest.fixture(scope="module")
def watched(start_server: StartServer) -> ServerProcess:
    """A server with metrics, for those who do not count its calls."""
    return start_server("--metrics-port", "0")


def test_every_metric_is_in_the_scrape_of_a_real_server(watched: ServerProcess) -> None:
    watched.stub().ListModels(pb.ListModelsRequest())
    text = scrape(watched)
    for metric in METRICS:
        assert f"# HELP {metric.name} {metric.meaning}\n# TYPE {metric.name} {metric.kind}\n" in text
    series = read_metrics(watched)
    ((build, _),) = series["digitserve_build_info"].items()
    assert all(value for _, value in build), "a version is missing"
    assert 20e6 < total(series, "process_resident_memory_bytes") < 2e9
    assert total(series, "process_cpu_seconds_total") > 0


def test_who_is_sent_away_at_the_door_is_counted(start_server: StartServer, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"test sha256:{'0' * 64}\n", encoding="utf-8")
    server = start_server("--metrics-port", "0", "--tokens", str(tokens))
    for _ in range(3):
        with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
            server.stub().ListModels(pb.ListModelsRequest())
    series = settled(server)
    assert total(series, "digitserve_drops_total", reason="unauthenticated") == 3
    assert total(series, "digitserve_calls_total") == 0, "it never came to a method"


def test_metrics_stay_to_the_end_of_the_drain(start_server: StartServer) -> None:
    server = start_server("--metrics-port", "0", "--drain-delay-s", "1")
    assert total(read_metrics(server), "digitserve_serving") == 1
    watching = server.health_stub().Watch(health_pb2.HealthCheckRequest(), timeout=30)
    assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
    server.terminate()
    assert next(watching).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert total(read_metrics(server), "digitserve_serving") == 0
    assert server.wait() == 0
    with pytest.raises(urllib.error.URLError):
        scrape(server)


def test_a_metrics_port_that_is_taken_is_one_line_and_status_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start_process("--port", "0", "--metrics-port", str(port))
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.splitlines()[-1] == f"digitserve: can't listen on 127.0.0.1:{port}: Address already in use"
    assert "Traceback" not in said


def listening_ports(pid: int) -> int:
    """How many TCP sockets of the process listen."""
    own = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return sum(fields[3] == "0A" and f"socket:[{fields[9]}]" in own for fields in lines)


def test_without_the_setting_there_is_no_second_port(server: ServerProcess, watched: ServerProcess) -> None:
    assert not re.search("metrics at", server.stderr)
    assert listening_ports(watched.pid) == listening_ports(server.pid) + 1
    assert find_metrics(watched).startswith("http://127.0.0.1:")
