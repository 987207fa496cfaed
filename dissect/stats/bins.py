"""Small arithmetic on histograms and grids that `TailThreshold` stands on."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

from dissect.arguments import refusal
from dissect.grid import Grid


def exact_fraction(fraction: float | str | Decimal | Fraction, name: str = "fraction") -> Fraction:
    """The number that a fraction is written as: 0.1 is 1/10.

    Raises:
        ValueError: it is no number.
    """
    try:
        return Fraction(str(fraction))
    except ValueError:
        raise refusal(ValueError(f"{name} must be a number such as 0.01, but got {fraction!r}.")) from None


#: How far around the rank, in per cent of it, a guess reaches.
MARGIN = 12


def guessed_rank(fraction: Fraction, samples: int) -> tuple[int, int]:
    """The threshold's rank among pixels that stand for all, and by how much that may be wrong."""
    rank = int(fraction * samples) + 1
    # Neighbours are alike, so that the samples are worth far fewer; a wrong guess costs two more visits.
    return rank, rank * MARGIN // 100 + 3 * math.isqrt(rank) + 1


#: So many choices of `sparse` pixels take turns.
CHOICES = 5


@lru_cache(maxsize=512)
def sparse(grid: Grid, choice: int) -> Grid:
    """About every fifth row and column, one of five choices: few pixels that stand for all in a guess.

    Each choice spreads over all places within a cell, and together they are nearly all rows and columns. One alone
    would have too much or too little of the edges, where zero padding makes some units fire.

    Args:
        grid: of all pixels.
        choice: its number, from 0 to 4.
    """
    height, width = grid.target_shape
    rows, columns = _spread(height, choice), _spread(width, (2 * choice + 1) % CHOICES)
    return Grid(grid.rows[rows], grid.columns[columns], grid.source_shape)


def _spread(size: int, shift: int) -> Tensor:
    """Of equal parts of [0, size) the place at (shift + 1/2) / 5 of each; all places where there are few."""
    if size < 16:
        return torch.arange(size)
    # A part is a little less than 5 long, so that it divides no cell.
    count = size // CHOICES + 1
    return (torch.arange(count) * 2 * CHOICES + 2 * shift + 1) * size // (2 * CHOICES * count)


def narrowest_shift(first: Tensor, last: Tensor, num_bins: int) -> Tensor:
    """[U]: the smallest shift with which [first, last] fits in num_bins (a power of two) bins."""
    # An integer below 2^53 is a float64 whose exponent tells how many bits it has: three launches on a GPU.
    bits = torch.frexp((last - first).clamp(min=0).double()).exponent
    return (bits - (num_bins.bit_length() - 1)).clamp(min=0).long()


def bin_of_rank(bins: Tensor, rank: Tensor) -> Tensor:
    """[U]: the bin that holds the rank-th largest sample, 1 being the largest; the lowest where there are fewer."""
    # First the block of 64 bins, then the bin: one pass over a large histogram instead of several.
    blocks = bins.view(len(bins), bins.shape[1] // 64, 64)
    sums = blocks.sum(2)
    block = _last_at_least(sums, rank)
    beyond = torch.where(torch.arange(sums.shape[1], device=bins.device) > block[:, None], sums, 0).sum(1)
    within = _last_at_least(blocks[torch.arange(len(bins), device=bins.device), block], rank - beyond)
    return block * 64 + within


def _last_at_least(counts: Tensor, rank: Tensor) -> Tensor:
    """[U]: the last column of [U, B] from which on at least `rank` are counted; 0 where there are fewer."""
    from_top = counts.flip(1).cumsum(1)
    return (counts.shape[1] - 1 - (from_top < rank[:, None]).sum(1)).clamp(min=0)


def located(
    first: Tensor, last: Tensor, shift: Tensor, bins: Tensor, above: Tensor, rank: int, top: int
) -> tuple[Tensor, Tensor]:
    """[U] keys each, between which the rank-th largest sample lies.

    Args:
        first: [U] keys where the bins begin.
        last: [U] keys where they end.
        shift: [U], the width of a bin as a power of two.
        bins: [U, B] counts.
        above: [U], how many samples lie above the bins.
        rank: from 1.
        top: the largest key.
    """
    place = bin_of_rank(bins, rank - above)
    low, high = first + (place << shift), first + ((place + 1) << shift) - 1
    over, under = above >= rank, above + bins.sum(1) < rank
    low = torch.where(over, last + 1, torch.where(under, 0, low))
    return low, torch.where(over, top, torch.where(under, first - 1, torch.minimum(high, last)))


def rebinned(
    own: tuple[Tensor, Tensor, Tensor, Tensor], first: Tensor, last: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Bins and counts above of histograms, had they binned [first, last] by 2^shift keys: edges of their own bins.

    Args:
        own: their first keys [R, U], shifts [R, U], bins [R, U, B] and counts above [R, U].
        first: [R, U].
        last: [R, U].
        shift: [R, U].
    """
    own_first, own_shift, own_bins, above = own
    keys = own_first[..., None] + (torch.arange(own_bins.shape[2], device=first.device) << own_shift[..., None])
    over, inside = keys > last[..., None], (keys >= first[..., None]) & (keys <= last[..., None])
    places = torch.where(inside, (keys - first[..., None]) >> shift[..., None], 0)
    bins = torch.zeros_like(own_bins).scatter_add_(2, places, torch.where(inside, own_bins, 0))
    return bins, above + torch.where(over, own_bins, 0).sum(2)
