"""The workloads that the benchmarks share."""

import torch

from dissect import ops
from dissect.stats import TailThreshold

NUM_LABELS, NUM_PLANES = 1300, 5


def settle(batches, share: float, **options) -> TailThreshold:
    """The state of thresholds after all visits."""
    state = TailThreshold(share, **options)
    while True:
        for activations in batches:
            state.add(activations)
        if state.advance():
            return state


class Workload:
    """Activations that fire on the top 1 % of the pixels, and encoded labels."""

    def __init__(self, images: int, units: int, source: int, target: int, noisy: bool = False) -> None:
        generator = torch.Generator().manual_seed(0)
        # Multiples of 1/256 at sizes powers of two apart: every order of rounding agrees, so equality can be asserted
        # for implementations that round otherwise.
        self.activations = (torch.randn(images, units, source, source, generator=generator) * 256).round() / 256
        self.size = (target, target)
        self.thresholds = settle([self.activations], 0.01, size=self.size).threshold()
        self.planes = label_planes(images, target, noisy, generator)
        self.labels = ops.encode_labels(self.planes, NUM_LABELS)
        counts = ops.iou_counts(self.activations, self.thresholds, self.labels)
        self.intersection = counts.intersection
        firing = float(counts.unit_area.sum() / (images * units * target * target))
        if not 0.009 <= firing <= 0.01:
            raise ValueError(f"the workload must fire on 0.9 to 1.0 % of the pixels, but fires on {firing:.4%}.")
        self.upsampled = torch.empty(images, units, target, target)

    def upsample(self) -> None:
        """The yardstick: bilinear upsampling alone, into memory that is there already."""
        torch.ops.aten.upsample_bilinear2d.out(self.activations, self.size, False, None, None, out=self.upsampled)


def label_planes(images: int, size: int, noisy: bool, generator: torch.Generator) -> torch.Tensor:
    """Patches of size/8, as segmentations have; or, noisy, a new label at nearly every pixel."""
    cells = size if noisy else 8
    coarse = torch.randint(0, NUM_LABELS, (images, NUM_PLANES, cells, cells), generator=generator)
    return coarse.repeat_interleave(size // cells, 2).repeat_interleave(size // cells, 3).int()
