"""A small U-Net (Ronneberger et al. 2015), for the segmentation networks of `dissect.tiny`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from dissect.arguments import refusal, speaks
from dissect.models.initial import he_normal, undrawn


@speaks
class UNet(nn.Module):
    """Two convolutions at each resolution on the way down and on the way up, which also sees the way down.

    Children are `down1`, `down2`, ... (from the images' size to 1 / 2^(n-1) of it; each but the first starts with a
    mean over 2x2), `up{n-1}`, ..., `up1` (x repeated twice each way, beside what `down` gave there), and `output`, a
    1x1 convolution. Convolutions are 3x3, followed by batch normalisation and ReLU.

    Args:
        channels: the widths at full, half, quarter ... size.
        outputs: channels of the result.
        seed: of the initial weights (He et al. 2015, normal).

    Forward:
        images: float [N, 3, H, W] in [0, 1]; H and W multiples of 2^(len(channels)-1). Returns [N, outputs, H, W].

    Raises:
        ValueError: widths that are not positive, or images of a size that cannot be halved so often.

    Example:
        >>> from dissect.models import UNet
        >>> UNet((4, 8), outputs=5)(torch.zeros(1, 3, 6, 8)).shape
        torch.Size([1, 5, 6, 8])
    """

    def __init__(self, channels: Sequence[int], outputs: int, seed: int = 0) -> None:
        super().__init__()
        if not channels or min(*channels, outputs) < 1:
            raise refusal(
                ValueError(f"channels and outputs must be positive, but got {tuple(channels)} and {outputs}.")
            )
        self.levels = len(channels)
        with undrawn():
            for level, width in enumerate(channels, start=1):
                self.add_module(f"down{level}", _pair(3 if level == 1 else channels[level - 2], width))
            for level in range(self.levels - 1, 0, -1):
                self.add_module(f"up{level}", _pair(channels[level] + channels[level - 1], channels[level - 1]))
            self.output = nn.Conv2d(channels[0], outputs, 1)
        he_normal(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        """Maps [N, outputs, H, W] of images [N, 3, H, W] in [0, 1]."""
        step = 1 << (self.levels - 1)
        if images.dim() != 4 or images.shape[1] != 3 or images.shape[2] % step or images.shape[3] % step:
            raise refusal(
                ValueError(f"images must be [N, 3, H, W], H and W multiples of {step}, not {list(images.shape)}.")
            )
        x = (images - 0.5) * 4
        beside: list[Tensor] = []
        for level in range(1, self.levels + 1):
            if level > 1:
                beside.append(x)
                x = nn.functional.avg_pool2d(x, 2)
            x = self.get_submodule(f"down{level}")(x)
        for level in range(self.levels - 1, 0, -1):
            x = torch.cat([interpolate(x, scale_factor=2.0), beside.pop()], 1)
            x = self.get_submodule(f"up{level}")(x)
        output: Tensor = self.output(x)
        return output


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
