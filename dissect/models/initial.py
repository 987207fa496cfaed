"""Initial weights: drawn from streams of their own, the same on every device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn


def undrawn() -> AbstractContextManager[None]:
    """Within it, what torch's layers draw for themselves, to be replaced, is not taken from the caller's stream."""
    return torch.random.fork_rng(devices=[])


@torch.no_grad()
def draw(weight: Tensor, init: Callable[..., Tensor], generator: torch.Generator, **options: Any) -> None:
    """Fills a weight with what one of `torch.nn.init` draws, on the CPU wherever the weight is.

    Args:
        weight: on any device.
        init: called with a tensor of the weight's shape, `generator` and the options.
        generator: a stream on the CPU.
        options: of `init`.
    """
    weight.copy_(init(torch.empty_like(weight, device="cpu"), generator=generator, **options))


def he_normal(model: nn.Module, seed: int) -> None:
    """Draws the weights of all convolutions and linear layers as He et al. 2015 (normal, for ReLU); biases are 0.

    Args:
        model: whose modules are taken in their order.
        seed: of a stream of its own; the caller's is not touched.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            draw(module.weight, nn.init.kaiming_normal_, generator, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
