"""observe on a GPU: the reference's bits, alone and captured in a graph, and launches that fail."""

import pytest
import torch
from generate import DTYPES, LAYOUTS, laid_out

from dissect import ops, reference
from dissect.ops.backends import cuda


def bracket(maps):
    """From -1/2 to 1 for every unit."""
    low, high = (reference.keys_of(torch.full((maps.shape[1],), end, dtype=maps.dtype)) for end in (-0.5, 1.0))
    return low, high, torch.full_like(low, int(high[0] - low[0]).bit_length() - 4)


@pytest.mark.parametrize("blends", [False, True])
@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "expanded"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5, 4, 7), (4, 64, 13, 13), (2, 512, 14, 14), (2, 32, 112, 112)])
def test_bits(serving, device, shape, dtype, layout, blends):
    maps = torch.randn(shape).to(dtype)
    low, high, shift = bracket(maps)
    thresholds, alpha = torch.randn(shape[1]), torch.randint(0, 3, shape[1:2]) / 2 if blends else None
    bins, above = torch.zeros(shape[1], 16, dtype=torch.int64), torch.zeros_like(low)
    on_device = laid_out(maps.to(device), layout)
    moved = [part.to(device) for part in (low, high, shift, bins, above)]
    options = {"thresholds": thresholds.to(device), "alpha": alpha.to(device) if blends else None, "value": 0.25}
    seen = ops.observe(on_device, *moved, **options, backend=serving("observe")).check()
    operands = (alpha[:, None, None], torch.tensor(0.25), torch.tensor(1.0)) if blends else ()
    expected = reference.observe(maps, low, high, shift, 16, thresholds, *operands)
    found = seen.peaks, moved[3], moved[4], seen.unit_area, on_device
    assert all(torch.equal(ours.cpu(), theirs) for ours, theirs in zip(found, expected, strict=True))


def test_a_captured_graph(serving, device):
    backend, maps = serving("observe"), torch.randn(4, 24, 9, 9, device=device)
    low, high, shift = (part.to(device) for part in bracket(maps.cpu()))
    bins, above = torch.zeros(24, 16, dtype=torch.int64, device=device), torch.zeros_like(low)
    ops.observe(maps, low, high, shift, bins, above, backend=backend)
    bins.zero_()
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.graph(graph):
        ops.observe(maps, low, high, shift, bins, above, backend=backend)
    assert not bins.any()
    graph.replay()
    graph.replay()
    expected = reference.tail_histogram(maps.cpu(), low.cpu(), high.cpu(), shift.cpu(), 16, None, None)
    assert torch.equal(bins.cpu(), 2 * expected[0])


def test_a_launch_that_fails_is_told_and_the_next_one_works(device, missing):
    reason = cuda.unavailable(device)
    if reason:
        missing("cuda", reason)
    # Two padded rows of one unit do not fit into any multiprocessor's shared memory.
    maps, planes = torch.ones(1, 1, 1, 40000, device=device), torch.ones(1, 1, 1, 4, dtype=torch.uint8, device=device)
    labels = ops.encode_labels(planes, 2)
    with pytest.raises(
        RuntimeError, match=r"iou_counts: the launch failed on device \d+ for activations \[1, 1, 1, 40"
    ):
        ops.iou_counts(maps, torch.zeros(1, device=device), labels, backend="cuda")
    counts = ops.iou_counts(maps[..., :4], torch.zeros(1, device=device), labels, backend="cuda")
    assert counts.check().unit_area.item() == 4
