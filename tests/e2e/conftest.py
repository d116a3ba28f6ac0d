"""What the e2e tests share: the right answers, computed in this process without any server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
import pytest
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub
from numpy.typing import NDArray

from tests.mnist import Digits
from tests.proxy_process import ProxyProcess
from tests.server_process import ServerProcess
from tests.upstream import Upstream


class Reference(NamedTuple):
    """The model asked directly: class names, and (10,000, classes) probabilities for MNIST's test set."""

    names: tuple[str, ...]
    probabilities: NDArray[np.float32]

    @property
    def labels(self) -> list[str]:
        return [self.names[index] for index in self.probabilities.argmax(axis=1)]


@pytest.fixture(scope="session")
def card(models_folder: Path) -> dict[str, Any]:
    """model.json of the digits model that is served by default."""
    described: dict[str, Any] = json.loads((newest(models_folder) / "model.json").read_text(encoding="utf-8"))
    return described


def newest(models_folder: Path) -> Path:
    return max((models_folder / "digits").iterdir(), key=lambda folder: int(folder.name))


@pytest.fixture(scope="session")
def reference(models_folder: Path, card: dict[str, Any], mnist_test: Digits) -> Reference:
    session = ort.InferenceSession(str(newest(models_folder) / "model.onnx"), providers=["CPUExecutionProvider"])
    parts = np.array_split(mnist_test.images, 40)
    rows = [session.run(["probabilities"], {"image": part})[0] for part in parts]
    return Reference(tuple(card["class_names"]), np.concatenate(rows))


@pytest.fixture(scope="session")
def stub(server: ServerProcess) -> RecognizerStub:
    """The shared server's stub, sync."""
    return server.stub()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """A server behind `proxy` that ends its calls as a test tells it."""
    with Upstream() as running:
        yield running


@pytest.fixture(scope="module")
def proxy(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    """Envoy as it ships, before `upstream`. A test of several servers, or of the real one, has its own."""
    folder = tmp_path_factory.mktemp("envoy")
    with ProxyProcess(upstream.address, folder, folder) as running:
        yield running
