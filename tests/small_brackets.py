"""Brackets and bins at random, which need not fit together, for `narrow`."""

import random

import seeding
import torch

from dissect.reference.narrow import Bracket, Histogram, Narrowing, narrowest_shift


def random_brackets(seed):
    """A bracket, a histogram, and by what it is narrowed; some units are known, left out, torn, or of hot cells."""
    choose = random.Random(seed)
    seeding.seed(seed)
    units, bits = choose.randint(1, 9), choose.choice((16, 32))
    num_bins = 1 << 16 if bits == 16 else choose.choice((64, 4096))
    low, high, spare, kept, least = torch.randint(0, 1 << bits, (5, units))
    low, high = torch.minimum(low, high), torch.maximum(low, high)
    high = torch.where(torch.rand(units) < 0.2, low, high)
    kept = torch.where(torch.rand(units) < 0.5, 0, kept)
    first, last = (low, high) if choose.random() < 0.5 else torch.randint(0, 1 << bits, (2, units)).sort(0).values
    first, last = torch.where(low == high, 1, first), torch.where(low == high, 0, last)
    shift = narrowest_shift(first, last, num_bins)
    bins = torch.randint(0, 50, (units, num_bins)) * (torch.rand(units, num_bins) < choose.choice((0.001, 0.5)))
    bins *= torch.arange(num_bins) <= ((last - first) >> shift)[:, None]
    above, most = torch.randint(0, 30, (units,)), int(bins.sum(1).amax()) + 40
    ranks = tuple(choose.randint(1, most) for _ in range(choose.choice((1, 3))))
    given = Bracket(low, high, spare, kept, least), Histogram(first, last, shift, bins, above)
    return *given, Narrowing(ranks, choose.random() < 0.3, bits, choose.choice((64, 4096)))
