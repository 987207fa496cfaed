"""Initial weights that more than one network starts from."""

from __future__ import annotations

import torch
from torch import nn


def he_normal(model: nn.Module, seed: int) -> None:
    """Draws the weights of all convolutions and linear layers as He et al. 2015 (normal, for ReLU); biases are 0.

    Args:
        model: whose modules are taken in their order.
        seed: of a stream of its own; the caller's is not touched.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
