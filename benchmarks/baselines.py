"""What the ops are measured against: the published algorithm written plainly, and the best eager PyTorch."""

import torch
import torch.nn.functional as F
from torch import Tensor


def published_iou_counts(activations: Tensor, thresholds: Tensor, planes: Tensor, num_labels: int) -> Tensor:
    """The PNAS 2020 pipeline's loop: one image at a time, per label present a gather of all units, running moments.

    As published (written anew from a description of what it does): indicators as float32 [H, W, U]; per label a mask of
    its pixels, expanded over the units, selects them; a float32 mean and second moment per label and unit are updated,
    though the second is never used. The means are turned back into the counts that they stand for.
    """
    num_units = activations.shape[1]
    moments: dict[int, RunningMoments] = {}
    for image, planes_of_image in zip(activations, planes):
        upsampled = F.interpolate(image[None], planes.shape[2:], mode="bilinear")
        fires = (upsampled > thresholds[:, None, None]).float().permute(0, 2, 3, 1).contiguous()
        moments.setdefault(0, RunningMoments()).add(fires.view(-1, num_units))
        present = planes_of_image.flatten().bincount(minlength=num_labels)[1:].nonzero().flatten() + 1
        for label in present.tolist():
            carries = (planes_of_image[None] == label).max(1).values[..., None].expand_as(fires)
            moments.setdefault(label, RunningMoments()).add(fires[carries].view(-1, num_units))
    intersection = torch.zeros(num_units, num_labels, dtype=torch.int64)
    for label, moment in moments.items():
        if label > 0:
            intersection[:, label] = (moment.mean.double() * moment.count).round().long()
    return intersection


class RunningMoments:
    """A mean and a second moment about it, joined batch by batch (Chan et al.), in float32."""

    def __init__(self) -> None:
        self.count, self.mean, self.m2 = 0, None, None

    def add(self, batch: Tensor) -> None:
        count, mean = len(batch), batch.mean(0)
        m2 = (batch - mean).pow(2).sum(0)
        if self.mean is None:
            self.count, self.mean, self.m2 = count, mean, m2
            return
        total, delta = self.count + count, mean - self.mean
        self.mean = self.mean + delta * (count / total)
        self.m2 = self.m2 + m2 + delta.pow(2) * (self.count * count / total)
        self.count = total


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
