"""Images as people look at them."""

from __future__ import annotations

import torch
from torch import Tensor

#: How far beyond [0, 1] a value may be, by rounding, of an image that needs no stretching.
SLACK = 1e-3


def to_pictures(images: Tensor) -> Tensor:
    """[N, 3, H, W] uint8 for people to look at, from images as the model takes them.

    Floats in [0, 1] are taken as they are; an image of others is stretched from its least to its largest value, which
    changes its colours. A data set that normalises its images can do better: see `dissect.dissect`, `pictures`.
    """
    images = images.detach()
    if images.dtype != torch.uint8 and len(images):
        images = images.float()
        low, high = (end.view(-1, 1, 1, 1) for end in images.flatten(1).aminmax(dim=1))
        stretched = (images - low) / (high - low).clamp(min=1e-12)
        images = torch.where((low < -SLACK) | (high > 1 + SLACK), stretched, images.clamp(0, 1))
        images = (images * 255).round().to(torch.uint8)
    return images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)
