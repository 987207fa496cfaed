"""Where generated images come from: the published z sets, and seeds of noise."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dissect.arguments import integer, refusal, speaks

#: Vectors drawn at a time, so that what comes before `start` takes no memory.
BLOCK = 256


@speaks
def latents(
    generator: nn.Module | Callable[..., Any] | tuple[int, ...], count: int, seed: int = 1, *, start: int = 0
) -> Tensor:
    """The z of `count` images: numbers `start`, `start + 1`, ... of the set that `seed` names.

    ::

        RandomState(seed).standard_normal((start + count) * C).reshape(-1, C)[start:]      # rounded to float32

    the published sets (seed 1 is the one that most figures show). The first k of n are the same as the first k of k,
    and shards that are drawn apart by `start` are those of one long set, to the bit, on every machine.

    Args:
        generator: whose z it will be: anything with an attribute `z_shape`, else a module whose first convolution or
            linear layer sees z, else the shape of one z as a tuple.
        count: how many.
        seed: of the set, in [0, 2^32).
        start: number of the first.

    Returns:
        float32 [count, *z_shape] on the CPU; for a module in the dtype of its weights and on their device. A module
        that starts with a convolution gets [count, C, 1, 1].

    Raises:
        ValueError: count or start is negative, seed outside its range, or the shape of z not one of positive integers.
        TypeError: the shape of z cannot be told; count, seed or start is no integer.

    Example:
        >>> z = dissect.latents((512,), 10)
        >>> torch.equal(dissect.latents((512,), 4, start=6), z[6:])
        True
    """
    count, seed, start = _checked_range(count, seed, start, 2**32)
    shape = _z_shape(generator)
    length = math.prod(shape)
    z = torch.empty(count, length, dtype=torch.float32, device="cpu")
    filled = 0
    for block in normal_blocks(length, count, seed, start):
        z[filled : filled + len(block)] = block
        filled += len(block)
    weights = next(generator.parameters(), None) if isinstance(generator, nn.Module) else None
    return z.view(count, *shape) if weights is None else z.view(count, *shape).to(weights)


@speaks
def noise_seeds(count: int, seed: int = 1, *, start: int = 0) -> Tensor:
    """The noise seeds of images `start`, `start + 1`, ...: a number of its own for each seed and image.

    Args:
        count: how many.
        seed: of the set, in [0, 2^31).
        start: number of the first; it and `count` together at most 2^32.

    Returns:
        int64 [count]: `seed * 2^32 + number`.

    Raises:
        TypeError: count, seed or start is no integer.
        ValueError: count or start is negative or too large, or seed outside its range.

    Example:
        >>> dissect.noise_seeds(3, seed=0, start=5).tolist()
        [5, 6, 7]
    """
    count, seed, start = _checked_range(count, seed, start, 2**31)
    if start + count > 2**32:
        raise refusal(ValueError(f"start + count must be at most 2^32, but got {start} + {count}."))
    return torch.arange(start, start + count, dtype=torch.int64, device="cpu") + (seed << 32)


def normal_blocks(length: int, count: int, seed: int, start: int = 0) -> Iterator[Tensor]:
    """The vectors [n, length] of `latents`, float32, a block at a time."""
    stream = np.random.RandomState(seed)
    for first in range(0, start, BLOCK):
        stream.standard_normal(min(BLOCK, start - first) * length)
    for first in range(0, count, BLOCK):
        rows = min(BLOCK, count - first)
        yield torch.from_numpy(stream.standard_normal(rows * length).astype(np.float32)).view(rows, length)


def _z_shape(generator: Any) -> tuple[int, ...]:
    if isinstance(generator, tuple) or hasattr(generator, "z_shape"):
        shape = generator if isinstance(generator, tuple) else generator.z_shape
        if not isinstance(shape, Sequence) or not all(isinstance(n, numbers.Integral) and int(n) > 0 for n in shape):
            raise refusal(ValueError(f"the shape of one z must be a tuple of positive integers, but got {shape!r}."))
        return tuple(int(n) for n in shape)
    if isinstance(generator, nn.Module):
        for module in generator.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                return (module.in_channels, 1, 1)
            if isinstance(module, nn.Linear):
                return (module.in_features,)
    raise refusal(
        TypeError(
            "generator must have an attribute z_shape, start with a convolution or a linear layer, or be the "
            f"shape of one z as a tuple, but got {type(generator).__name__}."
        )
    )


def _checked_range(count: int, seed: int, start: int, seeds: int) -> tuple[int, int, int]:
    count, start, seed = integer("count", count, 0), integer("start", start, 0), integer("seed", seed, -(2**63))
    if not 0 <= seed < seeds:
        raise refusal(ValueError(f"seed must be in [0, {seeds}), but got {seed}."))
    return count, seed, start
