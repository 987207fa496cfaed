"""What the ops are measured against: the published algorithm written plainly, and the best eager PyTorch."""

import math

import numpy as np
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
    intersection = torch.zeros(num_units, num_labels, dtype=torch.int64, device=activations.device)
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


class RunningQuantile:
    """The published sketch (KLL): a level that is full is sorted, and every second value moves up a level.

    As published (written anew from a description of what it does): r = 3072, samples arrive through a buffer of 128,
    the capacity of a level is 2r times 0.67 for each level above it, one random bit per compaction is shared by all
    units, a value at level l stands for 2^l samples, and reading out interpolates unit by unit.
    """

    def __init__(self, num_units: int, r: int = 3072) -> None:
        self.resolution, self.num_units = 2 * r, num_units
        self.buffer, self.waiting = torch.empty(num_units, 128), 0
        self.levels: list[Tensor] = []
        self.sizes: list[int] = []
        self.extremes = [torch.full((num_units,), end) for end in (float("inf"), float("-inf"))]

    def add(self, samples: Tensor) -> None:
        """Takes samples [M, U]."""
        self.extremes = [
            torch.minimum(self.extremes[0], samples.amin(0)),
            torch.maximum(self.extremes[1], samples.amax(0)),
        ]
        begin = 0
        while begin < len(samples):
            chunk = samples[begin : begin + 128 - self.waiting]
            self.buffer[:, self.waiting : self.waiting + len(chunk)] = chunk.T
            self.waiting += len(chunk)
            begin += len(chunk)
            if self.waiting == 128:
                self._push(0, self.buffer)
                self.waiting = 0

    def _push(self, level: int, values: Tensor) -> None:
        if level == len(self.levels):
            self.levels.append(torch.empty(self.num_units, 2 * self.resolution))
            self.sizes.append(0)
        size = self.sizes[level] + values.shape[1]
        self.levels[level][:, self.sizes[level] : size] = values
        self.sizes[level] = size
        if size >= max(128, math.ceil(self.resolution * 0.67 ** (len(self.levels) - 1 - level))):
            kept = self.levels[level][:, :size].sort(dim=1).values[:, int(torch.randint(2, ())) :: 2]
            self.sizes[level] = 0
            self._push(level + 1, kept)

    def quantiles(self, fraction: float) -> Tensor:
        """[U]: the value below which this fraction of the samples lies, about."""
        levels = [(self.buffer[:, : self.waiting], 1.0)]
        levels += [(kept[:, :size], 2.0**level) for level, (kept, size) in enumerate(zip(self.levels, self.sizes))]
        values = torch.cat([kept for kept, _ in levels] + [end[:, None] for end in self.extremes], 1)
        weights = torch.cat([torch.full((kept.shape[1],), weight) for kept, weight in levels] + [torch.zeros(2)])
        values, order = values.sort(dim=1)
        weights = weights[order].double()
        positions = (weights.cumsum(1) - weights / 2) / weights.sum(1, keepdim=True)
        return torch.tensor([np.interp(fraction, p, v) for p, v in zip(positions.numpy(), values.numpy())]).float()


def eager_iou_counts(activations: Tensor, thresholds: Tensor, planes: Tensor, num_labels: int) -> Tensor:
    """Batched PyTorch: upsample, compare, and one float32 matrix product per image with the labels that are present."""
    num_units = activations.shape[1]
    intersection = torch.zeros(num_units, num_labels, dtype=torch.int64, device=activations.device)
    fires = (F.interpolate(activations, planes.shape[2:], mode="bilinear") > thresholds[:, None, None]).float()
    for image, planes_of_image in zip(fires.flatten(2), planes.flatten(2)):
        present, compact = planes_of_image.unique(return_inverse=True)
        carries = torch.zeros(len(present), planes_of_image.shape[1], device=activations.device)
        for plane in compact:
            carries.scatter_(0, plane[None], 1.0)
        intersection[:, present] += (image @ carries.T).long()
    intersection[:, 0] = 0
    return intersection


def published_formula(fires: Tensor, planes: Tensor, num_labels: int, length: int, beam: int) -> tuple[int, int]:
    """Compositional explanations (Mu & Andreas 2020) of one unit: a mask of pixels for each candidate.

    As published (written anew from a description of what it does): each formula of the beam is joined with each label
    by OR, AND and AND NOT, the masks are laid over the unit's, and the best go on. Gives the best one's (intersection,
    area). Of formulas with the same counts only the first goes on, as the library has it.
    """
    masks = [(planes == label).any(1).flatten().numpy() for label in range(num_labels)]
    unit = fires.flatten().numpy()

    def measured(mask: np.ndarray) -> tuple[float, int, int]:
        both, area = int((mask & unit).sum()), int(mask.sum())
        return both / max(1, int(unit.sum()) + area - both), both, area

    found = sorted(((measured(mask), mask) for mask in masks[1:]), key=lambda one: -one[0][0])[:beam]
    for _ in range(length - 1):
        candidates = dict(reversed(found))
        for _, mask in found:
            for label in masks[1:]:
                for longer in (mask | label, mask & label, mask & ~label):
                    candidates.setdefault(measured(longer), longer)
        found = sorted(candidates.items(), key=lambda one: -one[0][0])[:beam]
    return found[0][0][1:]
