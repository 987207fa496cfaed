"""Where units' thresholds lie after a visit, and what the next visit bins."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Bracket(NamedTuple):
    """What is known of each unit's threshold before a visit ends: keys [U], int64.

    Attributes:
        low: it is not below this one.
        high: it is not above this one.
        spare: below this one nothing will be asked for, it seems.
        kept: from here on the visit has seen all samples; 0 where it has seen whole maps.
        least: the least cell that the visit has seen, where its samples lie between cells.
    """

    low: Tensor
    high: Tensor
    spare: Tensor
    kept: Tensor
    least: Tensor


class Histogram(NamedTuple):
    """What a visit counted of each unit: int64.

    Attributes:
        first: [U] keys where the bins begin.
        last: [U] keys where they end; below `first` where the unit was left out.
        shift: [U], the width of a bin as a power of two.
        bins: [U, B], B a multiple of 64.
        above: [U], how many samples lie above the bins.
    """

    first: Tensor
    last: Tensor
    shift: Tensor
    bins: Tensor
    above: Tensor


class Narrowing(NamedTuple):
    """By which rules brackets are narrowed.

    Attributes:
        ranks: of the threshold among the visit's samples, from 1; or, where these were few that stand for all, of what
            seems to lie below it, above it, and well below.
        is_first: whether the visit was the first.
        bits: of a key, 16 or 32.
        num_bins: of the next visit, a power of two.
    """

    ranks: tuple[int, ...]
    is_first: bool
    bits: int
    num_bins: int


class Narrowed(NamedTuple):
    """What is known now, and what the next visit bins: [U] int64 each, but for the facts.

    Attributes:
        low: the threshold is not below this key.
        high: it is not above this one.
        spare: below this one nothing will be asked for, it seems.
        first: where the next bins begin; 1 where the threshold is known.
        last: where they end; 0 where it is known.
        shift: the width of a bin as a power of two.
        facts: [4]: of how many units the threshold is not known; of how many it may be below what was kept; of how many
            the brackets have no end in common with those before, and, if any, U minus the first such unit.
    """

    low: Tensor
    high: Tensor
    spare: Tensor
    first: Tensor
    last: Tensor
    shift: Tensor
    facts: Tensor


def narrow(bracket: Bracket, histogram: Histogram, by: Narrowing) -> Narrowed:
    """Narrows each unit's bracket to the bin that holds the sample of a rank, or by that sample's guessed neighbours.

    Where a bracket and a bin have no key in common, the samples are not those of the visits before.
    """
    known, top = bracket.low == bracket.high, (1 << by.bits) - 1
    sums = block_sums(histogram.bins)  # one look at a large histogram for all ranks
    found = [located(histogram, rank, top, sums) for rank in by.ranks]
    if len(found) > 1:
        # Where no cell is below 0 no pixel is: then a tail that ends at 0 is known by what lies above 0.
        zero = 1 << (by.bits - 1)
        low, high = torch.where(bracket.least >= zero, zero, bracket.low), bracket.high
        first, last, spare = found[0][0], found[1][1], found[2][0]
        unproved = torch.zeros_like(known)
    else:
        low, high = found[0]
        # Samples down there were left out, or were seen between cells of which some were; those above are right.
        beyond = ~known & (low < bracket.kept)
        high = torch.where(beyond, torch.maximum(high, bracket.kept - 1), high)
        high = torch.minimum(bracket.high, high)
        low = torch.where(beyond, bracket.low, torch.maximum(bracket.low, low))
        unproved = beyond & (low < bracket.kept - 1)  # where one key is left down there, it is that
        first, last, spare = low, high, low if by.is_first else torch.where(unproved, low, bracket.spare)
    torn = ~known & (low > high)
    low, high = torch.where(known, bracket.low, low), torch.where(known, bracket.high, high)
    # A unit whose threshold is known is left out: its window is empty.
    known = low == high
    first, last = torch.where(known, 1, first), torch.where(known, 0, last)
    shift = torch.zeros_like(first) if by.bits == 16 else narrowest_shift(first, last, by.num_bins)
    from_end = torch.arange(len(low), 0, -1, device=low.device)
    tear = torch.where(torn, from_end, 0).amax() if len(low) else from_end.sum()
    facts = torch.stack([(~known).sum(), unproved.sum(), torn.sum(), tear])
    return Narrowed(low, high, spare, first, last, shift, facts)


def located(histogram: Histogram, rank: int, top: int, sums: Tensor) -> tuple[Tensor, Tensor]:
    """[U] keys each, between which the rank-th largest sample lies.

    Args:
        histogram: of the samples.
        rank: from 1.
        top: the largest key.
        sums: `block_sums` of its bins.
    """
    first, last, shift, bins, above = histogram
    place = bin_of_rank(bins, rank - above, sums)
    low, high = first + (place << shift), first + ((place + 1) << shift) - 1
    over, under = above >= rank, above + sums.sum(1) < rank
    low = torch.where(over, last + 1, torch.where(under, 0, low))
    return low, torch.where(over, top, torch.where(under, first - 1, torch.minimum(high, last)))


def narrowest_shift(first: Tensor, last: Tensor, num_bins: int) -> Tensor:
    """[U]: the smallest shift with which [first, last] fits in num_bins (a power of two) bins."""
    # An integer below 2^53 is a float64 whose exponent tells how many bits it has: three launches on a GPU.
    bits = torch.frexp((last - first).clamp(min=0).double()).exponent
    return (bits - (num_bins.bit_length() - 1)).clamp(min=0).long()


def block_sums(bins: Tensor) -> Tensor:
    """[U, B / 64]: of each 64 bins. A rank's block is found by them, so that of a large histogram one block is read."""
    return bins.view(len(bins), bins.shape[1] // 64, 64).sum(2)


def bin_of_rank(bins: Tensor, rank: Tensor, sums: Tensor) -> Tensor:
    """[U]: the bin that holds the rank-th largest sample, 1 being the largest; the lowest where there are fewer.

    Args:
        bins: [U, B].
        rank: [U].
        sums: [U, B / 64], `block_sums` of the bins.
    """
    block = _last_at_least(sums, rank)
    beyond = torch.where(torch.arange(sums.shape[1], device=bins.device) > block[:, None], sums, 0).sum(1)
    blocks = bins.view(len(bins), sums.shape[1], 64)
    within = _last_at_least(blocks[torch.arange(len(bins), device=bins.device), block], rank - beyond)
    return block * 64 + within


def _last_at_least(counts: Tensor, rank: Tensor) -> Tensor:
    """[U]: the last column of [U, B] from which on at least `rank` are counted; 0 where there are fewer."""
    from_top = counts.flip(1).cumsum(1)
    return (counts.shape[1] - 1 - (from_top < rank[:, None]).sum(1)).clamp(min=0)
