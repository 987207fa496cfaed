"""The pieces of a StyleGAN (v1) generator, called as in the published PyTorch conversion of NVIDIA's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, instance_norm, linear, pad

from dissect.models.noise import seeded_noise

#: From so many rows on a layer that doubles them is one transposed convolution.
FUSED_FROM = 128
ROOT_TWO = math.sqrt(2)


@dataclass(frozen=True)
class PublishedForm:
    """How a published code has written the same network down; weights of one are not the other's.

    Attributes:
        mapping_multiplier: of the mapping network's weights and biases.
        style_gain: of the weights that make styles of w.
        style_offset: added to a style's factor.
        noise_by_width: strengths of noise are multiplied by sqrt(2 / units).
        one_noise: both layers of a resolution add the same noise.
        fused_scale: of the kernels that double rows and columns from 128 on.
        bias_first: a doubling layer's bias is added before the blur, not after it.
        constant_bias: the 4x4 input has a bias.
        rgb_gain: of the weights that make the image.
        epsilon: of the instance normalisation, beside the variance.
    """

    mapping_multiplier: float
    style_gain: float
    style_offset: float
    noise_by_width: bool
    one_noise: bool
    fused_scale: float
    bias_first: bool
    constant_bias: bool
    rgb_gain: float
    epsilon: float


FORMS = {
    "nvidia": PublishedForm(0.01, 1.0, 1.0, False, False, 1.0, False, True, 1.0, 1e-8),
    "rosinality": PublishedForm(1.0, ROOT_TWO, 0.0, True, True, 0.25, True, False, ROOT_TWO, 1e-5),
}


class ScaledLinear(nn.Module):
    """`x (W m gain / sqrt(inputs))^T + b m`."""

    def __init__(self, inputs: int, outputs: int, gain: float, multiplier: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale, self.multiplier = gain * multiplier / math.sqrt(inputs), multiplier

    def forward(self, x: Tensor) -> Tensor:
        """X [N, inputs] to [N, outputs]."""
        return linear(x, self.weight * self.scale, self.bias * self.multiplier)


class ScaledConv(nn.Module):
    """Convolution with `W gain / sqrt(inputs k^2)`, and a bias; as many rows as before."""

    def __init__(self, inputs: int, outputs: int, kernel: int, gain: float = ROOT_TWO) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = gain / math.sqrt(inputs * kernel * kernel)

    def forward(self, x: Tensor) -> Tensor:
        """X [N, inputs, h, w] to [N, outputs, h, w]."""
        return conv2d(x, self.weight * self.scale, self.bias, padding=self.weight.shape[-1] // 2)


class Blur(nn.Module):
    """Convolution of each channel with the taps 1 2 1, both ways."""

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor((1.0, 2.0, 1.0))
        self.register_buffer("kernel", (taps[:, None] * taps / 16)[None, None])

    def forward(self, x: Tensor) -> Tensor:
        """X [N, C, h, w], of the same shape; beyond its edges it is 0."""
        kernel = self.get_buffer("kernel").to(x.dtype).expand(x.shape[1], 1, -1, -1)
        return conv2d(x, kernel, padding=1, groups=x.shape[1])


class UpConv(ScaledConv):
    """Twice the rows and columns, by repeating pixels before the convolution or, from 128 on, in it; and the blur."""

    def __init__(self, inputs: int, outputs: int, rows: int, form: PublishedForm) -> None:
        super().__init__(inputs, outputs, 3)
        self.upscale = None if rows >= FUSED_FROM else nn.Upsample(scale_factor=2, mode="nearest")
        self.intermediate = Blur()
        self.fused_scale, self.bias_first = form.fused_scale, form.bias_first

    def forward(self, x: Tensor) -> Tensor:
        """X [N, inputs, h, w] to [N, outputs, 2h, 2w]."""
        weight = self.weight * self.scale
        if self.upscale is not None:
            x = conv2d(self.upscale(x), weight, padding=1)
        else:
            wide = pad(weight, (1, 1, 1, 1))
            four = wide[..., 1:, 1:] + wide[..., :-1, 1:] + wide[..., 1:, :-1] + wide[..., :-1, :-1]
            x = conv_transpose2d(x, four.transpose(0, 1) * self.fused_scale, stride=2, padding=1)
        bias = self.bias[:, None, None].to(x.dtype)
        output: Tensor = self.intermediate(x + bias) if self.bias_first else self.intermediate(x) + bias
        return output


class Noise(nn.Module):
    """`x + weight * noise`, of each image's seed; without seeds that of seed 0, the same in all images."""

    def __init__(self, channels: int, number: int, factor: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.number, self.factor = number, factor

    def forward(self, x: Tensor, seeds: Tensor | None) -> Tensor:
        """X [N, C, h, w] with int64 seeds [N]."""
        seeds = torch.zeros(1, dtype=torch.int64, device=x.device) if seeds is None else seeds
        noise = seeded_noise(seeds, self.number, x.shape[2], x.shape[3])
        return x + (self.weight[:, None, None] * self.factor * noise).to(x.dtype)


class InstanceNorm(nn.Module):
    """`(x - mean) / sqrt(variance + epsilon)`, of each image and channel alone."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """X [N, C, h, w]."""
        return instance_norm(x, eps=self.epsilon)

    def extra_repr(self) -> str:
        """What tells it from another."""
        return f"epsilon={self.epsilon:g}"


class TopEpilogue(nn.Module):
    """Noise, `max(x, 0.2 x)` and the normalisation after a convolution."""

    def __init__(self, channels: int, number: int, form: PublishedForm) -> None:
        super().__init__()
        factor = math.sqrt(2 / channels) if form.noise_by_width else 1.0
        self.noise = Noise(channels, number - number % 2 if form.one_noise else number, factor)
        self.activation = nn.LeakyReLU(0.2)
        self.instance_norm = InstanceNorm(form.epsilon)

    def forward(self, x: Tensor, seeds: Tensor | None) -> Tensor:
        """X [N, C, h, w]."""
        output: Tensor = self.instance_norm(self.activation(self.noise(x, seeds)))
        return output


class StyleMod(nn.Module):
    """`x * (offset + factor) + shift`: factors and shifts are an affine map of w, factors first."""

    def __init__(self, channels: int, w_channels: int, form: PublishedForm) -> None:
        super().__init__()
        self.lin = ScaledLinear(w_channels, 2 * channels, form.style_gain)
        self.offset = form.style_offset

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """X [N, C, h, w] with w [N, w_channels]."""
        factor, shift = self.lin(w)[:, :, None, None].to(x.dtype).chunk(2, 1)
        output: Tensor = x * (factor + self.offset) + shift
        return output


class Epilogue(nn.Module):
    """What follows a convolution: `top_epi`, and the style; together the adaptive instance normalisation."""

    def __init__(self, channels: int, w_channels: int, number: int, form: PublishedForm) -> None:
        super().__init__()
        self.top_epi = TopEpilogue(channels, number, form)
        self.style_mod = StyleMod(channels, w_channels, form)

    def forward(self, x: Tensor, w: Tensor, seeds: Tensor | None) -> Tensor:
        """X [N, C, h, w] with w [N, w_channels]."""
        output: Tensor = self.style_mod(self.top_epi(x, seeds), w)
        return output


class ConstantBlock(nn.Module):
    """The block at 4x4: a learned map in the place of the first convolution."""

    def __init__(self, channels: int, w_channels: int, form: PublishedForm) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.ones(1, channels, 4, 4))
        self.bias = nn.Parameter(torch.zeros(channels)) if form.constant_bias else None
        self.epi1 = Epilogue(channels, w_channels, 0, form)
        self.conv = ScaledConv(channels, channels, 3)
        self.epi2 = Epilogue(channels, w_channels, 1, form)

    def forward(self, x: Tensor | None, w: Tensor, seeds: Tensor | None) -> Tensor:
        """Maps [N, C, 4, 4] for w [N, 2, w_channels]; x is None."""
        start = self.const if self.bias is None else self.const + self.bias[:, None, None]
        x = self.epi1(start.expand(len(w), -1, -1, -1), w[:, 0], seeds)
        output: Tensor = self.epi2(self.conv(x), w[:, 1], seeds)
        return output


class UpBlock(nn.Module):
    """The two layers at one resolution, the first of which doubles it."""

    def __init__(self, level: int, inputs: int, outputs: int, w_channels: int, form: PublishedForm) -> None:
        super().__init__()
        self.conv0_up = UpConv(inputs, outputs, 4 << level, form)
        self.epi1 = Epilogue(outputs, w_channels, 2 * level, form)
        self.conv1 = ScaledConv(outputs, outputs, 3)
        self.epi2 = Epilogue(outputs, w_channels, 2 * level + 1, form)

    def forward(self, x: Tensor, w: Tensor, seeds: Tensor | None) -> Tensor:
        """X [N, inputs, h, w] to [N, outputs, 2h, 2w], for w [N, 2, w_channels]."""
        x = self.epi1(self.conv0_up(x), w[:, 0], seeds)
        output: Tensor = self.epi2(self.conv1(x), w[:, 1], seeds)
        return output


class Synthesis(nn.Module):
    """`blocks.4x4`, `blocks.8x8`, ..., and `torgb` of the last one."""

    def __init__(self, channels: tuple[int, ...], w_channels: int, form: PublishedForm) -> None:
        super().__init__()
        blocks: dict[str, nn.Module] = {"4x4": ConstantBlock(channels[0], w_channels, form)}
        for level, (inputs, outputs) in enumerate(pairwise(channels), 1):
            blocks[f"{4 << level}x{4 << level}"] = UpBlock(level, inputs, outputs, w_channels, form)
        self.blocks = nn.ModuleDict(blocks)
        self.torgb = ScaledConv(channels[-1], 3, 1, form.rgb_gain)

    def forward(self, w: Tensor, seeds: Tensor | None) -> Tensor:
        """Images [N, 3, R, R] for w [N, 2 * len(channels), w_channels]."""
        x = None
        for level, block in enumerate(self.blocks.values()):
            x = block(x, w[:, 2 * level : 2 * level + 2], seeds)
        output: Tensor = self.torgb(x)
        return output
