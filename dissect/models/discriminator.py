"""The discriminator of Progressive GAN and StyleGAN2, of every resolution up to its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, leaky_relu

from dissect.arguments import refusal, speaks
from dissect.models.initial import draw

#: Images that share one standard deviation (Karras et al. 2020, as published; the whole batch in Karras et al. 2018).
STDDEV_GROUP = 4


@speaks
class Discriminator(nn.Module):
    """Pairs of convolutions that halve the image down to 4x4, and a score (Karras et al. 2018, Table 2).

    With weights W scaled by sqrt(2 / fan in), at 64x64, 32x32, ..., 8x8::

        x = lrelu(W x + b), 1x1                             from_rgb{level}, at the size of the images only
        x = lrelu(W x + b), 3x3, twice; mean over 2x2       level{level}
        x = (x + W mean2x2(what came in)) / sqrt(2)         residual: Karras et al. 2020, Figure 7
        x = concat(x, mean over all of the standard deviation within a group of images)   minibatch_stddev
        score = W lrelu(W lrelu(W x + b) + b) + b           3x3 and 4x4 convolutions, a linear layer

    Args:
        channels: channels at 4x4, 8x8, ..., as the generator's.
        minibatch_stddev: section 3 of Karras et al. 2018; groups of 4 images.
        residual: StyleGAN2's; without it Progressive GAN's.
        seed: of the initial weights, standard normal.

    Forward:
        images: [N, 3, R, R] with R = 4, 8, ..., 4 * 2^(len(channels)-1).
        fade: in [0, 1], the share of the images' own resolution against the next smaller one (section 2).
        Returns scores [N].

    Raises:
        ValueError: another size of images, or a batch that groups do not divide.

    Example:
        >>> from dissect.models import Discriminator
        >>> Discriminator((16, 16, 8))(torch.zeros(4, 3, 16, 16)).shape
        torch.Size([4])
    """

    def __init__(
        self, channels: Sequence[int], *, minibatch_stddev: bool = True, residual: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        if not channels or min(channels) < 1:
            raise refusal(ValueError(f"channels must be positive, but got {tuple(channels)}."))
        self.channels, self.minibatch_stddev, self.residual = tuple(channels), minibatch_stddev, residual
        for level, width in enumerate(channels):
            self.add_module(f"from_rgb{level}", ScaledConv(3, width, 1))
            if level > 0:
                self.add_module(f"level{level}", Level(width, channels[level - 1], residual))
        self.conv1 = ScaledConv(channels[0] + minibatch_stddev, channels[0], 3)
        self.conv2 = ScaledConv(channels[0], channels[0], 4, padding=0)
        self.score = ScaledConv(channels[0], 1, 1, activate=False)
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, ScaledConv):
                draw(module.weight, nn.init.normal_, generator)

    def forward(self, images: Tensor, fade: float = 1.0) -> Tensor:
        """Scores [N] of images [N, 3, R, R]."""
        if not 0 <= fade <= 1:
            raise refusal(ValueError(f"fade must be in [0, 1], but got {fade}."))
        size = images.shape[-1]
        level = size.bit_length() - 3
        fits = 0 <= level < len(self.channels) and size == 4 << level
        if not fits or images.shape[1:] != (3, size, size):
            raise refusal(
                ValueError(
                    f"images must be [N, 3, R, R] with R a power of two from 4 to "
                    f"{4 << len(self.channels) - 1}, but got {list(images.shape)}."
                )
            )
        x = self.get_submodule(f"from_rgb{level}")(images)
        for below in range(level, 0, -1):
            x = self.get_submodule(f"level{below}")(x)
            if below == level and fade < 1:
                x = x * fade + self.get_submodule(f"from_rgb{level - 1}")(avg_pool2d(images, 2)) * (1 - fade)
        if self.minibatch_stddev:
            x = with_stddev(x)
        output: Tensor = self.score(self.conv2(self.conv1(x))).flatten()
        return output


class ScaledConv(nn.Module):
    """`W x sqrt(2 / fan in) + b`, through a leaky ReLU; gain 1 and no ReLU unless it activates."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, padding: int | None = None, activate: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.padding = kernel // 2 if padding is None else padding
        self.activate = activate
        self.scale = math.sqrt((2 if activate else 1) / (inputs * kernel * kernel))

    def forward(self, x: Tensor) -> Tensor:
        """X [N, inputs, h, w] to [N, outputs, ...]."""
        x = conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)
        return leaky_relu(x, 0.2) if self.activate else x


class Level(nn.Module):
    """Two convolutions and the halving of one resolution."""

    def __init__(self, inputs: int, outputs: int, residual: bool) -> None:
        super().__init__()
        self.conv1 = ScaledConv(inputs, inputs, 3)
        self.conv2 = ScaledConv(inputs, outputs, 3)
        self.skip = ScaledConv(inputs, outputs, 1, activate=False) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        """X [N, inputs, 2h, 2w] to [N, outputs, h, w]."""
        main = avg_pool2d(self.conv2(self.conv1(x)), 2)
        return main if self.skip is None else (main + self.skip(avg_pool2d(x, 2))) / math.sqrt(2)


def with_stddev(x: Tensor) -> Tensor:
    """X [N, C, h, w] with one more channel: within each group, the mean over C, h, w of the standard deviation.

    Image i belongs to group i mod (N / 4): groups of 4, or one of all where there are fewer.

    Raises:
        ValueError: N is more than 4 and no multiple of it.
    """
    images = len(x)
    if not images:
        raise refusal(ValueError("a batch must hold at least one image, but holds none."))
    group = min(STDDEV_GROUP, images)
    if images % group:
        raise refusal(ValueError(f"a batch must be a multiple of {STDDEV_GROUP} images, but got {images}."))
    wide = x.float().view(group, -1, *x.shape[1:])
    deviation = (wide.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
    plane = deviation.to(x.dtype).repeat(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])
    return torch.cat([x, plane], 1)
