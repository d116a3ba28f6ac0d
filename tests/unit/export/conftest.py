"""What the tests of export share: one small network with batch norms that do something, exported once."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from export.onnx import to_onnx
from tests.unit.train.printed import printed_dataset, write_data_folder
from train.main import main as train
from train.model import Doubt, Layer, Network, Recognizer

NETWORK = Network("small", (Layer("conv", 8, 5, 2), Layer("separable", 16, 3, 2), Layer("separable", 16)))
TEMPERATURE = 0.6


@pytest.fixture(autouse=True)
def one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, and nothing read from or written to the real cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model() -> Recognizer:
    """As after training: batch norm has statistics of its own, and nothing is 0 or 1 by chance."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Recognizer(NETWORK).eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.bias)
                nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
                nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    return network


@pytest.fixture(scope="session")
def exported(model: Recognizer) -> onnx.ModelProto:
    return to_onnx(model, TEMPERATURE, side=28)


@pytest.fixture(scope="session")
def doubting(model: Recognizer) -> Recognizer:
    """The same network with doubts: of some images more than of others."""
    network = deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network.doubt = Doubt(network.network).eval()
    with torch.no_grad():
        network.doubt.get_parameter("layers.4.weight").mul_(10)
    return network


@pytest.fixture(scope="session")
def doubted(doubting: Recognizer) -> onnx.ModelProto:
    return to_onnx(doubting, TEMPERATURE, side=28)


@pytest.fixture(scope="session")
def images() -> Tensor:
    return printed_dataset().test.images


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data_folder(tmp_path_factory.mktemp("data"), printed_dataset())


@pytest.fixture(scope="session")
def checkpoint(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The best of a training run of one epoch."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        assert train(["--data", str(data_folder), "--output", str(folder), "--epochs", "1", "--device", "cpu"]) == 0
    return folder / "best.pt"
