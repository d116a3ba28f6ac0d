from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch

from train.errors import SettingsError, TrainingError
from train.model import Doubt, Dropout, Recognizer, look, spread
from train.networks import GAP, NETWORKS, PLAIN, Layer, Network, doubt_widths

ODD = Network("odd", (Layer("conv", 8, 5, 2), Layer("separable", 16), Layer("residual", 16, 3, 2)), side=30)
WITH_EVIDENCE = [*(network for network in NETWORKS.values() if not network.hidden), ODD]


@pytest.mark.parametrize("side", [28, 40])
@pytest.mark.parametrize("network", WITH_EVIDENCE, ids=lambda network: network.name)
def test_logits_are_the_mean_of_the_evidence(network: Network, side: int) -> None:
    model = Recognizer(network, classes=7).eval()
    images = torch.rand(3, 1, side, side)
    evidence = model.evidence(images)
    assert evidence.shape == (3, 7, network.at(side).places, network.at(side).places)
    torch.testing.assert_close(evidence.mean((2, 3)), model(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("side", [28, 40])
@pytest.mark.parametrize("network", [*NETWORKS.values(), ODD], ids=lambda network: network.name)
def test_looking_counts_every_map_up_to_half_the_images_side_and_large_ones_by_quarters(network: Network, side: int) -> None:
    model, images = Recognizer(network, side=side).eval(), torch.rand(2, 1, side, side)
    maps, means = look(model.features, images)
    torch.testing.assert_close(maps, model.features(images))
    assert means.shape == (2, doubt_widths(network.at(side))[0])
    if maps.shape[-1] < 14:
        torch.testing.assert_close(means[:, -maps.shape[1] :], maps.mean((2, 3)))
    first = next(maps for maps in through(model, images) if maps.shape[-1] <= side / 2)
    half = -(-first.shape[-1] // 2) if first.shape[-1] >= 14 else first.shape[-1]
    torch.testing.assert_close(means[:, 0], first[:, 0, :half, :half].mean((1, 2)))


def through(model: Recognizer, images: torch.Tensor) -> Iterator[torch.Tensor]:
    """The maps of each layer in turn."""
    for layer in model.features:
        images = layer(images)
        yield images


def test_doubt_spreads_probabilities_and_changes_no_answer() -> None:
    images = torch.rand(6, 1, 28, 28)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Recognizer(GAP).eval()
        plain = model.answer(images, 0.5)
        torch.testing.assert_close(plain, (model(images) / 0.5).softmax(1))
        model.doubt = Doubt(model.network).eval()
    doubted = model.answer(images, 0.5)
    share = model.doubt(look(model.features, images)[1]).sigmoid()
    torch.testing.assert_close(doubted, (1 - 0.99 * share) * plain + 0.099 * share)
    wholly = spread(plain, torch.ones(6, 1))
    torch.testing.assert_close(wholly, torch.full((6, 10), 0.1), atol=0.01, rtol=0)
    assert torch.equal(wholly.argmax(1), plain.argmax(1))
    assert torch.equal(doubted.argmax(1), plain.argmax(1))


def test_plain_has_no_evidence() -> None:
    with pytest.raises(TrainingError, match="network plain has no evidence maps"):
        Recognizer(PLAIN).evidence(torch.zeros(1, 1, 28, 28))


def test_plain_takes_the_images_that_it_was_built_for() -> None:
    images = torch.rand(2, 1, 40, 40)
    assert Recognizer(PLAIN, classes=15, side=40).eval()(images).shape == (2, 15)
    with pytest.raises(SettingsError, match="network plain was built for images of 28x28"):
        Recognizer(PLAIN, classes=15)(images)


@pytest.mark.parametrize("network", [*NETWORKS.values(), ODD], ids=lambda network: network.name)
def test_every_weight_learns(network: Network) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Recognizer(network)
        model(torch.rand(8, 1, network.side, network.side)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())


def test_the_names_of_the_default_networks_weights_never_change() -> None:
    """Checkpoints of earlier versions name them so."""
    names = set(Recognizer(GAP).state_dict())
    assert {name.partition(".")[0] for name in names} == {"features", "classifier"}
    blocks = {"features.0.conv.0.weight", "features.1.depthwise.0.weight", "features.4.pointwise.1.running_mean"}
    assert blocks | {"classifier.weight", "classifier.bias"} <= names
    assert len(names) == 6 + 4 * 12 + 2


def test_dropout_leaves_half_and_keeps_the_mean() -> None:
    dropped = Dropout()(torch.ones(100, 1000))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)


def test_dropout_continues_exactly_from_its_state() -> None:
    first, other, x = Dropout(), Dropout(), torch.ones(4, 64)
    first(x)
    other.load_state_dict(deepcopy(first.state_dict()))
    second, third = first(x), first(x)
    assert not torch.equal(second, third)
    assert torch.equal(second, other(x))
    assert torch.equal(third, other(x))


def test_dropout_is_for_training_alone() -> None:
    dropout, x = Dropout().eval(), torch.rand(4, 64)
    before = dropout.draw.clone()
    assert torch.equal(dropout(x), x)
    assert torch.equal(dropout.draw, before)
