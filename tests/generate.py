"""Random input for the ops: odd sizes, every dtype, layout, border."""

import random
from typing import NamedTuple

import seeding
import torch
from torch import Tensor

from dissect import Grid

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LAYOUTS = ("contiguous", "channels_last", "sliced", "expanded", "transposed")


class Case(NamedTuple):
    """A random problem."""

    activations: Tensor
    thresholds: Tensor
    planes: Tensor
    num_labels: int
    grid: Grid


def laid_out(maps: Tensor, layout: str) -> Tensor:
    """The same values (expanded: the first image repeated) with other strides."""
    if layout == "channels_last":
        return maps.contiguous(memory_format=torch.channels_last)
    if layout == "sliced":
        wide = maps.new_full([2 * size + 1 for size in maps.shape], float("nan"))
        view = wide[1::2, 1::2, 1::2, 1::2]
        return view.copy_(maps)
    if layout == "expanded":
        return maps[:1].expand_as(maps)
    if layout == "transposed":
        return maps.transpose(2, 3).contiguous().transpose(2, 3)
    return maps.contiguous()


def random_grid(choose: random.Random, source: tuple[int, int], target: tuple[int, int]) -> Grid:
    """Any of the constructors, with any border."""
    border = choose.choice(("edge", "zeros"))
    kind = choose.choice(("half_pixel", "half_pixel", "align_corners", "receptive_field"))
    if kind == "receptive_field":
        layers = [(3, 1, 1), (2, 2, 0), (5, choose.choice((1, 2)), choose.choice((0, 2)))]
        return Grid.receptive_field(layers, source, target, image=(2 * target[0], 2 * target[1]), border=border)
    return getattr(Grid, kind)(source, target, border=border)


def random_case(seed: int) -> Case:
    """A case that depends on its seed alone."""
    choose = random.Random(seed)
    seeding.seed(seed)
    images, units, planes = choose.randint(0, 4), choose.choice((1, 3, 16, 17, 33)), choose.randint(1, 4)
    source = choose.choice(((1, 1), (1, 5), (2, 2), (3, 7), (8, 8), (13, 13)))
    target = choose.choice(((1, 1), (7, 3), (8, 8), (23, 29), (31, 64), (5, 70)))
    num_labels = choose.choice((1, 2, 7, 300))
    maps = torch.randn(images, units, *source) * choose.choice((1.0, 1e-30, 1e30))
    if choose.random() < 0.3:
        maps = maps.relu()
    if choose.random() < 0.3:
        maps = maps.round()  # many ties at the threshold
    dtype = choose.choice(DTYPES)
    if dtype == torch.float16:
        maps = maps.clamp(-60000, 60000)
    maps = laid_out(maps.to(dtype), choose.choice(LAYOUTS) if images else "contiguous")
    # Thresholds that some value equals: firing is strict.
    values = maps.float().transpose(0, 1).flatten(1)
    thresholds = values[:, choose.randrange(values.shape[1])].clone() if images else torch.zeros(units)
    block = choose.choice((1, 4))
    coarse = torch.randint(0, num_labels, (images, planes, -(-target[0] // block), -(-target[1] // block)))
    labels = coarse.repeat_interleave(block, 2).repeat_interleave(block, 3)[..., : target[0], : target[1]]
    dtypes = (torch.uint8, torch.int16, torch.int32) if num_labels < 256 else (torch.int16, torch.int32, torch.int64)
    grid = random_grid(choose, source, target)
    return Case(maps, thresholds, labels.to(choose.choice(dtypes)), num_labels, grid)
