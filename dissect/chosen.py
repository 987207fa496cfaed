"""What is drawn from images by a hash of their numbers: the same ones in any batches, order, and split."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: 2^64 / golden ratio, as int64 wraps: its multiples lie evenly, so that groups of neighbouring numbers are as large.
_GOLDEN = -7046029254386353131


def half_of(numbers: Tensor) -> Tensor:
    """[N] int64: 0 or 1, the half that an image belongs to: the top bit of its number times 2^64 / golden ratio.

    Example:
        >>> half_of(torch.arange(8))
        tensor([0, 1, 0, 1, 0, 0, 1, 0])
    """
    return group_of(numbers, 2)


def group_of(numbers: Tensor, groups: int) -> Tensor:
    """[N] int64 in [0, groups): the group that an image belongs to, by the top bits of its number's hash.

    Those of twice as many groups are halves of these, and the lower half of the groups is half 0 (`half_of`).

    Args:
        numbers: [N] int64, each image's number in the data set.
        groups: a power of two, at most 2^31.

    Example:
        >>> group_of(torch.arange(8), 4)
        tensor([0, 2, 0, 3, 1, 0, 2, 1])
    """
    bits = groups.bit_length() - 1
    if not bits:
        return torch.zeros_like(numbers, dtype=torch.int64)
    return ((numbers.long() * _GOLDEN) >> (64 - bits)) & (groups - 1)


def rank_keys(numbers: Tensor) -> Tensor:
    """[N] int64 keys without a pattern, different ones for different numbers: those of the lowest keys are a sample.

    (The finalizer of SplitMix64, Steele et al. 2014, a bijection.)
    """
    mixed = numbers.cpu().numpy().astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return torch.from_numpy((mixed ^ (mixed >> np.uint64(31))).view(np.int64))


def cycles(count: int, number: int, seed: int) -> Tensor:
    """[count, number] int64: random permutations of `number` things that leave none in its place.

    Each is one cycle through all, all of which are equally likely (as Sattolo's algorithm draws them).

    Args:
        count: how many permutations.
        number: of things, at least 2.
        seed: of the draw.

    Example:
        >>> moved = cycles(2, 5, seed=0)
        >>> moved.shape, bool((moved == torch.arange(5)).any()), moved.sort(1).values[0].tolist()
        (torch.Size([2, 5]), False, [0, 1, 2, 3, 4])
    """
    generator = torch.Generator().manual_seed(seed)
    found = torch.empty(count, number, dtype=torch.int64)
    for row in found:
        order = torch.randperm(number, generator=generator)
        row[order] = order.roll(-1)
    return found
