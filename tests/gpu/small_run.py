"""Every kernel of the CUDA engine once on small problems, for compute-sanitizer; exits with 3 where bits differ."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from generate import DTYPES, LAYOUTS, Case, laid_out, random_case
from small_brackets import random_brackets

from dissect import Grid, ops, reference
from dissect.reference.narrow import Bracket, Histogram


def moved(tensor):
    """The same strides on the GPU."""
    if any(size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride())):
        return tensor[:1].cuda().expand_as(tensor)
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda").copy_(tensor)


def cases():
    """Random ones; every dtype and layout by vectors and by single values; runs of 64 bits."""
    for seed in range(28):
        case = random_case(seed)
        if len(case.activations):
            yield case
    torch.manual_seed(0)
    for dtype in DTYPES:
        for layout in LAYOUTS:
            for units in (3, 16):
                yield special(laid_out(torch.randn(2, units, 5, 6).to(dtype), layout), (11, 9))
        yield special(torch.randn(1, 2, 3, 3).to(dtype), (4, 40_000))


def special(maps, target):
    """A problem of these maps."""
    planes = torch.randint(0, 7, (len(maps), 2, *target))
    return Case(maps, torch.full((maps.shape[1],), 0.5), planes, 7, Grid.half_pixel(maps.shape[2:], target))


def run(case):
    """True if all results are the reference's."""
    maps, num_units = moved(case.activations), case.activations.shape[1]
    labels = ops.encode_labels(case.planes, case.num_labels)
    on_device = ops.EncodedLabels(labels.runs.cuda(), labels.table.cuda(), labels.offsets.cuda(), labels.area.cuda())
    counts = ops.iou_counts(maps, case.thresholds.cuda(), on_device, grid=case.grid, backend="cuda")
    expected = ops.iou_counts(case.activations, case.thresholds, labels, grid=case.grid, backend="reference")
    good = torch.equal(counts.intersection.cpu(), expected.intersection)
    hot = ops.hot_cells(maps, case.thresholds.cuda(), backend="cuda")
    kept = ops.hot_cells(case.activations, case.thresholds, backend="reference")
    good = (
        good and torch.equal(hot.places.int().cpu(), kept.places.int()) and torch.equal(hot.values.cpu(), kept.values)
    )
    counts = ops.iou_counts(hot, case.thresholds.cuda(), on_device, grid=case.grid, backend="cuda")
    good = good and torch.equal(counts.intersection.cpu(), expected.intersection)
    edges = torch.stack([case.thresholds, case.thresholds + 1], 1)
    swept = ops.threshold_sweep(maps, edges.cuda(), on_device, grid=case.grid, backend="cuda")
    expected = ops.threshold_sweep(case.activations, edges, labels, grid=case.grid, backend="reference")
    good = good and torch.equal(swept.bins.cpu(), expected.bins)
    zeros = torch.zeros(num_units, dtype=torch.int64)
    for grid, sample in ((case.grid, "value"), (case.grid, "min"), (case.grid, "max"), (None, "value")):
        bits = 16 if grid is None and maps.element_size() == 2 else 32
        bracket = zeros, zeros + (1 << bits) - 1, zeros + bits - 8
        bins, above = torch.zeros(num_units, 256, dtype=torch.int64), zeros.clone()
        ours, above_ours = bins.cuda(), above.cuda()
        on_gpu = [part.cuda() for part in bracket]
        ops.tail_histogram(maps, *on_gpu, ours, above_ours, grid=grid, sample=sample, backend="cuda")
        ops.tail_histogram(case.activations, *bracket, bins, above, grid=grid, sample=sample, backend="reference")
        good = good and torch.equal(ours.cpu(), bins) and torch.equal(above_ours.cpu(), above)
    seen = ops.observe(maps, *on_gpu, ours, above_ours, thresholds=case.thresholds.cuda(), backend="cuda")
    good = good and torch.equal(seen.peaks.cpu(), reference.image_peaks(case.activations))
    keys = [(reference.keys_of(case.thresholds) + 1).cuda(), zeros.cuda() + (1 << 32) - 1, zeros.cuda() + 24]
    grid = case.grid or Grid.half_pixel(tuple(maps.shape[2:]), tuple(case.planes.shape[2:]))
    tails = []
    for part in (hot, maps):
        bins, above = torch.zeros(num_units, 256, dtype=torch.int64).cuda(), zeros.cuda()
        ops.tail_histogram(part, *keys, bins, above, grid=grid, backend="cuda")
        tails += [bins, above]
    good = good and torch.equal(tails[0], tails[2]) and torch.equal(tails[1], tails[3])
    alpha = torch.randint(0, 3, (num_units,)) / 2
    blended = ops.blend_units(maps, alpha.cuda(), 0.5, backend="cuda")
    if 0 not in maps.stride():
        options = {"thresholds": case.thresholds.cuda(), "alpha": alpha.cuda(), "value": 0.5}
        ops.observe(maps, *on_gpu, ours, above_ours, **options, backend="cuda")
        good = good and torch.equal(maps.cpu(), blended.cpu())
    return good and torch.equal(blended.cpu(), ops.blend_units(case.activations, alpha, 0.5, backend="reference"))


def narrows(seed):
    """True if brackets are narrowed as by the reference."""
    bracket, histogram, by = random_brackets(seed)
    there = Bracket(*(part.cuda() for part in bracket)), Histogram(*(part.cuda() for part in histogram))
    pairs = zip(ops.narrow(*there, by, backend="cuda"), ops.narrow(bracket, histogram, by))
    return all(torch.equal(ours.cpu(), expected) for ours, expected in pairs)


right = [*map(run, cases()), *map(narrows, range(12))]
wrong = [number for number, good in enumerate(right) if not good]
print(f"{len(right)} problems, wrong: {wrong}")
sys.exit(3 if wrong else 0)
