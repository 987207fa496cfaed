"""What torch makes by default changes no op: float32 is what the engines read and write."""

import pytest
import torch
from generate import random_case

from dissect import ops, stats


@pytest.fixture(params=[torch.float64, torch.bfloat16])
def other(request):
    torch.set_default_dtype(request.param)
    yield
    torch.set_default_dtype(torch.float32)


def everything(backend):
    """All ops' results on some problem."""
    case = random_case(3)
    maps, units = case.activations, case.activations.shape[1]
    counts = ops.iou_counts(maps, case.thresholds, case.planes, case.num_labels, grid=case.grid, backend=backend)
    keys = torch.zeros(units, dtype=torch.int64)
    bins, above, shift = torch.zeros(units, 256, dtype=torch.int64), keys.clone(), keys + 24
    ops.tail_histogram(maps, keys, keys + (1 << 32) - 1, shift, bins, above, grid=case.grid, backend=backend)
    edges = torch.stack([case.thresholds, case.thresholds + 0.5], 1)
    swept = ops.threshold_sweep(maps, edges, case.planes, case.num_labels, grid=case.grid, backend=backend)
    alpha = (torch.arange(units) % 2).to(torch.float32)
    blended = ops.blend_units(maps, alpha, 0.5, backend=backend)
    peaks = stats.Peaks(2)
    peaks.add(maps, torch.arange(len(maps)))
    return *counts, *swept, bins, above, blended, ops.image_peaks(maps, backend=backend), peaks.values()


CASE = random_case(3)
EXPECTED = everything("reference")


@pytest.mark.parametrize("backend", ["cpp", "reference"])
def test_no_op_asks_for_the_default(backend, other, monkeypatch):
    monkeypatch.setitem(globals(), "random_case", lambda _: CASE)
    found = everything(backend)
    for ours, expected in zip(found, EXPECTED, strict=True):
        assert ours.dtype == expected.dtype
        assert torch.equal(ours, expected)
