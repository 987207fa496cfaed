"""Every kernel of the CUDA engine once on small problems, for compute-sanitizer; exits with 3 where bits differ."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from generate import random_case

from dissect import ops, reference


def moved(tensor):
    """The same strides on the GPU."""
    if any(size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride())):
        return tensor[:1].cuda().expand_as(tensor)
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda").copy_(tensor)


def run(seed):
    """True if all results are the reference's."""
    case = random_case(seed)
    maps, num_units = moved(case.activations), case.activations.shape[1]
    labels = ops.encode_labels(case.planes, case.num_labels)
    on_device = ops.EncodedLabels(labels.runs.cuda(), labels.table.cuda(), labels.offsets.cuda(), labels.area.cuda())
    counts = ops.iou_counts(maps, case.thresholds.cuda(), on_device, grid=case.grid, backend="cuda")
    expected = ops.iou_counts(case.activations, case.thresholds, labels, grid=case.grid, backend="reference")
    good = torch.equal(counts.intersection.cpu(), expected.intersection)
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
    alpha = torch.randint(0, 3, (num_units,)) / 2
    blended = ops.blend_units(maps, alpha.cuda(), 0.5, backend="cuda")
    return good and torch.equal(blended.cpu(), ops.blend_units(case.activations, alpha, 0.5, backend="reference"))


seeds = [seed for seed in range(40) if len(random_case(seed).activations)][:25]
wrong = [seed for seed in seeds if not run(seed)]
print(f"{len(seeds)} problems, wrong: {wrong}")
sys.exit(3 if wrong else 0)
