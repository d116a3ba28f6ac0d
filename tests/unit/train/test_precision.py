from __future__ import annotations

from pathlib import Path

import pytest
import torch

from train.data import Dataset
from train.loop import Trainer
from train.networks import NETWORKS
from train.precision import autocast, precision
from train.settings import Settings
from train.teachers import Teachers

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
DENSE = {"resnet", "plain", "dense", "fine", "deep", "vgg"}


@pytest.fixture(params=["amx_bf16", "avx512_bf16", "avx512_f"])
def multiplies(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether this CPU multiplies bfloat16: one that does so by either way, and one that does not, whatever this one is."""
    names = ("amx_bf16", "avx512_bf16", "avx512_f")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: name == request.param for name in names})
    return bool(request.param != "avx512_f")


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_is_for_gpus_and_for_dense_networks_on_a_cpu_that_multiplies_it(name: str, multiplies: bool) -> None:
    on_cpu = "bfloat16" if multiplies and name in DENSE else "float32"
    assert precision(NETWORKS[name], CPU) == on_cpu
    assert precision(NETWORKS[name], CUDA) == "bfloat16"
    with autocast(NETWORKS[name], CPU):
        assert torch.is_autocast_enabled("cpu") == (on_cpu == "bfloat16")


def test_a_cpu_that_tells_nothing_multiplies_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert precision(NETWORKS["dense"], CPU) == "float32"


class Seen(Exception):
    """Raised at the network's door, so that no bfloat16 is computed on a CPU that may be slow at it."""


@pytest.mark.parametrize("name", ["dense", "gap"])
def test_the_student_and_its_teachers_each_compute_in_their_own_precision(
    name: str, multiplies: bool, digits: Dataset, tmp_path: Path
) -> None:
    def see(*_: object) -> None:
        raise Seen(torch.is_autocast_enabled("cpu"))

    trainer = Trainer(Settings(network=name, epochs=1, batch_size=32), digits, None, folder=tmp_path, device=CPU)
    expected = multiplies and name == "dense"
    assert trainer.provenance["precision"] == ("bfloat16" if expected else "float32")
    trainer.model.register_forward_pre_hook(see)
    with pytest.raises(Seen) as student:
        trainer.train_epoch()
    assert student.value.args == (expected,)
    with pytest.raises(Seen) as teacher, torch.autocast("cpu", torch.bfloat16):  # as if its student had asked for it
        Teachers([trainer.model])(torch.zeros(1, 1, 28, 28))
    assert teacher.value.args == (expected,)
