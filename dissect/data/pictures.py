"""Images as people look at them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dissect.arguments import refusal

#: How far beyond [0, 1] a value may be, by rounding, of an image that needs no stretching.
SLACK = 1e-3

#: Images that a CPU works on together, and should hold in its cache.
IN_CACHE = 8


def to_pictures(images: Tensor) -> Tensor:
    """[N, 3, H, W] uint8 for people to look at, from images as the model takes them.

    Floats in [0, 1] are taken as they are; an image of others is stretched from its least to its largest value, which
    changes its colours. A data set that normalises its images can do better: see `dissect.dissect`, `pictures`.
    """
    images = images.detach()
    if images.dtype != torch.uint8 and len(images):
        at_a_time = IN_CACHE if images.device.type == "cpu" else len(images)
        images = torch.cat([_to_uint8(few) for few in images.split(at_a_time)])
    return images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)


def signed_pictures(images: Tensor) -> Tensor:
    """[N, 3, H, W] uint8 of images in [-1, 1], as generators give them: ``(x + 1) / 2``, clipped."""
    return to_pictures(images.detach().float().add(1).div(2).clamp(0, 1))


class Normalisation(NamedTuple):
    """How a data set's images were normalised, ``(x - mean) / std`` per channel of values in [0, 1].

    A data set of one's own that has an attribute `normalisation` tells segmenters so which images it gives.

    Attributes:
        mean: of red, green and blue.
        std: the same.

    Example:
        >>> dissect.tiny.TinyScenes().normalisation.is_none
        True
    """

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    @property
    def is_none(self) -> bool:
        """Whether images are in [0, 1] still."""
        return not any(self.mean) and all(value == 1 for value in self.std)


class NormalisedImages(Dataset[Any]):
    """Images of which each channel is normalised, ``(x - mean) / std`` of values in [0, 1]: the base of all readers.

    Attributes:
        normalisation: by what.
    """

    normalisation: Normalisation

    def _normalise_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        mean, std = (tuple(float(value) for value in values) for values in (mean, std))
        known = all(0 <= value <= 1 for value in mean) and all(0 < value < math.inf for value in std)
        if len(mean) != 3 or len(std) != 3 or not known:
            raise refusal(
                ValueError(
                    "mean and std must be three numbers each, of channels in [0, 1], mean from 0 to 1 and std "
                    f"positive, but are {list(mean)} and {list(std)}; divide those of channels up to 255 by it."
                )
            )
        self.normalisation = Normalisation(mean, std)
        self._mean, self._std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (mean, std))

    def _normalised(self, picture: Any) -> Tensor:
        """[3, H, W] float32 of a picture of Pillow's, or of uint8 [H, W, 3]."""
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
        return (pixels - self._mean) / self._std

    def to_pictures(self, images: Tensor) -> Tensor:
        """Uint8 [N, 3, H, W] of images [N, 3, H, W] that were normalised here: with the colours of the files."""
        pixels = images.float() * self._std.to(images.device) + self._mean.to(images.device)
        return (pixels * 255).round().clamp(0, 255).to(torch.uint8)


def _to_uint8(images: Tensor) -> Tensor:
    images = images.to(torch.float32, copy=True)
    low, high = (end.view(-1, 1, 1, 1) for end in images.flatten(1).aminmax(dim=1))
    beyond = (low < -SLACK) | (high > 1 + SLACK)
    start, span = torch.where(beyond, low, 0), torch.where(beyond, (high - low).clamp(min=1e-12), 1)
    return images.sub_(start).div_(span).clamp_(0, 1).mul_(255).round_().to(torch.uint8)
