from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from train.errors import TrainingError
from train.model import Doubt, Recognizer
from train.networks import DEFAULT_NETWORK, DENSE, FINE, GAP, NETWORKS, PLAIN, RESNET, WIDE, Layer, Network, cost, doubt_cost

ODD = Network("odd", (Layer("conv", 8, 5, 2, pool=2), Layer("separable", 16), Layer("residual", 24, 3, 2)), side=30)
ALL = [*NETWORKS.values(), ODD]


def counted_by_torch(network: Network, side: int, classes: int) -> int:
    """Multiply-adds of one forward pass, with the classifier at every place where there is global average pooling."""
    model = Recognizer(network, classes, side).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(1, 1, side, side))
    again = 0 if network.hidden else network.at(side).places ** 2 - 1
    return counter.get_total_flops() // 2 + again * model.classifier.weight.numel()


@pytest.mark.parametrize("side", [28, 29, 40])
@pytest.mark.parametrize("network", ALL, ids=lambda network: network.name)
def test_multiply_adds_are_what_torch_counts(network: Network, side: int) -> None:
    assert cost(network, 15, side).multiply_adds == counted_by_torch(network, side, classes=15)


@pytest.mark.parametrize("side", [28, 29, 40])
@pytest.mark.parametrize("network", ALL, ids=lambda network: network.name)
def test_parameters_are_counted_with_batch_norm_folded(network: Network, side: int) -> None:
    """Of batch norm, a bias for each channel is left; whatever else has weights has its biases already."""
    model = Recognizer(network, 15, side)
    norms = sum(module.num_features for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    assert cost(network, 15, side).parameters == sum(p.numel() for p in model.parameters()) - norms


@pytest.mark.parametrize("side", [28, 56])
@pytest.mark.parametrize("network", ALL, ids=lambda network: network.name)
def test_doubt_costs_what_its_layers_have(network: Network, side: int) -> None:
    doubt = Doubt(Recognizer(network, side=side).network)
    assert doubt_cost(network, side).parameters == sum(p.numel() for p in doubt.parameters())
    assert doubt_cost(network, side).multiply_adds == sum(p.numel() for p in doubt.parameters() if p.ndim > 1)


def test_a_network_has_a_side_of_its_own() -> None:
    assert cost(ODD) == cost(ODD, 10, 30) != cost(ODD, 10, 28)
    assert (ODD.places, ODD.at(None).places, ODD.at(41).places) == (4, 4, 6)


def test_the_default_fits_blocks_of_eight_channels() -> None:
    assert all(layer.channels % 8 == 0 for layer in NETWORKS[DEFAULT_NETWORK].layers)
    assert cost(NETWORKS[DEFAULT_NETWORK]).multiply_adds < 3_000_000


@pytest.mark.parametrize("network", [GAP, WIDE, RESNET, DENSE, FINE], ids=lambda network: network.name)
def test_what_may_set_the_record_is_small_enough(network: Network) -> None:
    assert cost(network).multiply_adds <= 8_000_000
    assert 4 * cost(network).parameters <= 1_000_000


def test_plain_is_the_net_of_the_tutorials() -> None:
    assert cost(PLAIN).parameters == 3_274_634


def test_only_plain_has_no_evidence() -> None:
    with pytest.raises(TrainingError, match=r"^network plain has no evidence maps: it is for comparison$"):
        PLAIN.check_evidence()
    for network in NETWORKS.values():
        if network is not PLAIN:
            network.check_evidence()
