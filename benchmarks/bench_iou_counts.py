"""iou_counts against the published loop, eager PyTorch, the reference, and upsampling alone.

`pytest` runs each once, as a test of equality; `make bench` times them. Activations are multiples of 1/256 and the
sizes powers of two apart, so that every order of rounding agrees and equality can be asserted for all of them.
"""

import pytest
import torch
import torch.nn.functional as F
from baselines import eager_iou_counts, published_iou_counts

from dissect import ops
from dissect.stats import TailThreshold

NUM_LABELS, NUM_PLANES = 1300, 5
SHAPES = {"512x14x14-to-224x224": (2, 512, 14, 224), "512x14x14-to-56x56": (2, 512, 14, 56)}


def label_planes(num_images: int, size: int) -> torch.Tensor:
    """Coarse patches, as segmentations have: about a dozen labels in each plane of an image."""
    coarse = torch.randint(0, NUM_LABELS, (num_images, NUM_PLANES, 4, 4))
    return coarse.repeat_interleave(size // 4, 2).repeat_interleave(size // 4, 3).int()


@pytest.fixture(scope="module", params=SHAPES, ids=SHAPES.keys())
def workload(request):
    images, units, source, target = SHAPES[request.param]
    if not request.config.getoption("benchmark_enable"):
        images, units = 1, 16  # only a test of equality
    generator = torch.Generator().manual_seed(0)
    activations = (torch.randn(images, units, source, source, generator=generator) * 256).round() / 256
    state = TailThreshold(0.01, size=(target, target))
    while True:
        state.add(activations)
        if state.advance():
            break
    labels = ops.encode_labels(label_planes(images, target), NUM_LABELS)
    counts = ops.iou_counts(activations, state.threshold(), labels)
    firing = counts.unit_area.sum() / (images * units * target * target)
    assert 0.009 <= firing <= 0.01, "the workload must fire on the top 1 % of the pixels"
    return activations, state.threshold(), labels, counts.intersection


IMPLEMENTATIONS = {
    "published": lambda a, t, e: published_iou_counts(a, t, e.planes, e.num_labels),
    "eager": lambda a, t, e: eager_iou_counts(a, t, e.planes, e.num_labels),
    "reference": lambda a, t, e: ops.iou_counts(a, t, e, backend="reference").intersection,
    "cpp": lambda a, t, e: ops.iou_counts(a, t, e, backend="cpp").intersection,
}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_iou_counts(benchmark, workload, implementation):
    activations, thresholds, labels, expected = workload
    run = IMPLEMENTATIONS[implementation]
    assert torch.equal(run(activations, thresholds, labels), expected)
    benchmark(run, activations, thresholds, labels)


def test_upsampling_alone(benchmark, workload):
    activations, _, labels, _ = workload
    size = labels.planes.shape[2:]
    out = torch.empty(*activations.shape[:2], *size)
    benchmark(torch.ops.aten.upsample_bilinear2d.out, activations, size, False, None, None, out=out)
    assert torch.equal(out, F.interpolate(activations, size, mode="bilinear"))
