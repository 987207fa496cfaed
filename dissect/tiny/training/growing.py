"""Generators of every resolution up to their own, for training that grows them from coarse to fine."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from dissect.models import ProGAN, StyleGAN2
from dissect.models.generator import PixelNorm


class Growing(nn.Module):
    """A generator together with what it needs to give images at smaller sizes, which training throws away.

    Args:
        full: the generator in the end; it is trained in place.
        seed: of the initial weights of what is thrown away.

    Forward:
        z: [N, z_channels].
        resolution: 4, 8, ..., that of `full`.
        fade: in [0, 1], the share of this resolution's output against the next smaller one's (Karras et al. 2018,
            section 2).
        seeds: of the noise, int64 [N]; only StyleGAN2 has any.
        Returns images [N, 3, resolution, resolution].
    """

    def __init__(self, full: ProGAN | StyleGAN2, seed: int = 0) -> None:
        super().__init__()
        self.full = full
        if isinstance(full, ProGAN):
            smaller = [
                ProGAN(
                    full.channels[:levels],
                    full.z_channels,
                    pixel_norm=full.pixel_norm,
                    after_conv=full.after_conv,
                    seed=seed,
                )
                for levels in range(1, len(full.channels))
            ]
            names = (f"output_{each.resolution}x{each.resolution}" for each in smaller)
            self.outputs = nn.ModuleDict(
                {name: each.get_submodule(name) for name, each in zip(names, smaller, strict=True)}
            )

    def give(self, smaller: ProGAN | StyleGAN2) -> None:
        """Copies weights into a generator of the same layers up to a resolution, `full`'s or less."""
        states = self.full.state_dict()
        if isinstance(self.full, ProGAN):
            states |= self.outputs.state_dict()
        smaller.load_state_dict({name: states[name] for name in smaller.state_dict()})

    def forward(self, z: Tensor, resolution: int, fade: float = 1.0, seeds: Tensor | None = None) -> Tensor:
        """Images; see the class."""
        if isinstance(self.full, StyleGAN2):
            return self._stylegan2(z, resolution, fade, seeds)
        x = z[:, :, None, None]
        layers = 2 * (resolution.bit_length() - 2)
        for number in range(1, layers + 1):
            if number == layers - 1 and fade < 1 and resolution > 4:
                below = self._output(resolution // 2, x)
            x = chain(self.full.get_submodule(f"layer{number}"), x)
        image = self._output(resolution, x)
        return _faded(below, image, fade) if fade < 1 and resolution > 4 else image

    def _output(self, resolution: int, x: Tensor) -> Tensor:
        name = f"output_{resolution}x{resolution}"
        return chain(self.full.get_submodule(name) if resolution == self.full.resolution else self.outputs[name], x)

    def _stylegan2(self, z: Tensor, resolution: int, fade: float, seeds: Tensor | None) -> Tensor:
        full: Any = self.full
        w = full.mapping(z)[:, None].expand(-1, 2 * len(full.channels), -1)
        images = list(islice(full.images(w, seeds), resolution.bit_length() - 2))
        return images[-1] if fade == 1 or resolution == 4 else _faded(images[-2], images[-1], fade)


def _faded(below: Tensor, image: Tensor, fade: float) -> Tensor:
    """Between an image and the next smaller one with its pixels repeated, as training fades the real ones."""
    return image * fade + interpolate(below, scale_factor=2.0) * (1 - fade)


def chain(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer of `ProGAN`, the same function with fewer passes over the map: W * scale is convolved, b added by it."""
    children: dict[str, Any] = dict(layer.named_children())
    conv, wscale = children["conv"], children.get("wscale")
    for child in children.values():
        if isinstance(child, PixelNorm):
            x = x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)
        elif child is conv and wscale is not None:
            x = conv2d(x, conv.weight * wscale.scale, wscale.b, padding=conv.padding)
        elif child is not wscale:
            x = child(x)
    return x
