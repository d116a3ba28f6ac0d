"""What the tests of training share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import train.main
from tests.unit.train.printed import printed_dataset, write_data_folder
from train.data import Dataset


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny batches gain nothing from more, and results do not depend on the machine's size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is read from or written to the real cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DIGITSERVE_DATA", raising=False)
    return tmp_path / "cache" / "digitserve"


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return printed_dataset()


@pytest.fixture
def data_folder(tmp_path: Path, digits: Dataset) -> Path:
    """A data folder as torchvision leaves it, with the tiny dataset in it."""
    return write_data_folder(tmp_path / "data", digits)


@pytest.fixture
def checkpoint(data_folder: Path, tmp_path: Path) -> Path:
    """What one epoch on a few printed digits leaves behind."""
    folder = tmp_path / "run"
    small = ["--epochs", "1", "--device", "cpu", "--no-report"]
    assert train.main.main(["--data", str(data_folder), "--output", str(folder), *small]) == 0
    return folder / "best.pt"
