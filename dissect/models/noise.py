"""Normal noise that is a pure function of a seed, a layer and a pixel."""

from __future__ import annotations

import inspect
from functools import lru_cache

import torch
from torch import Tensor, nn

_LEVELS = 1 << 16
_STEP = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX2 = 0x94D049BB133111EB - (1 << 64)


def takes_noise(model: nn.Module) -> bool:
    """Whether a model takes noise seeds, ``model(z, noise=seeds)``."""
    return "noise" in inspect.signature(model.forward).parameters


def seeded_noise(seeds: Tensor, layer: int, height: int, width: int) -> Tensor:
    """Normal noise for a batch of images: the same for an image wherever it stands in whichever batch.

    With `mix` the finaliser of splitmix64 (Steele et al. 2014), g its step and p a pixel's number from 1::

        bits  = mix(mix(seed + g * (layer + 1)) + g * p)
        noise = quantile of the normal distribution at (floor(bits / 2^48) + 1/2) / 2^16

    that is, 65,536 equally likely levels up to 4.32, standard deviation 1 to four digits. No step can be rounded in
    two ways, so it is the same to the bit on a CPU and a GPU.

    Args:
        seeds: int64 [N], one per image.
        layer: number of the layer; each has noise of its own.
        height: rows.
        width: columns.

    Returns:
        float32 [N, 1, height, width] on the seeds' device.

    Example:
        >>> both = seeded_noise(torch.tensor([3, 9]), layer=2, height=4, width=4)
        >>> torch.equal(both[1:], seeded_noise(torch.tensor([9]), layer=2, height=4, width=4))
        True
    """
    keys = _mix(seeds + (_STEP * (layer + 1) + (1 << 63)) % (1 << 64) - (1 << 63))
    pixels = torch.arange(1, height * width + 1, device=seeds.device)
    bits = _mix(keys[:, None] + pixels * _STEP)
    levels = (bits >> 48) & (_LEVELS - 1)
    return _quantiles(seeds.device)[levels].view(len(seeds), 1, height, width)


def _mix(bits: Tensor) -> Tensor:
    """The finaliser of splitmix64; shifts of int64 copy the sign, hence the masks."""
    bits = (bits ^ (bits >> 30 & (1 << 34) - 1)) * _MIX1
    bits = (bits ^ (bits >> 27 & (1 << 37) - 1)) * _MIX2
    return bits ^ (bits >> 31 & (1 << 33) - 1)


@lru_cache
def _quantiles(device: torch.device) -> Tensor:
    # Made under inference mode it could not serve a training that comes later.
    with torch.inference_mode(False):
        middles = (torch.arange(_LEVELS, dtype=torch.float64, device="cpu") + 0.5) / _LEVELS
        values: Tensor = torch.special.ndtri(middles).float().to(device)
        return values
