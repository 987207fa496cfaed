"""What the ops are measured against: the published algorithm written plainly, and the best eager PyTorch."""

import torch
import torch.nn.functional as F
from torch import Tensor


def published_iou_counts(activations: Tensor, thresholds: Tensor, planes: Tensor, num_labels: int) -> Tensor:
    """The PNAS 2020 pipeline's loop: one image at a time, one gather of all units per label that is present.

    It keeps running float32 means of the indicator; here they are turned back into the counts that they stand for.
    """
    num_units = activations.shape[1]
    size = planes.shape[2:]
    total, means, sizes = 0, torch.zeros(num_labels, num_units), torch.zeros(num_labels)
    for image, planes_of_image in zip(activations, planes):
        upsampled = F.interpolate(image[None], size, mode="bilinear")
        fires = (upsampled > thresholds[:, None, None]).float()[0].permute(1, 2, 0).reshape(-1, num_units).contiguous()
        total += len(fires)
        for label in planes_of_image.flatten().bincount(minlength=num_labels)[1:].nonzero().flatten() + 1:
            carries = (planes_of_image == label).any(0).flatten()
            sample = fires[carries]
            sizes[label] += len(sample)
            means[label] += (sample.mean(0) - means[label]) * (len(sample) / sizes[label])
    return (means * sizes[:, None]).round().long().T


def eager_iou_counts(activations: Tensor, thresholds: Tensor, planes: Tensor, num_labels: int) -> Tensor:
    """Batched PyTorch: upsample, compare, and one float32 matrix product per image with the labels that are present."""
    num_units = activations.shape[1]
    intersection = torch.zeros(num_units, num_labels, dtype=torch.int64)
    fires = (F.interpolate(activations, planes.shape[2:], mode="bilinear") > thresholds[:, None, None]).float()
    for image, planes_of_image in zip(fires.flatten(2), planes.flatten(2)):
        present, compact = planes_of_image.unique(return_inverse=True)
        carries = torch.zeros(len(present), planes_of_image.shape[1])
        for plane in compact:
            carries.scatter_(0, plane[None], 1.0)
        intersection[:, present] += (image @ carries.T).long()
    intersection[:, 0] = 0
    return intersection
