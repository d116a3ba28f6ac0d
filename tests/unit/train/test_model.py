from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from train.model import DEFAULT_NETWORK, NETWORKS, Layer, Network, Recognizer, cost

ODD = Network("odd", (Layer("conv", 8, 5, 2), Layer("separable", 16), Layer("separable", 16, 5, 2)), side=30)


@pytest.mark.parametrize("network", [*NETWORKS.values(), ODD], ids=lambda network: network.name)
def test_logits_are_the_mean_of_the_evidence(network: Network) -> None:
    model = Recognizer(network, classes=7).eval()
    images = torch.rand(3, 1, network.side, network.side)
    evidence = model.evidence(images)
    assert evidence.shape == (3, 7, network.places, network.places)
    torch.testing.assert_close(evidence.mean((2, 3)), model(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("network", [*NETWORKS.values(), ODD], ids=lambda network: network.name)
def test_cost_is_what_torch_counts(network: Network) -> None:
    model = Recognizer(network).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(1, 1, network.side, network.side))
    head = model.classifier.weight.numel()
    convolutions = counter.get_total_flops() // 2 - head
    assert cost(network).multiply_adds == convolutions + head * network.places**2


def test_parameters_are_counted_with_batch_norm_folded() -> None:
    model = Recognizer(ODD)
    weights = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Conv2d))
    biases = sum(module.num_features for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    head = model.classifier.weight.numel() + 10
    assert cost(ODD).parameters == weights + biases + head


def test_the_default_fits_blocks_of_eight_channels() -> None:
    assert all(layer.channels % 8 == 0 for layer in NETWORKS[DEFAULT_NETWORK].layers)
    assert cost(NETWORKS[DEFAULT_NETWORK]).multiply_adds < 3_000_000


def test_every_weight_learns() -> None:
    model = Recognizer(ODD)
    model(torch.rand(4, 1, 30, 30)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())
