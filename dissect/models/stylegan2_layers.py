"""The pieces of a StyleGAN2 generator, each step a module of its own so that hooks can reach between them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu, linear

from dissect.models.noise import seeded_noise

#: Outer product of the blur's taps with themselves, over 16: sums to 4, which makes up for the zeros of upsampling.
BLUR_TAPS = (1.0, 3.0, 3.0, 1.0)


def scaled_leaky_relu(x: Tensor) -> Tensor:
    """`sqrt(2) * max(x, 0.2 x)`, which keeps the variance."""
    return leaky_relu(x, 0.2) * math.sqrt(2)


class EqualLinear(nn.Module):
    """`x (W m / sqrt(inputs))^T + b m`, through `scaled_leaky_relu` if asked; m multiplies the learning rate."""

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, multiplier: float = 1.0, activate: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.multiplier, self.activate = multiplier, activate

    def forward(self, x: Tensor) -> Tensor:
        """X [N, inputs] to [N, outputs]."""
        scale = self.multiplier / math.sqrt(self.weight.shape[1])
        x = linear(x, self.weight * scale, self.bias * self.multiplier)
        return scaled_leaky_relu(x) if self.activate else x


class ConstantInput(nn.Module):
    """The learned 4x4 map from which every image starts."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.empty(1, channels, 4, 4))

    def forward(self, w: Tensor) -> Tensor:
        """The map [N, C, 4, 4] for w [N, ...]."""
        return self.input.expand(len(w), -1, -1, -1)


class Modulate(nn.Module):
    """`x * style`, a factor per image and channel; what it gives is the key of model rewriting."""

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """X [N, C, h, w] with style [N, C]."""
        return x * style[:, :, None, None].to(x.dtype)


class EqualConv(nn.Module):
    """Convolution with `W / sqrt(inputs * k^2)`, transposed with stride 2 if it upsamples (h -> 2h + 1)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, upsample: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.upsample = upsample

    def scaled_weight(self) -> Tensor:
        """What the feature map is convolved with [outputs, inputs, k, k]."""
        return self.weight * (1 / math.sqrt(self.weight[0].numel()))

    def forward(self, x: Tensor) -> Tensor:
        """X [N, inputs, h, w] to [N, outputs, h, w], or 2h + 1 rows."""
        weight = self.scaled_weight()
        if self.upsample:
            return conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        return conv2d(x, weight, padding=weight.shape[-1] // 2)


class Demodulate(nn.Module):
    """`x / sqrt(sum over inputs and taps of (style W)^2 + 1e-8)` per image and output channel."""

    def forward(self, x: Tensor, style: Tensor, weight: Tensor) -> Tensor:
        """X [N, outputs, h, w] with style [N, inputs] and weight [outputs, inputs, k, k]."""
        energy = style.square() @ weight.square().sum(dim=(2, 3)).t()
        return x * torch.rsqrt(energy + 1e-8)[:, :, None, None].to(x.dtype)


class Blur(nn.Module):
    """Convolution of each channel with a 4x4 kernel (upfirdn without the up): 2h + 1 rows to 2h."""

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor(BLUR_TAPS)
        self.register_buffer("kernel", taps[:, None] * taps / 16)

    def forward(self, x: Tensor) -> Tensor:
        """X [N, C, 2h + 1, 2w + 1] to [N, C, 2h, 2w]."""
        channels = x.shape[1]
        kernel = self.get_buffer("kernel").flip(0, 1).expand(channels, 1, -1, -1)
        return conv2d(x, kernel, padding=1, groups=channels)


class Upsample(Blur):
    """Zeros between the pixels, then the same kernel: doubles the image of the coarser layers."""

    def forward(self, x: Tensor) -> Tensor:
        """X [N, C, h, w] to [N, C, 2h, 2w]."""
        channels = x.shape[1]
        kernel = self.get_buffer("kernel").expand(channels, 1, -1, -1)
        return conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)


class Noise(nn.Module):
    """`x + weight * noise`: the published buffer `fixed`, the same for all images, or noise of each image's seed."""

    def __init__(self, layer: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("fixed", torch.empty(1, 1, size, size))
        self.layer = layer

    def forward(self, x: Tensor, seeds: Tensor | None) -> Tensor:
        """X [N, C, h, w] with int64 seeds [N]."""
        if seeds is None:
            return x + (self.weight * self.get_buffer("fixed")).to(x.dtype)
        noise = seeded_noise(seeds, self.layer, x.shape[2], x.shape[3])
        return x + (self.weight * noise).to(x.dtype)


class Activate(nn.Module):
    """`scaled_leaky_relu(x + bias)`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """X [N, C, h, w]."""
        return scaled_leaky_relu(x + self.bias[:, None, None].to(x.dtype))


class StyledLayer(nn.Module):
    """One `layer{n}` of `StyleGAN2`, whose docs have the equations."""

    def __init__(self, number: int, inputs: int, outputs: int, w_channels: int) -> None:
        super().__init__()
        upsample = number % 2 == 1
        self.style = EqualLinear(w_channels, inputs, bias=1.0)
        self.modulate = Modulate()
        self.conv = EqualConv(inputs, outputs, 3, upsample)
        self.demodulate = Demodulate()
        self.blur = Blur() if upsample else None
        self.noise = Noise(number, 2 ** ((number + 1) // 2 + 1))
        self.activate = Activate(outputs)

    def forward(self, x: Tensor, w: Tensor, seeds: Tensor | None) -> Tensor:
        """X [N, inputs, h, w] with w [N, w_channels]; twice the rows where it upsamples."""
        style = self.style(w)
        x = self.conv(self.modulate(x, style))
        x = self.demodulate(x, style, self.conv.scaled_weight())
        if self.blur is not None:
            x = self.blur(x)
        output: Tensor = self.activate(self.noise(x, seeds))
        return output


class ToRGB(nn.Module):
    """One `to_rgb{j}` of `StyleGAN2`: a modulated 1x1 convolution, added to the upsampled image so far."""

    def __init__(self, inputs: int, w_channels: int, first: bool) -> None:
        super().__init__()
        self.style = EqualLinear(w_channels, inputs, bias=1.0)
        self.modulate = Modulate()
        self.conv = EqualConv(inputs, 3, 1)
        self.bias = nn.Parameter(torch.zeros(3))
        self.upsample = None if first else Upsample()

    def forward(self, x: Tensor, w: Tensor, image: Tensor | None) -> Tensor:
        """X [N, inputs, h, w] to an image [N, 3, h, w], onto the one of half the size."""
        rgb = self.conv(self.modulate(x, self.style(w))) + self.bias[:, None, None]
        output: Tensor = rgb if self.upsample is None else rgb + self.upsample(image)
        return output
