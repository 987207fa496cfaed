"""A StyleGAN2 as a chain of its layers, so that it is split and inverted as other generators are."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from dissect.models.stylegan2 import StyleGAN2


class StyleChain(nn.Module):
    """A copy of a StyleGAN2 whose children run one after the other, with its own noise buffers as frozen noise.

    What its layers see beside the features travels with them, as channels of one map::

        r = [features, image so far, w at every position]        [N, C + 3 + w_channels, h, w]

    so that ``G = G_f(g_n(... g_1(z)))`` holds although each layer sees w. The image so far is brought to the size of
    the features; a layer reads w as its mean over positions, so a change of r may move it too.

    Args:
        generator: a StyleGAN2; its truncation is used.

    Forward:
        z: [N, w_channels]. Returns images [N, 3, R, R].

    Example:
        >>> model = StyleGAN2((8, 8), 6, mapping_layers=2).eval()
        >>> chain, z = StyleChain(model), dissect.latents(model, 2)
        >>> [name for name, _ in chain.named_children()]
        ['mapping', 'layer1', 'layer2', 'layer3', 'layer4', 'image']
        >>> torch.allclose(chain(z), model(z), atol=1e-5), tuple(chain.layer1(chain.mapping(z)).shape)
        (True, (2, 17, 4, 4))
    """

    def __init__(self, generator: StyleGAN2) -> None:
        copied = copy.deepcopy(generator)
        copied.truncate(copied.layer1.input.new_zeros(1, copied.z_channels), copied.truncation)  # raises if it cannot
        super().__init__()
        self.z_shape = copied.z_shape
        self.mapping, self.layer1 = _Mapping(copied), _First(copied.layer1)
        for number in range(2, 2 * len(copied.channels) + 1):
            rgb = copied.get_submodule(f"to_rgb{number // 2}") if number % 2 == 0 else None
            layer = _Layer(copied.get_submodule(f"layer{number}"), rgb, copied.z_channels)
            self.add_module(f"layer{number}", layer)
        self.image = _Image(copied.z_channels)

    def forward(self, z: Tensor) -> Tensor:
        """Images [N, 3, R, R]."""
        for part in self.children():
            z = part(z)
        return z


class _Mapping(nn.Module):
    average: Tensor | None

    def __init__(self, generator: StyleGAN2) -> None:
        super().__init__()
        self.mapping, self.truncation = generator.mapping, generator.truncation
        self.register_buffer("average", None if generator.truncation == 1 else generator.latent_avg)

    def forward(self, z: Tensor) -> Tensor:
        """W [N, w_channels]."""
        w: Tensor = self.mapping(z)
        return w if self.average is None else self.average + self.truncation * (w - self.average)


class _First(nn.Module):
    def __init__(self, constant: nn.Module) -> None:
        super().__init__()
        self.constant = constant

    def forward(self, w: Tensor) -> Tensor:
        """The constant map, no image yet, and w."""
        x = self.constant(w)
        return _packed(x, x.new_zeros(len(x), 3, *x.shape[2:]), w)


class _Layer(nn.Module):
    """A styled layer and, where one follows, what adds its image to the one so far."""

    def __init__(self, layer: nn.Module, rgb: Any, w_channels: int) -> None:
        super().__init__()
        self.layer, self.rgb, self._length = layer, rgb, w_channels

    def forward(self, r: Tensor) -> Tensor:
        """The next r."""
        x, image, w = _unpacked(r, self._length)
        x = self.layer(x, w, None)
        if self.rgb is None:  # the next layer's enlarges the image, and is given it as it was
            return _packed(x, interpolate(image, scale_factor=2), w)
        return _packed(x, self.rgb(x, w, image if self.rgb.upsample is None else avg_pool2d(image, 2)), w)


class _Image(nn.Module):
    def __init__(self, w_channels: int) -> None:
        super().__init__()
        self._length = w_channels

    def forward(self, r: Tensor) -> Tensor:
        """The image."""
        return _unpacked(r, self._length)[1]


def _packed(x: Tensor, image: Tensor, w: Tensor) -> Tensor:
    return torch.cat([x, image, w[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)


def _unpacked(r: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    x, image, w = r.split([r.shape[1] - 3 - length, 3, length], 1)
    return x, image, w.mean((2, 3))
