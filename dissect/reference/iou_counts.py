"""Pixels where units fire, and where units and labels meet."""

import torch
from torch import Tensor

from dissect.reference.sampling import upsample
from dissect.subnormals import keeps_subnormals


@keeps_subnormals
def iou_counts(
    activations: Tensor, thresholds: Tensor, planes: Tensor, num_labels: int, rows: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor]:
    """The areas and intersections in the IoU of Bau et al. 2020, equation 1, as integer counts.

    A unit fires where its upsampled activation is strictly above its threshold. A pixel carries a label if any plane
    says so, and counts once for it.

    Args:
        activations: [N, U, h, w] float32, float16 or bfloat16.
        thresholds: [U] float32.
        planes: [N, K, H, W] integers in [0, num_labels); 0 is "no label".
        num_labels: C.
        rows: [H, 3] int32 table of `Grid.rows`.
        columns: [W, 3] int32 table of `Grid.columns`.

    Returns:
        intersection: [U, C] int64, over all images; 0 for label 0.
        unit_area: [N, U] int64.
    """
    num_images, num_units = activations.shape[:2]
    intersection = torch.zeros(num_units, num_labels, dtype=torch.int64)
    unit_area = torch.zeros(num_images, num_units, dtype=torch.int64)
    for image in range(num_images):
        fires = upsample(activations[image], rows, columns) > thresholds[:, None, None]
        unit_area[image] = fires.sum((1, 2))
        for label in planes[image].unique().tolist():
            if label != 0:
                carries = (planes[image] == label).any(0)
                intersection[:, label] += fires[:, carries].sum(1)
    return intersection, unit_area


def iou_counts_by_image(
    activations: Tensor, thresholds: Tensor, planes: Tensor, num_labels: int, rows: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`iou_counts`, and the intersections of each image by itself, sparse.

    Returns:
        intersection: [U, C] int64, over all images.
        unit_area: [N, U] int64.
        entries: [4, E] int32: image, unit, label and pixels of every intersection that is not 0, sorted by the first
            three.
    """
    num_images, num_units = activations.shape[:2]
    intersection = torch.zeros(num_units, num_labels, dtype=torch.int64)
    unit_area = torch.zeros(num_images, num_units, dtype=torch.int64)
    entries = [torch.zeros(4, 0, dtype=torch.int64)]
    for image in range(num_images):
        one = slice(image, image + 1)
        pixels, unit_area[one] = iou_counts(activations[one], thresholds, planes[one], num_labels, rows, columns)
        units, labels = pixels.nonzero(as_tuple=True)
        entries.append(torch.stack([torch.full_like(units, image), units, labels, pixels[units, labels]]))
        intersection += pixels
    return intersection, unit_area, torch.cat(entries, 1).int()
