"""A layer as one matrix from keys to values: how its weight becomes that matrix, and its maps a product with it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import fold, pad, unfold

from dissect.arguments import refusal
from dissect.models.stylegan2_layers import EqualConv
from dissect.network.units import is_one_of
from dissect.rewriting.products import times


class Form(NamedTuple):
    """The geometry of a linear layer, whose matrix is [o * kh * kw, i], as ``W.permute(0, 2, 3, 1)`` of a convolution.

    A row of the matrix is what one key adds to one place of the kernel. `rows` of keys times the matrix (`product`),
    brought to `maps`, is what the layer gives, without its bias; a convolution gathers its keys before the product, a
    transposed one spreads its values after it.

    Attributes:
        order: axes of the weight that become o, kh, kw, i.
        transposed: whether values are spread.
        kernel: kh, kw.
        stride: of the convolution.
        dilation: the same.
        padding: of a transposed convolution.
        output_padding: the same.
        border: what a convolution adds at the left, right, top and bottom.
        border_mode: of what, as in ``torch.nn.functional.pad``.
        scale: the weight is multiplied by it when it is used.
    """

    order: tuple[int, ...]
    transposed: bool = False
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    output_padding: tuple[int, int] = (0, 0)
    border: tuple[int, ...] = (0, 0, 0, 0)
    border_mode: str = "constant"
    scale: float = 1.0

    @property
    def taps(self) -> int:
        """The places of the kernel, kh * kw."""
        return math.prod(self.kernel)

    def matrix(self, weight: Tensor) -> Tensor:
        """[o * kh * kw, i], a copy of a weight."""
        wide = weight.detach() if weight.ndim == 4 else weight.detach()[:, :, None, None]
        wide = wide.permute(self.order)
        return wide.clone(memory_format=torch.contiguous_format).view(-1, wide.shape[3])

    def weight(self, matrix: Tensor, shape: torch.Size) -> Tensor:
        """The weight of a shape that has this matrix."""
        wide = matrix.view(-1, *self.kernel, matrix.shape[1])
        back = wide.permute([self.order.index(axis) for axis in range(4)])
        return back.reshape(shape).contiguous()

    def rows(self, keys: Tensor) -> Tensor:
        """What of keys [n, i, h, w] is multiplied: a row per place of the output, or per key of a transposed one."""
        keys = keys * self.scale if self.scale != 1 else keys
        if self.transposed:
            return keys.permute(0, 2, 3, 1).reshape(-1, keys.shape[1])
        if any(self.border):
            keys = pad(keys, self.border, self.border_mode)
        channels = keys.shape[1]
        if self.taps == 1 and self.stride == (1, 1):
            return keys.permute(0, 2, 3, 1).reshape(-1, channels)
        patches = unfold(keys, self.kernel, self.dilation, 0, self.stride)
        patches = patches.view(len(keys), channels, self.taps, -1).permute(0, 3, 2, 1)
        return patches.reshape(-1, self.taps * channels).contiguous()

    def product(self, rows: Tensor, matrix: Tensor) -> Tensor:
        """`rows` times a matrix."""
        return rows @ matrix.view(-1, rows.shape[1]).T

    def gradient(self, rows: Tensor, of_product: Tensor) -> Tensor:
        """The gradient by the matrix, from the gradient by the product."""
        found = times(of_product.T, rows.T)
        return found.view(-1, rows.shape[1] if self.transposed else rows.shape[1] // self.taps)

    def maps(self, product: Tensor, images: int, size: tuple[int, int]) -> Tensor:
        """What the layer gives [n, o, H, W], of the product for keys of h rows and w columns."""
        if not self.transposed:
            height, width = self.output_size(size)
            return product.view(images, height, width, -1).permute(0, 3, 1, 2)
        columns = product.view(images, size[0] * size[1], -1).transpose(1, 2)
        return fold(columns, self.output_size(size), self.kernel, self.dilation, self.padding, self.stride)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """H, W for keys of h rows and w columns."""
        borders = (self.border[2] + self.border[3], self.border[0] + self.border[1])
        each = zip(size, self.kernel, self.stride, self.dilation, self.padding, self.output_padding, borders)
        spans = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1 + more if self.transposed else (n + border - d * (k - 1) - 1) // s + 1
            for n, k, s, d, p, more, border in each
        ]
        return spans[0], spans[1]


def form_of(name: str, module: nn.Module) -> Form:
    """The form of a convolution, a transposed one or a fully connected layer.

    Raises:
        TypeError: a layer that is none.
        ValueError: a grouped convolution, of which each group is a memory of its own.
    """
    if isinstance(module, EqualConv):
        k, scale = module.weight.shape[-1], 1 / math.sqrt(module.weight[0].numel())
        if module.upsample:
            return Form((0, 2, 3, 1), True, (k, k), (2, 2), scale=scale)
        return Form((0, 2, 3, 1), kernel=(k, k), border=(k // 2,) * 4, scale=scale)
    if is_one_of(module, (nn.Linear,)):
        return Form((0, 2, 3, 1))
    if not is_one_of(module, (nn.Conv2d, nn.ConvTranspose2d)):
        raise refusal(
            TypeError(
                f"layer must be a Conv2d, a ConvTranspose2d, a Linear, or a layer of ProGAN or StyleGAN2, which are "
                f"memories of keys and values, but {name!r} is a {type(module).__name__}."
            )
        )
    conv: Any = module
    if conv.groups != 1:
        raise refusal(
            ValueError(
                f"layer must be a convolution of one group, but {name!r} has groups={conv.groups}, each a memory of "
                "its own: a key is a part of the channels there, which is not supported."
            )
        )
    if isinstance(module, nn.ConvTranspose2d):
        return Form((1, 2, 3, 0), True, conv.kernel_size, conv.stride, conv.dilation, conv.padding, conv.output_padding)
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    border = tuple(conv._reversed_padding_repeated_twice)
    return Form(
        (0, 2, 3, 1), False, conv.kernel_size, conv.stride, conv.dilation, border=border, border_mode=mode
    )  # fmt: skip
