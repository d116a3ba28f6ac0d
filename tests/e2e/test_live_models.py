"""Promise: versions come and go and labels move while calls run, and no call fails or gets a wrong answer."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import onnxruntime as ort
import pytest
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from server.config import Settings
from server.labels import main as move_labels
from tests.e2e.metrics import read_metrics, total
from tests.mnist import Digits
from tests.pictures import encode_grey
from tests.server_process import ROOT, ServerProcess

PATIENCE_S = 30.0
IMAGES = 64
CALLERS = 2
Probabilities = dict[str, NDArray[np.float32]]  # by version


class Live(NamedTuple):
    """A server, its repository with digits 1, and what each version answers in this process."""

    server: ServerProcess
    stub: RecognizerStub
    models: Path
    right: Probabilities

    def publish(self, version: str, source: str = "digits-robust") -> Path:
        """Another network under the name digits, in float32 on every processor, written aside and renamed."""
        aside = shutil.copytree(ROOT / "models" / source / "1", self.models / "digits" / f".{version}")
        card = json.loads((aside / "model.json").read_text(encoding="utf-8"))
        card |= {"name": "digits", "version": version, "best": {"cpu": "fp32"}}
        (aside / "model.json").write_text(json.dumps(card), encoding="utf-8")
        return aside.rename(aside.with_name(version))

    def label(self, **labels: str) -> None:
        moves = [f"{label}={version}" for label, version in labels.items()]
        assert move_labels(["digits", *moves, "--models", str(self.models)]) == 0

    def until(self, is_so: Callable[[], bool]) -> float:
        """Asks the server something until it is so. Returns the seconds that took."""
        began_s = time.perf_counter()
        while not is_so():
            self.stub.ListModels(pb.ListModelsRequest())
            assert time.perf_counter() - began_s < PATIENCE_S, f"it never came to that:\n{self.server.stderr}"
        return time.perf_counter() - began_s

    def versions(self) -> dict[str, list[str]]:
        """The labels of each version that is served."""
        models = self.stub.ListModels(pb.ListModelsRequest()).models
        return {model.version: sorted(model.labels) for model in models}


def predict(folder: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["probabilities"], {"image": images})[0])


@pytest.fixture
def images(mnist_test: Digits) -> NDArray[np.uint8]:
    return mnist_test.images[:IMAGES]


@pytest.fixture
def live(request: pytest.FixtureRequest, tmp_path: Path, images: NDArray[np.uint8]) -> Iterator[Live]:
    """Its parameter is how often the server looks; otherwise it looks more often than by default, for the test to be short."""
    shutil.copytree(ROOT / "models" / "digits" / "1", tmp_path / "digits" / "1")
    right = {
        version: predict(ROOT / "models" / name / "1", images) for version, name in [("1", "digits"), ("2", "digits-robust")]
    }
    assert np.abs(right["1"] - right["2"]).max() > 0.01, "the test must be able to tell the versions apart"
    flags = (
        "--port",
        "0",
        "--models",
        str(tmp_path),
        "--metrics-port",
        "0",
        "--repository-poll-s",
        getattr(request, "param", "0.1"),
        "--max-queue-wait-ms",
        "10000",  # a busy machine is not the subject here
    )
    with ServerProcess(*flags) as server:
        yield Live(server, server.stub(), tmp_path, right)


class Load:
    """Callers that go on until they are stopped, each in its own way, and check every answer."""

    def __init__(self, live: Live, images: NDArray[np.uint8]) -> None:
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.stopped = False
        self._live, self._images = live, images

    def check(self, numbers: slice, version: str, found: NDArray[np.float32]) -> None:
        self.answers[version] += 1
        if np.abs(found - self._live.right[version][numbers]).max() > 1e-4:
            self.wrong.append(f"{numbers} is not what version {version} answers")

    async def call_singly(self, stub: Any, number: int) -> None:
        while not self.stopped:
            number = (number + 1) % IMAGES
            answer = await stub.Recognize(self._ask(number))
            self._read(number, answer)

    async def call_in_batches(self, stub: Any) -> None:
        request = pb.RecognizeBatchRequest(images=self._images.tobytes(), probabilities=True)
        while not self.stopped:
            answer = await stub.RecognizeBatch(request)
            found = np.frombuffer(answer.probabilities, np.float32).reshape(IMAGES, -1)
            self.check(slice(IMAGES), answer.model.version, found)

    async def call_in_a_stream(self, stub: Any) -> None:
        async def requests() -> Any:
            number = 0
            while not self.stopped:
                number = (number + 1) % IMAGES
                yield pb.RecognizeStreamRequest(request=self._ask(number), id=number)

        async for answer in stub.RecognizeStream(requests()):
            assert not answer.error.message
            self._read(answer.id, answer.response)

    async def call_with_pictures(self, stub: Any) -> None:
        """Each is large enough for a decoding thread: the model may be swapped while it is there."""
        picture = encode_grey(self._images[0].repeat(8, axis=0).repeat(8, axis=1))
        while not self.stopped:
            answer = await stub.Recognize(pb.RecognizeRequest(image=pb.Image(encoded=picture)))
            self.answers[answer.model.version] += 1

    def _ask(self, number: int) -> pb.RecognizeRequest:
        raw = pb.RawImage(pixels=self._images[number].tobytes(), width=28, height=28)
        return pb.RecognizeRequest(image=pb.Image(raw=raw), layout=pb.LAYOUT_FRAMED, top_k=10)

    def _read(self, number: int, answer: pb.RecognizeResponse) -> None:
        found = {each.label: each.probability for each in answer.characters[0].alternatives}
        ordered = np.array([found[label] for label in map(str, range(10))], np.float32)
        self.check(slice(number, number + 1), answer.model.version, ordered)


def under_load(live: Live, images: NDArray[np.uint8], work: Callable[[], None]) -> Load:
    """Does the work while callers call in every way; a call that fails is raised here."""
    load = Load(live, images)

    async def run() -> None:
        async with (
            grpc.aio.insecure_channel(live.server.address) as one,
            grpc.aio.insecure_channel(live.server.address) as other,
        ):
            stubs = [RecognizerStub(channel) for channel in (one, other)]  # type: ignore[no-untyped-call]
            callers = [load.call_singly(stubs[number % 2], number * 7) for number in range(CALLERS)]
            ways = [load.call_in_batches, load.call_in_a_stream, load.call_with_pictures]
            tasks = [asyncio.ensure_future(caller) for caller in [*callers, *(way(stubs[1]) for way in ways)]]
            try:
                await asyncio.to_thread(work)
            finally:
                load.stopped = True
                await asyncio.gather(*tasks)

    asyncio.run(run())
    assert load.wrong == []
    return load


@pytest.mark.parametrize("live", [str(Settings().repository_poll_s)], indirect=True)
def test_versions_and_labels_change_under_load_and_no_call_fails_or_is_wrong(live: Live, images: NDArray[np.uint8]) -> None:
    moves_s: list[float] = []

    def work() -> None:
        ask = pb.RecognizeRequest(image=pb.Image(encoded=encode_grey(images[0])))
        live.label(stable="1")
        live.publish("2")
        live.until(lambda: live.versions() == {"1": ["stable"], "2": []})
        for version in ("2", "1", "2", "1", "2"):
            live.label(stable=version)
            moves_s.append(live.until(lambda version=version: live.stub.Recognize(ask).model.version == version))  # type: ignore[misc]
        shutil.rmtree(live.models / "digits" / "1")
        live.until(lambda: live.versions() == {"2": ["stable"]})

    load = under_load(live, images, work)
    assert min(load.answers["1"], load.answers["2"]) > 0
    assert statistics.median(moves_s) < 1.0, moves_s  # other work on the machine may slow one, not all
    series = read_metrics(live.server)
    assert total(series, "digitserve_model_info") == 1
    assert total(series, "digitserve_drops_total") == 0
    assert "digits@stable is version 2 now" in live.server.stderr


def count_threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_bad_versions_are_named_everywhere_and_the_old_one_goes_on(live: Live, images: NDArray[np.uint8]) -> None:
    index = service_pb2_grpc.GRPCInferenceServiceStub(live.server.connect()).RepositoryIndex

    def read_index() -> dict[str, tuple[str, str]]:
        models = index(service_pb2.RepositoryIndexRequest()).models
        return {model.version: (model.state, model.reason) for model in models}

    def work() -> None:
        with (live.publish("2") / "model.onnx").open("r+b") as file:
            file.write(b"altered")
        other = live.publish("3", source="hanzi")  # whole, and with its own checksums, but another model than its card says
        card = json.loads((ROOT / "models/digits-robust/1/model.json").read_text(encoding="utf-8"))
        mine = {key: card[key] for key in ("class_names", "golden")}
        theirs = json.loads((other / "model.json").read_text(encoding="utf-8"))
        (other / "model.json").write_text(json.dumps(theirs | mine), encoding="utf-8")
        half = live.models / "digits" / "4"
        half.mkdir()
        shutil.copy(ROOT / "models/digits/1/model.onnx", half)
        measured = live.publish("5") / "model.json"  # sums and shapes are right: it only answers otherwise
        card = json.loads(measured.read_text(encoding="utf-8"))
        card["golden"]["answers"]["9"] = 0.5
        measured.write_text(json.dumps(card), encoding="utf-8")
        live.until(lambda: len(read_index()) == 5)

    load = under_load(live, images, work)
    assert set(load.answers) == {"1"}
    found = read_index()
    assert found.pop("1") == ("READY", "")
    assert {state for state, _ in found.values()} == {"UNAVAILABLE"}
    assert found["2"][1].startswith("digits/2/model.onnx is not the file that model.json describes: its sha256 is ")
    assert found["3"][1].startswith("digits/3/model.onnx answers with arrays of (1, 15)")
    assert found["4"][1] == "digits/4/model.json is missing"
    assert found["5"][1] == "digits/5/model.onnx is not the model that was measured"
    assert "is not the model that was measured: it takes a golden '9' of 0.50 for '9' of" in live.server.stderr
    for version, (_, reason) in found.items():
        assert f"digits {version} is refused: {live.models}/{reason}" in live.server.stderr
    assert total(read_metrics(live.server), "digitserve_refused_versions", model="digits") == 4
    assert live.versions() == {"1": ["stable"]}


@pytest.mark.parametrize("live", ["0.3"], indirect=True)  # a busy machine makes pauses of a tenth of a second
def test_what_is_replaced_is_released_and_a_copy_that_is_under_way_is_never_seen(live: Live, images: NDArray[np.uint8]) -> None:
    """The copy grows as under `cp -r`, with pauses shorter than the time between two looks."""
    threads = []

    def work() -> None:
        for times in range(2, 8):
            os.utime(live.models / "digits" / "1" / "model.json")
            live.until(lambda times=times: live.server.stderr.count("model digits 1 in fp32") == times)  # type: ignore[misc]
            threads.append(count_threads(live.server.pid))
        # Each version that stays would keep a thread, or two, for ever; others come and go.
        live.until(lambda: count_threads(live.server.pid) <= max(threads[:2]) + 2)
        source, target = live.publish("2"), live.models / "digits" / "3"
        shutil.move(source, live.models / ".whole")
        target.mkdir()
        began_s = time.perf_counter()
        content = (live.models / ".whole" / "model.onnx").read_bytes()
        card = json.loads((live.models / ".whole" / "model.json").read_text(encoding="utf-8")) | {"version": "3"}
        (target / "model.json").write_text(json.dumps(card), encoding="utf-8")
        while time.perf_counter() - began_s < 1.0:
            share = min(1.0, time.perf_counter() - began_s)
            (target / "model.onnx").write_bytes(content[: int(len(content) * share)])
        (target / "model.onnx").write_bytes(content)
        for file in (live.models / ".whole").glob("model.*.onnx"):
            shutil.copy(file, target)
        live.until(lambda: "3" in live.versions())

    live.right["3"] = live.right["2"]
    under_load(live, images, work)
    assert "is refused" not in live.server.stderr
