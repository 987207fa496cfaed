"""Projected descent of 3x3 filters in Winograd's form: fewer products, and each number of the weight visited once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from dissect import ops

if TYPE_CHECKING:
    from dissect.rewriting.solving import Problem

#: F(2x2, 3x3) of Lavin & Gray 2016: what keys and filters are multiplied by at each axis, B^T and G.
KEYS = torch.tensor([[1.0, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
FILTERS = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
#: Outputs of a block.
BLOCK = 16


def suits(problem: Problem) -> bool:
    """Whether a problem can be descended so: a plain 3x3 convolution in float32, by a compiled engine's op."""
    form, start = problem.memory.form, problem.start
    plain = not form.transposed and form.kernel == (3, 3) and form.stride == form.dilation == (1, 1)
    here = start.device.type == "cpu" and start.dtype is torch.float32 and ops.backends("filter_step")[0][1] is None
    return problem.memory.linear and plain and here


class Filters:
    """The filters of a problem on their way: weights and Adam's moments [3, B, i, 9, 16], and what they give.

    What they give is kept in Winograd's form [B, 16, T, 16], by block of outputs, frequency, tile of 2x2 places and
    output; a projection changes it by a product with the keys' parts along the directions alone.

    Args:
        problem: one that `suits`.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem, form, maps = problem, problem.memory.form, problem.keys.maps
        size = form.output_size((maps.shape[2], maps.shape[3]))
        self._odd = size[0] % 2, size[1] % 2
        keys = pad(maps * form.scale, form.border, form.border_mode) if any(form.border) else maps * form.scale
        self._tiles = tiles_of(pad(keys, (0, self._odd[1], 0, self._odd[0])))
        self._basis = problem.directions.contiguous()
        self._along = torch.einsum("is,ift->sft", self._basis, self._tiles)
        bias = 0 if problem.bias is None else problem.bias[:, None, None]
        self._wanted = self._places(problem.values - bias)
        self._inside = self._places(torch.ones_like(problem.values)) if any(self._odd) else None
        self._start = self._blocks(problem.start)
        self._state = torch.stack([self._start, *torch.zeros(2, *self._start.shape)])
        self._first = self.product = product_of(self._start, self._tiles)
        blocks, _, tiles, _ = self.product.shape
        self._half, self._gradient = (torch.empty(blocks, 4, count, tiles, BLOCK) for count in (2, 4))
        self._change: Tensor = torch.empty(0)

    def loss(self) -> tuple[Tensor, Tensor]:
        """The loss, and its gradient by the product."""
        apart = gathered(gathered(self.product.unflatten(1, (4, 4)), 1), 2).flatten(1, 2).sub_(self._wanted)
        if self._inside is not None:
            apart.mul_(self._inside)
        loss, of_values = self._problem.of_apart(apart)
        spread(of_values.unflatten(1, (2, 2)), 1, self._half)
        return loss, spread(self._half, 2, self._gradient).flatten(1, 2)

    def step(self, gradient: Tensor, number: int, rate: float) -> None:
        """Adam's step."""
        self.product = ops.filter_step(self._state, self._tiles, gradient, number, rate)

    def project(self) -> None:
        """Brings the weight back to ``W0 + Lambda D^T``."""
        weight, basis = self._state[0].flatten(2), self._basis.expand(len(self._start), -1, -1)
        start = self._start.flatten(2)
        self._change = basis.mT @ weight.sub_(start)
        torch.baddbmm(start, basis, self._change, out=weight)
        self.product = self._first + product_of(self._change.unflatten(2, (9, BLOCK)), self._along)

    def lambdas(self) -> Tensor:
        """[o * 9, S], of the last projection."""
        wide = self._change.unflatten(2, (9, BLOCK)).permute(0, 3, 2, 1)
        found: Tensor = wide.reshape(-1, wide.shape[3])[: len(self._problem.start)]
        return found

    def _blocks(self, matrix: Tensor) -> Tensor:
        """[B, i, 9, 16] of a matrix [o * 9, i]."""
        wide = _whole(matrix.view(-1, 9, matrix.shape[1]))
        return wide.view(-1, BLOCK, *wide.shape[1:]).permute(0, 3, 2, 1).contiguous()

    def _places(self, values: Tensor) -> Tensor:
        """[B, 4, T, 16] of values [n, o, H, W]."""
        even = pad(values, (0, self._odd[1], 0, self._odd[0]))
        parts = even.unfold(2, 2, 2).unfold(3, 2, 2).permute(1, 4, 5, 0, 2, 3)
        wide = _whole(parts.reshape(parts.shape[0], 4, -1))
        return wide.view(-1, BLOCK, *wide.shape[1:]).permute(0, 2, 3, 1).contiguous()


def _whole(values: Tensor) -> Tensor:
    """Zeros after [o, ...], up to whole blocks."""
    more = -len(values) % BLOCK
    return torch.cat([values, values.new_zeros(more, *values.shape[1:])])


def tiles_of(keys: Tensor) -> Tensor:
    """[i, 16, T] of keys [n, i, h, w], borders included: of each 4x4 window ``B^T d B``, two places apart."""
    windows = keys.unfold(2, 4, 2).unfold(3, 4, 2).permute(1, 4, 5, 0, 2, 3)
    return (torch.kron(KEYS, KEYS) @ windows.reshape(keys.shape[1], 16, -1)).contiguous()


def product_of(filters: Tensor, tiles: Tensor) -> Tensor:
    """[B, 16, T, 16], the sum over channels of filters [B, i, 9, 16] times tiles [i, 16, T]."""
    spectra = torch.kron(FILTERS, FILTERS) @ filters
    return torch.einsum("bifo,ift->bfto", spectra, tiles).contiguous()


def gathered(product: Tensor, axis: int) -> Tensor:
    """A^T along an axis: values of a product, two of four."""
    first, second, third, last = product.unbind(axis)
    return torch.stack([first + second + third, second - third - last], axis)


def spread(values: Tensor, axis: int, to: Tensor) -> Tensor:
    """A along an axis, four of two, into memory for them.

    Parts so small are added by one thread: others, which torch would wake, wait for more while the op has its own.
    """
    (first, last), parts = values.unbind(axis), to.unbind(axis)
    parts[0].copy_(first)
    torch.add(first, last, out=parts[1])
    torch.sub(first, last, out=parts[2])
    torch.neg(last, out=parts[3])
    return to
