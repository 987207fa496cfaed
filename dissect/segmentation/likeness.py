"""What tells an image from another, whatever its size and however it was normalised: for stores of what images show."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from dissect.devices import checksum

#: Cells along each side of an image.
SIDE = 8

#: Steps of a standard deviation.
STEPS = 32

#: Mean distance in standard deviations from which two images are not the same; see `unlike`.
FAR = 0.25


def likeness(images: Tensor) -> Tensor:
    """What is kept of images: int8 [N, C * 64], or [N, 8] of anything else, as of z.

    Of each channel the means of 8 x 8 cells, less their mean, in parts of their deviation, so that neither scaling an
    image nor ``(x - mean) / std`` of its channels changes it; one that shows noise or nothing gives numbers near 0.
    Of z, which have no places, a checksum of its bits.

    Args:
        images: floats or integers [N, C, H, W] or [N, ...].

    Example:
        >>> image = torch.rand(1, 3, 40, 40)
        >>> bool(unlike(likeness(image), likeness((image - 0.4) / 0.3)).any())
        False
        >>> bool(unlike(likeness(image), likeness(torch.rand(1, 3, 40, 40))).any())
        True
    """
    images = images.detach()
    if images.ndim != 4 or images.shape[2:].numel() == 1:
        sums = [checksum(image).cpu().view(1) for image in images]
        return torch.cat(sums).view(torch.int8).view(len(images), -1)
    pixels = images.float()
    cells = adaptive_avg_pool2d(pixels, SIDE).flatten(2)
    spread = pixels.flatten(2).std(2, correction=0, keepdim=True)
    middle = cells.mean(2, keepdim=True)
    scale = cells.std(2, correction=0, keepdim=True) + spread / 20 + (middle.abs() + 1) * 1e-5
    return ((cells - middle) / scale * STEPS).round().clamp(-127, 127).to(torch.int8).flatten(1).cpu()


def unlike(first: Tensor, second: Tensor) -> Tensor:
    """[N] bool: whether images are others, by what `likeness` gave of them.

    Those of pictures are others if they differ by more than a quarter of a standard deviation on average. Of 120 of the
    embedded scenes, any two differ by 0.37 to 1.4 (half of them by 1.0), and one from itself at 16 to 224 pixels by at
    most 0.14. Those of z are others if any bit differs.
    """
    if first.shape != second.shape:
        return torch.ones(len(first), dtype=torch.bool)
    apart = (first.float() - second.float()).abs()
    return apart.amax(1) > 0 if first.shape[1] == SIDE else apart.mean(1) / STEPS > FAR
