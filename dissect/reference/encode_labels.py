"""What depends on the label planes alone, computed once per data set."""

import torch
from torch import Tensor


def encode_labels(planes: Tensor, num_labels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Label planes without repetitions, their runs, and the area of each label.

    Args:
        planes: [N, K, H, W] integers in [0, num_labels); 0 is "no label".
        num_labels: C.

    Returns:
        planes: [N, K, H, W] int32; a label that an earlier plane already says at the same pixel is replaced by 0.
        run_ends: [N, K, H, W] int32; the first column after x whose label differs from column x's, or W.
        label_area: [N, C] int64; pixels that carry each label, 0 for label 0.
    """
    planes = planes.to(torch.int32, copy=True)
    num_images, num_planes, _, width = planes.shape
    for later in range(1, num_planes):
        for earlier in range(later):
            planes[:, later][planes[:, later] == planes[:, earlier]] = 0

    label_area = torch.zeros(num_images, num_labels, dtype=torch.int64)
    for image in range(num_images):
        label_area[image] = torch.bincount(planes[image].flatten(), minlength=num_labels)
    label_area[:, 0] = 0

    run_ends = torch.full_like(planes, width)
    for x in range(width - 2, -1, -1):
        goes_on = planes[..., x] == planes[..., x + 1]
        run_ends[..., x] = torch.where(goes_on, run_ends[..., x + 1], x + 1)
    return planes, run_ends, label_area
