"""A step of Adam for 3x3 filters, and what they give after it, in Winograd's form."""

import torch
from torch import Tensor

#: Of Adam (Kingma & Ba 2015): what is kept of the moments, what is new in them, and what keeps it from dividing by 0.
KEPT, NEW, EPSILON = (0.9, 0.999), (0.1, 0.001), 1e-8


def filter_step(state: Tensor, tiles: Tensor, gradient: Tensor, size: float, root: float) -> Tensor:
    """Adam's step of filters w, in place, and their product with keys d, both by F(2x2, 3x3) of Lavin & Gray 2016.

    With their matrices A, B and G, and ``*`` number by number, a filter gives ``A^T [(G w G^T) * (B^T d B)] A`` of a
    tile of keys, and where y is the gradient of that, that of the filter is ``G^T [(A y A^T) * (B^T d B)] G``. The
    brackets are summed over channels, or over tiles, in their order; `tiles` are ``B^T d B``, `gradient` is
    ``A y A^T``, and the product that is returned is the sum of the former. With the filters' gradient g, in float32
    and each operation rounded::

        m = 0.9 m + 0.1 g
        v = 0.999 v + (0.001 g) g
        w = w - (size m) / (root sqrt(v) + 1e-8)

    Args:
        state: [3, B, I, 9, 16] float32: w, m and v of 16 B outputs and I channels, by block, channel, tap and output.
        tiles: [I, 16, T] float32.
        gradient: [B, 16, T, 16] float32, by block, frequency, tile and output.
        size: ``rate / (1 - 0.9^t)`` at step t.
        root: ``(1 - 0.999^t)^(-1/2)``.

    Returns:
        [B, 16, T, 16] float32, the product of the filters after the step.
    """
    weight, first, second = state
    spectrum = weight.new_zeros((*weight.shape[:2], 16, 16))
    for tile in range(tiles.shape[2]):
        spectrum += gradient[:, None, :, tile] * tiles[None, :, :, tile, None]
    found = _gathered(_gathered(spectrum.unflatten(2, (4, 4)), 2), 3).flatten(2, 3)
    first.copy_(first * KEPT[0] + found * NEW[0])
    second.copy_(second * KEPT[1] + (found * NEW[1]) * found)
    # The root of a float32 in float64, rounded, is the exact one rounded; torch's own in float32 is not always.
    length = second.double().sqrt().float()
    weight -= (first * size) / (length * root + EPSILON)
    filters = _spread(_spread(weight.unflatten(2, (3, 3)), 2), 3).flatten(2, 3)
    product = torch.zeros_like(gradient, memory_format=torch.contiguous_format)
    for channel, keys in enumerate(tiles):
        product += filters[:, channel, :, None] * keys[:, :, None]
    return product


def _gathered(spectrum: Tensor, axis: int) -> Tensor:
    """G^T along an axis: three of four."""
    first, second, third, last = spectrum.unbind(axis)
    total = (second + third) * 0.5
    return torch.stack([first + total, (second - third) * 0.5, total + last], axis)


def _spread(taps: Tensor, axis: int) -> Tensor:
    """G along an axis: four of three."""
    first, middle, last = taps.unbind(axis)
    total = first + last
    return torch.stack([first, (total + middle) * 0.5, (total - middle) * 0.5, last], axis)
