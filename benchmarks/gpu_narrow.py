"""The end of a visit of `TailThreshold` on a GPU: brackets narrowed by what was binned, one launch or eighty."""

from functools import partial

import torch
from gpu_timing import host_microseconds, milliseconds, rotation, row

from dissect import ops, reference
from dissect.reference.narrow import Bracket, Histogram, Narrowing

UNITS, BINS = 512, 4096


def narrow_rows(copy, serving):
    """Pairs of a row's name and what measures it.

    Args:
        copy: GB/s of a large copy.
        serving: gives the backends of an op.
    """
    for backend in serving("narrow"):
        yield f"narrow[{UNITS} units, {BINS} bins, {backend}]", partial(narrow_row, backend, copy)


def narrow_row(backend, copy):
    """A later visit's end; asserted first: what is found is what the CPU finds."""
    by = Narrowing((20_000,), False, 32, BINS)
    ends = [ended(seed) for seed in range(rotation(8 * UNITS * BINS))]
    expected = ops.narrow(*(type(part)(*(tensor.cpu() for tensor in part)) for part in ends[0]), by)
    if not all(
        torch.equal(one.cpu(), other) for one, other in zip(ops.narrow(*ends[0], by, backend=backend), expected)
    ):
        raise AssertionError("narrow differs from the CPU's")

    def call(end):
        return ops.narrow(*end, by, backend=backend)

    ms = milliseconds(call, ends, calls=10 if backend == "cuda" else 1)
    return row(ms, bytes_moved=8 * UNITS * BINS, copy=copy, host_us=host_microseconds(call, ends))


def ended(seed):
    """A bracket, and a histogram of about 40,000 samples per unit."""
    generator = torch.Generator("cuda").manual_seed(seed)
    bins = torch.randint(0, 20, (UNITS, BINS), device="cuda", generator=generator)
    low = reference.keys_of(torch.ones(UNITS)).cuda()
    zeros, high, shift = torch.zeros_like(low), low + (BINS << 12) - 1, torch.full_like(low, 12)
    return Bracket(low, high, low, zeros, zeros), Histogram(low, high, shift, bins, zeros)
