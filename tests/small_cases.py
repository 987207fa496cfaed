"""Small random problems for the kernels, of every dtype, layout, border, and of odd sizes."""

import random
from typing import NamedTuple

import seeding
import torch
from generate import DTYPES, LAYOUTS, laid_out, random_grid
from torch import Tensor

from dissect import Grid, ops, reference


class Problem(NamedTuple):
    """A random problem on the CPU."""

    maps: Tensor
    thresholds: Tensor
    planes: Tensor
    num_labels: int
    grid: Grid


def random_maps(choose: random.Random, sizes: tuple[int, int] | None = None) -> Tensor:
    """[N, U, h, w]: ties, zeros, subnormals and large magnitudes among them."""
    images, units = choose.randint(1, 2), choose.choice((1, 2, 3, 3, 18))
    source = sizes or choose.choice(((1, 1), (1, 5), (2, 2), (3, 7), (5, 4)))
    maps = torch.randn(images, units, *source) * choose.choice((1.0, 1.0, 1e-6, 1e-39, 1e30))
    maps = choose.choice((Tensor.relu, Tensor.round, Tensor.clone))(maps)
    dtype = choose.choice(DTYPES)
    if dtype == torch.float16:
        maps = maps.clamp(-60000, 60000)
    return laid_out(maps.to(dtype), choose.choice(LAYOUTS))


def random_planes(choose: random.Random, num_images: int, target: tuple[int, int]) -> tuple[Tensor, int]:
    """Label planes and the number of labels: in blocks or as noise, contiguous or not."""
    num_labels, block = choose.choice((1, 2, 7, 300)), choose.choice((1, 4))
    shape = num_images, choose.randint(1, 3), -(-target[0] // block), -(-target[1] // block)
    coarse = torch.randint(0, num_labels, shape)
    labels = coarse.repeat_interleave(block, 2).repeat_interleave(block, 3)[..., : target[0], : target[1]]
    narrow = (torch.uint8,) if num_labels < 256 else ()
    labels = labels.to(choose.choice((*narrow, torch.int16, torch.int32, torch.int64)))
    return (labels.transpose(2, 3).contiguous().transpose(2, 3) if choose.random() < 0.3 else labels), num_labels


def random_problem(seed: int) -> Problem:
    """A problem that depends on its seed alone."""
    choose = random.Random(seed)
    seeding.seed(seed)
    maps = random_maps(choose)
    small = ((1, 1), (3, 2), (7, 3))
    target = choose.choice(small if maps.shape[1] > 3 else (*small, (9, 11), (2, 17), (19, 5)))
    planes, num_labels = random_planes(choose, len(maps), target)
    # Thresholds that some value equals: firing is strict.
    values = maps.float().transpose(0, 1).flatten(1)
    thresholds = values[:, choose.randrange(values.shape[1])].clone()
    return Problem(maps, thresholds, planes, num_labels, random_grid(choose, tuple(maps.shape[2:]), target))


def random_bracket(seed: int, num_units: int, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Keys low and high, shift, for 64 bins; narrow, open at an end, or empty."""
    choose = random.Random(seed)
    values = torch.randn(2, num_units).sort(0).values
    low, high = reference.keys_of(values if bits == 32 else values.to(torch.float16))
    low = torch.zeros_like(low) if choose.random() < 0.2 else low
    high = torch.full_like(high, (1 << bits) - 1) if choose.random() < 0.4 else high
    if num_units > 1:
        low[1], high[1] = 1, 0  # left out
    shift = torch.tensor([max(0, int(width).bit_length() - 6) for width in (high - low).tolist()])
    return low, high, shift


def counted(
    problem: Problem, bracket: tuple[Tensor, ...], grid: Grid | None, sample: str, backend: str
) -> list[Tensor]:
    """Bins and counts above of one call."""
    units = problem.maps.shape[1]
    device = problem.maps.device
    bins = torch.ones(units, 64, dtype=torch.int64, device=device)
    above = torch.ones(units, dtype=torch.int64, device=device)
    ops.tail_histogram(problem.maps, *bracket, bins, above, grid=grid, sample=sample, backend=backend)
    return [bins, above]


def random_blend(seed: int) -> tuple[Tensor, Tensor, float | Tensor, Tensor | None]:
    """Features, alpha, value, mask."""
    choose = random.Random(seed)
    seeding.seed(seed)
    features = random_maps(choose)
    images, units, height, width = features.shape
    alpha = torch.rand(choose.choice(((units,), (images, units))))
    alpha = torch.where(torch.rand_like(alpha) < 0.5, alpha.round(), alpha)
    value = choose.choice((0.0, 2.5, torch.randn(units), torch.randn(features.shape), torch.randn(1, units, 1, width)))
    mask = choose.choice((None, torch.rand(height, width), torch.rand(images, 1, height, width) > 0.5))
    return features, alpha, value, mask
