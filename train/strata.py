"""Which images to hold out, class by class, so that a rare class is tested, too."""

from __future__ import annotations

import torch
from torch import Tensor

from train.data import Split


def hold_out(labels: Tensor, share: int, seed: int) -> Split:
    """Hold one in `share` images of each class out (`Split.validation`), at least one of any class with two.

    Both halves come shuffled, so that the first few are of all classes. The same seed holds out the same images.

    Args:
        labels: (n,) int64.
        share: 10 holds out a tenth.
        seed: of the choice and of the order.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in sorted(set(labels.tolist())):
        members = order[labels[order] == label]
        count = len(members) // share or int(len(members) > 1)
        held[members[:count]] = True
    return Split(train=order[~held[order]], validation=order[held[order]])
