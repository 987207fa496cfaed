"""Pixels by the highest of rising edges that a unit exceeds there: what every threshold would count."""

import torch
from torch import Tensor

from dissect.reference.sampling import upsample
from dissect.subnormals import keeps_subnormals


@keeps_subnormals
def threshold_sweep(
    activations: Tensor, edges: Tensor, planes: Tensor, num_labels: int, rows: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor]:
    """The histogram of each unit's upsampled activation over its edges, for all pixels and for those of each label.

    A pixel falls in bin b where its value exceeds edge b, strictly, and not edge b + 1; in none if it exceeds none. So
    the sum of the bins from b on is what `iou_counts` counts at threshold ``edges[:, b]``.

    Args:
        activations: [N, U, h, w] float32, float16 or bfloat16.
        edges: [U, B] float32, each row rising; equal ones leave all bins but the last of theirs empty.
        planes: [N, K, H, W] integers in [0, num_labels); 0 is "no label".
        num_labels: C.
        rows: [H, 3] int32 table of `Grid.rows`.
        columns: [W, 3] int32 table of `Grid.columns`.

    Returns:
        bins: [U, C, B] int64, over all images; 0 for label 0.
        unit_bins: [N, U, B] int64, of all pixels.
    """
    (num_images, num_units), num_edges = activations.shape[:2], edges.shape[1]
    bins = torch.zeros(num_units, num_labels, num_edges, dtype=torch.int64)
    unit_bins = torch.zeros(num_images, num_units, num_edges, dtype=torch.int64)
    for image in range(num_images):
        values = upsample(activations[image], rows, columns)
        exceeded = torch.searchsorted(edges.contiguous(), values.flatten(1))  # how many edges lie below each value
        unit_bins[image] = _histogram(exceeded, num_edges)
        for label in planes[image].unique().tolist():
            if label != 0:
                carries = (planes[image] == label).any(0).flatten()
                bins[:, label] += _histogram(exceeded[:, carries], num_edges)
    return bins, unit_bins


def _histogram(exceeded: Tensor, num_edges: int) -> Tensor:
    """[U, B]: how often each number from 1 on occurs."""
    counts = torch.zeros(len(exceeded), num_edges + 1, dtype=torch.int64)
    return counts.scatter_add_(1, exceeded, torch.ones_like(exceeded))[:, 1:]
