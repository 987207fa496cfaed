"""Where units are edited: everywhere, or in one block of a map's cells for each z."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dissect.arguments import integer, refusal
from dissect.generators.rendering import Renderer

#: Everywhere; one block per z, all equally likely; or the first cell of each z's block, [N, 2].
Cells = Literal["uniform"] | Tensor | None


class Region(NamedTuple):
    """The cells P of each z.

    Attributes:
        name: "everywhere", "uniform" or "given".
        mask: [N, h, w] float32, 1 at P; None is everywhere.
    """

    name: str
    mask: Tensor | None

    @classmethod
    def of(cls, renderer: Renderer, cells: Cells, block: int, seed: int) -> Region:
        """The region of each z.

        Raises:
            TypeError, ValueError: cells or a block that the layer's map does not have.
        """
        (h, w), count = renderer.map_size, len(renderer)
        block = checked_block(block, (h, w))
        if cells is None:
            if block > 1:
                raise refusal(ValueError('block must come with cells, "uniform" for example, but cells is None.'))
            return cls("everywhere", None)
        if isinstance(cells, str):
            if cells != "uniform":
                raise refusal(ValueError(f'cells must be None, "uniform" or a tensor [N, 2], but got {cells!r}.'))
            places = (h - block + 1) * (w - block + 1)
            drawn = torch.randint(places, (count,), generator=torch.Generator().manual_seed(seed))
            firsts = torch.stack([drawn // (w - block + 1), drawn % (w - block + 1)], 1)
        else:
            firsts = _checked_cells(cells, (count, h - block + 1, w - block + 1))
        return cls("uniform" if isinstance(cells, str) else "given", block_masks(firsts, block, (h, w)))

    def pixels(self, carries: Tensor, rows: slice) -> Tensor:
        """[n] int64 on the CPU: how many pixels of P carry the class, of [n, H, W] bools of some z."""
        if self.mask is not None:
            carries = carries & enlarged(self.mask[rows].to(carries.device) > 0, carries.shape[1:])
        return carries.flatten(1).sum(1).cpu()


def block_masks(firsts: Tensor, block: int, size: tuple[int, int]) -> Tensor:
    """[N, h, w] float32: 1 in blocks that begin at these cells [N, 2]."""
    inside = [
        (torch.arange(length) >= first[:, None]) & (torch.arange(length) < first[:, None] + block)
        for length, first in zip(size, firsts.T)
    ]
    masks: Tensor = (inside[0][:, :, None] & inside[1][:, None, :]).float()
    return masks


def enlarged(mask: Tensor, size: torch.Size) -> Tensor:
    """[n, H, W]: each pixel's cell, of a mask [n, h, w]; a cell's pixels are those whose centres lie in it."""
    (h, w), (height, width) = mask.shape[1:], size
    rows = (torch.arange(height, device=mask.device) * 2 + 1) * h // (2 * height)
    columns = (torch.arange(width, device=mask.device) * 2 + 1) * w // (2 * width)
    return mask[:, rows][:, :, columns]


def checked_block(block: int, size: tuple[int, int]) -> int:
    """A block's rows and columns, which the map must have.

    Raises:
        TypeError, ValueError: it is no such number.
    """
    block = integer("block", block)
    if block > min(size):
        raise refusal(
            ValueError(f"block must be at most {min(size)}, as the layer's map is {list(size)}, not {block}.")
        )
    return block


def _checked_cells(cells: Tensor, allowed: tuple[int, int, int]) -> Tensor:
    count, rows, columns = allowed
    if not isinstance(cells, Tensor) or cells.dtype != torch.int64 or cells.shape != (count, 2):
        got = f"{cells.dtype} {list(cells.shape)}" if isinstance(cells, Tensor) else type(cells).__name__
        raise refusal(TypeError(f"cells must be int64 [N, 2] with N={count}, as z has, but got {got}."))
    cells = cells.cpu()
    wrong = (cells < 0).any(1) | (cells[:, 0] >= rows) | (cells[:, 1] >= columns)
    if bool(wrong.any()):
        raise refusal(
            ValueError(
                f"cells must begin blocks within the map, rows below {rows} and columns below {columns}, but one is "
                f"{cells[wrong][0].tolist()}."
            )
        )
    return cells
