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
