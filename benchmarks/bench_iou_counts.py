"""iou_counts against upsampling alone, the best eager PyTorch and the published loop; equality asserted first."""

from functools import partial

import pytest
import torch
from baselines import eager_iou_counts, published_iou_counts
from workload import Workload, settle

from dissect import ops
from dissect.stats import edges_between
from dissect.stats.sweep import new_bins

SHAPES = {
    "512 units 14x14 to 224x224": (16, 512, 14, 224),
    "512 units 14x14 to 56x56": (32, 512, 14, 56),
    "2048 units 7x7 to 224x224": (4, 2048, 7, 224),
    "256 units 56x56 to 224x224": (16, 256, 56, 224),
}


@pytest.mark.parametrize("noisy", [False, True], ids=["patches", "noisy labels"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_iou_counts(compare, shape, noisy):
    images, units, source, target = shape if compare.enabled else (1, 4, *shape[2:])
    work = Workload(images, units, source, target, noisy)
    arguments = (work.activations, work.thresholds, work.planes, work.labels.num_labels)
    others = {"upsample": work.upsample}
    if not noisy:
        others["eager"] = lambda: eager_iou_counts(*arguments)
        assert torch.equal(others["eager"](), work.intersection)
    if not noisy and source == 14 and (compare.enabled or target < 100):
        one = [part[:1] for part in (work.activations, work.planes)]
        published = published_iou_counts(one[0], work.thresholds, one[1], work.labels.num_labels)
        counts = ops.iou_counts(one[0], work.thresholds, one[1], work.labels.num_labels)
        assert torch.equal(published, counts.intersection)
        others["published"] = lambda: published_iou_counts(*arguments)
    compare(lambda: ops.iou_counts(work.activations, work.thresholds, work.labels), others, per=images)


@pytest.mark.parametrize("noisy", [False, True], ids=["patches", "noisy labels"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_iou_counts_by_image(compare, shape, noisy):
    """What the counts of each image cost beside those of all."""
    images, units, source, target = shape if compare.enabled else (1, 4, *shape[2:])
    work = Workload(images, units, source, target, noisy)
    arguments = (work.activations, work.thresholds, work.labels)
    counts = ops.iou_counts_by_image(*arguments)
    assert torch.equal(counts.intersection, work.intersection)
    summed = torch.zeros_like(work.intersection)
    summed.index_put_((counts.units.long(), counts.labels.long()), counts.counts.long(), accumulate=True)
    assert torch.equal(summed, work.intersection)
    compare(lambda: ops.iou_counts_by_image(*arguments), {"all images": lambda: ops.iou_counts(*arguments)}, per=images)


@pytest.mark.parametrize("noisy", [False, True], ids=["patches", "noisy labels"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_threshold_sweep(compare, shape, noisy):
    """What 64 edges from the top 5 % on cost beside one threshold at the top 1 %."""
    images, units, source, target = shape if compare.enabled else (1, 4, *shape[2:])
    work = Workload(images, units, source, target, noisy)
    lowest = settle([work.activations], 0.05, size=work.size).threshold()
    edges = edges_between(lowest, work.activations.amax((0, 2, 3)))
    edges[:, 32] = work.thresholds
    edges = edges.sort(1).values
    bins = new_bins(units, work.labels.num_labels, 64, edges.device)

    def sweep():
        return ops.threshold_sweep(work.activations, edges, work.labels, bins=bins)

    at = torch.searchsorted(edges, work.thresholds[:, None])[:, None].expand(-1, work.labels.num_labels, -1)
    assert torch.equal(sweep().intersection.gather(2, at)[..., 0], work.intersection)
    one = partial(ops.iou_counts, work.activations, work.thresholds, work.labels)
    compare(sweep, {"one iou_counts": one}, per=images)
