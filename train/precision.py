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

    On CUDA always bfloat16. On a CPU it takes one that multiplies such numbers (AMX, AVX-512 BF16), and a network of dense
    convolutions: those take 0.4 to 0.9 of the time, while depthwise ones take twice as long (docs/decisions/0001-network.md).
    """
    dense = all(layer.kind != "separable" for layer in network.layers)
    faster = device.type == "cuda" or (device.type == "cpu" and dense and _multiplies_bfloat16())
    return "bfloat16" if faster else "float32"


def autocast(network: Network, device: torch.device) -> AbstractContextManager[None]:
    """Within it, convolutions and matrix products are computed in `precision`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(network, device) == "bfloat16")


def _multiplies_bfloat16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))
