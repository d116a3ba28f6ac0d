"""Which numbers a network is trained with: bfloat16 where that is faster, float32 everywhere else.

bfloat16 has float32's range, so no gradient needs scaling; weights, their average and all evaluation stay float32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch

from train.networks import Network


def precision(network: Network, device: torch.device) -> Literal["bfloat16", "float32"]:
    """What `autocast` uses for this network on this device.

    On CUDA always bfloat16. On a CPU it takes matrix units (AMX), and a network of dense convolutions: those take half the
    time, while depthwise ones take twice as long (docs/decisions/0001-network.md).
    """
    dense = all(layer.kind != "separable" for layer in network.layers)
    faster = device.type == "cuda" or (device.type == "cpu" and dense and _has_matrix_units())
    return "bfloat16" if faster else "float32"


def autocast(network: Network, device: torch.device) -> AbstractContextManager[None]:
    """Within it, convolutions and matrix products are computed in `precision`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(network, device) == "bfloat16")


def _has_matrix_units() -> bool:
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))
