"""Which half of its component each pixel lies in."""

import torch
from torch import Tensor

#: Of a pixel and a neighbour: the steps to those that come later, row by row.
STEPS = ((0, 1), (1, -1), (1, 0), (1, 1))


def component_halves(labels: Tensor, omit_last: bool = False) -> Tensor:
    """The halves of each component: of the pixels of one label that hang together, over corners too.

    With top, bottom, left and right the first and last rows and columns that a component has::

        halves[n, 0, y, x] = 1 (upper) where y < (top + bottom + 1) // 2, else 2 (lower)
        halves[n, 1, y, x] = 1 (left) where x < (left + right + 1) // 2, else 2 (right)

    and 0 where the label is 0. So the second half of an odd length is the larger one.

    Args:
        labels: [N, H, W] integers from 0 on; 0 is "no label".
        omit_last: the component of each image whose first pixel, row by row, comes last has no halves (0).

    Returns:
        [N, 2, H, W] uint8.
    """
    num_images, height, width = labels.shape
    first = _first_pixels(labels)
    there = labels != 0
    places = torch.arange(height * width, device=labels.device).view(height, width).expand_as(labels)
    halves = labels.new_zeros((num_images, 2, height, width), dtype=torch.uint8)
    for axis, at in enumerate((places // width, places % width)):
        flat = at.flatten(1)
        ends = [flat.scatter_reduce(1, first.flatten(1), flat, how, include_self=True) for how in ("amin", "amax")]
        middle = (ends[0] + ends[1] + 1) // 2
        halves[:, axis] = (1 + (at >= middle.gather(1, first.flatten(1)).view_as(at))) * there
    if omit_last:
        last = first.masked_fill(~there, -1).amax((1, 2), keepdim=True)
        halves *= (first != last)[:, None]
    return halves


def _first_pixels(labels: Tensor) -> Tensor:
    """[N, H, W] int64: the number, row by row, of the first pixel of each pixel's component."""
    height, width = labels.shape[1:]
    first = torch.arange(height * width, device=labels.device).view(height, width).expand_as(labels).contiguous()
    while True:
        known = first.clone()
        for down, right in STEPS:
            here = (slice(None), slice(0, height - down), slice(max(-right, 0), width - max(right, 0)))
            there = (slice(None), slice(down, height), slice(max(right, 0), width - max(-right, 0)))
            lower = torch.minimum(first[here], first[there])
            together = labels[here] == labels[there]
            for place in (here, there):
                first[place] = torch.where(together, torch.minimum(lower, first[place]), first[place])
        # A first pixel's own first pixel is one of the same component too.
        first = first.flatten(1).gather(1, first.flatten(1)).view_as(first)
        if torch.equal(first, known):
            return first
