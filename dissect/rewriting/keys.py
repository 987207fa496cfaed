"""A memory's keys, and the inputs that have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dissect.devices import device_of, to_device
from dissect.models.noise import takes_noise


@dataclass(frozen=True, eq=False)
class Keys:
    """Keys of some images, and what of each image takes part in a nonlinear layer beside them.

    Attributes:
        maps: [n, i, h, w], what the layer multiplies; of a fully connected layer [n, i, 1, L], its L rows per image.
        style: [n, i], factors that are already in `maps`, by which StyleGAN2 demodulates; else None.
        noise: [n, 1, H, W], what StyleGAN2 adds; else None.
    """

    maps: Tensor
    style: Tensor | None = None
    noise: Tensor | None = None

    def __len__(self) -> int:
        """The number of images, n."""
        return len(self.maps)

    def __getitem__(self, images: Any) -> Keys:
        """Those of some images, by a slice or numbers."""
        return Keys(*(None if part is None else part[images] for part in (self.maps, self.style, self.noise)))  # type: ignore[arg-type]

    def crop(self, rows: slice, columns: slice, factor: int = 1) -> Keys:
        """Those in some rows and columns, of which the values have `factor` times as many."""
        noise = self.noise
        if noise is not None:
            grown = [slice(each.start * factor, each.stop * factor) for each in (rows, columns)]
            noise = noise[:, :, grown[0], grown[1]]
        return Keys(self.maps[:, :, rows, columns], self.style, noise)


def is_pair(inputs: Any) -> bool:
    """Whether inputs are a batch and what comes with it, noise seeds or labels; two tensors of floats are batches."""
    pair = isinstance(inputs, (tuple, list)) and len(inputs) == 2 and isinstance(inputs[0], Tensor)
    return pair and not (isinstance(inputs[1], Tensor) and inputs[1].is_floating_point())


def noise_of(model: nn.Module, also: Any) -> dict[str, Tensor]:
    """What comes with a batch, as noise seeds of a model that takes any."""
    takes = also is not None and takes_noise(model)
    return {"noise": to_device(also, device_of(model))} if takes else {}
