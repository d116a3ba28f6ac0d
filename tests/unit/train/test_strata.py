from __future__ import annotations

import torch

from train.strata import hold_out


def test_a_share_of_each_class_is_held_out() -> None:
    labels = torch.tensor([0] * 100 + [1] * 30 + [2] * 2 + [3])
    parts = hold_out(labels, 10, seed=0)
    assert labels[parts.validation].bincount(minlength=4).tolist() == [10, 3, 1, 0]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(133))


def test_the_same_seed_holds_out_the_same_images() -> None:
    labels = torch.arange(200) % 4
    assert torch.equal(hold_out(labels, 10, 5).validation, hold_out(labels, 10, 5).validation)
    assert not torch.equal(hold_out(labels, 10, 5).validation, hold_out(labels, 10, 6).validation)


def test_the_first_few_are_of_all_classes() -> None:
    labels = torch.arange(400) // 100
    assert set(labels[hold_out(labels, 10, 0).train[:40]].tolist()) == {0, 1, 2, 3}
