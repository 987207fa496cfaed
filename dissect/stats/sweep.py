"""Every threshold at once: how units and labels agree at each of many edges, from one pass."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from dissect import ops
from dissect.arguments import refusal, speaks
from dissect.files.checked import Array, Maybe, Text, fields, require
from dissect.grid import Grid
from dissect.ops.backends.arguments import check_edges
from dissect.ops.threshold_sweep import above_edges
from dissect.stats.agreement import Agreement, average_precision
from dissect.stats.iou import MOST, category_groups
from dissect.stats.state import Counts


class Informative(NamedTuple):
    """The most informative threshold of each unit and label, and how they agree there.

    Attributes:
        thresholds: [U, C] float32; infinity where there is none, so that the unit fires nowhere.
        information_quality: [U, C] float64, I/H there; 0 where there is none.
        iou: [U, C] float64.
        accuracy: [U, C] float64, of pixels.
    """

    thresholds: Tensor
    information_quality: Tensor
    iou: Tensor
    accuracy: Tensor


def new_bins(units: int, labels: int, edges: int, device: torch.device) -> Tensor:
    """[U, C, B] int64, zero, to give to `ops.threshold_sweep` batch after batch.

    Neighbouring pixels may count far from one another. On a CPU the memory is NumPy's, which asks Linux for pages of 2
    MB: of the usual ones there are more than a processor knows the places of. It begins with a line of the cache.
    """
    shape = units, labels, edges
    if device.type != "cpu":
        return torch.zeros(shape, dtype=torch.int64, device=device)
    memory = torch.from_numpy(np.zeros(math.prod(shape) + 7, dtype=np.int64))
    return memory[-(memory.data_ptr() // 8) % 8 :][: math.prod(shape)].view(shape)


@speaks
class ThresholdSweep(Counts):
    """Counts of units and labels at B thresholds per unit, over a data set.

    Memory: 8 * U * C * B bytes, whatever the number of images; where that is too much, make states of some of the
    units each. Readers take as much again for each number per unit, label and edge, so they take `units` too.

    Args:
        edges: [U, B] float32, each row rising; see `edges_between`.
        num_labels: C, label 0 included.
        categories: [C] the category of each label for areas of scope "category" (see `IouTally.iou`): a unit's area,
            and all pixels, only of images that carry a label of that category. None: of all images.
        grid: how the maps are sampled; half-pixel with edge border by default.
        backend: of `dissect.ops.threshold_sweep`.

    Raises:
        ValueError: edges are NaN or fall, or there are other numbers of categories than of labels.

    Example:
        >>> sweep = dissect.stats.ThresholdSweep(torch.tensor([[0.5, 1.5]]), num_labels=2)
        >>> maps, planes = torch.tensor([[[[0.0, 1.0, 2.0]]]]), torch.tensor([[[[0, 0, 1]]]])
        >>> sweep.add(maps, dissect.ops.encode_labels(planes, 2))
        >>> sweep.agreement().iou()[0, 1].tolist(), sweep.average_precision()[0, 1].item()
        ([0.5, 1.0], 1.0)
    """

    counts = ("bins", "unit_bins", "label_area", "pixels")
    tensors = ("edges", "_bins", "_unit_bins", "_label_area", "_pixels", "_members", "_group")

    def __init__(
        self,
        edges: Tensor,
        num_labels: int,
        *,
        categories: tuple[str, ...] | None = None,
        grid: Grid | None = None,
        backend: str = "auto",
    ) -> None:
        check_edges("ThresholdSweep", edges)
        if categories is not None and len(categories) != num_labels:
            raise refusal(ValueError(f"categories must be of C={num_labels} labels, but are of {len(categories)}."))
        self.edges, self.grid, self.backend, self._batch = edges, grid, backend, 0
        device, (units, size) = edges.device, edges.shape
        #: By group of labels whose areas are of the same images: a category, or all.
        members = category_groups([""] * (num_labels - 1) if categories is None else categories[1:])
        self._members = pad(members, (1, 0)).to(device)  # label 0 is of none
        self._scoped = categories is not None
        self._group = self._members.int().argmax(0)
        self._bins = new_bins(units, num_labels, size, device)
        self._unit_bins = torch.zeros(len(self._members), units, size, dtype=torch.int64, device=device)
        self._label_area = torch.zeros(num_labels, dtype=torch.int64, device=device)
        self._pixels = torch.zeros(len(self._members), dtype=torch.int64, device=device)

    @property
    def num_labels(self) -> int:
        """C, label 0 included."""
        return len(self._label_area)

    def add(self, activations: Tensor, labels: ops.EncodedLabels) -> None:
        """Adds a batch. Raises as `dissect.ops.threshold_sweep`."""
        self._move(activations.device)
        counts = ops.threshold_sweep(
            activations, self.edges, labels, self.num_labels, bins=self._bins, grid=self.grid, backend=self.backend
        )
        self._note(counts.status, self._batch)
        self._batch += 1
        # Integers below 2^53 are exact in float64, which every device multiplies.
        if self._scoped:
            seen = (counts.label_area > 0).double() @ self._members.double().T > 0  # [N, G]
        else:
            seen = torch.ones(len(activations), 1, dtype=torch.bool, device=activations.device)
        self._unit_bins += torch.einsum("ng,nub->gub", seen.double(), counts.unit_bins.double()).long()
        self._label_area += counts.label_area.sum(0)
        self._pixels += seen.sum(0) * math.prod(labels.size)

    def _made_alike(self, other: ThresholdSweep) -> dict[str, bool]:
        device = self.edges.device
        return {
            "edges": torch.equal(self.edges, other.edges.to(device)),
            "labels": torch.equal(self._members, other._members.to(device)) and self._scoped == other._scoped,
        }

    def agreement(self, units: slice | None = None) -> Agreement:
        """Counts [U, C, B] of some units, or of all: at edge b those of ``unit > edges[:, b]``. Label 0 is nowhere."""
        self.check()
        units = units or slice(None)
        area = above_edges(self._unit_bins[:, units])[self._group].transpose(0, 1)
        pixels = self._pixels[self._group][:, None]
        return Agreement(above_edges(self._bins[units]), area, self._label_area[:, None], pixels)

    def average_precision(self, units: slice | None = None) -> Tensor:
        """[U, C] float64, over all edges: see `dissect.stats.average_precision`."""
        return average_precision(self.agreement(units))

    def informative(
        self, units: slice | None = None, *, least_accuracy: float = 0.8, least_share: float = 1e-3
    ) -> Informative:
        """The threshold of each unit and label with the largest information quality ratio: thesis, equation 4.2.

        ``t(u, c) = argmax over edges t of I(unit > t; label) / H(unit > t, label)``, ties to the lowest edge. As in the
        published code, an edge is a candidate only where it is above 0 (where a ReLU's zeros are), where the share of
        pixels at which unit and label agree exceeds `least_accuracy`, and for labels on at least `least_share` of the
        pixels; the paper names no such conditions: ``least_accuracy=0, least_share=0``, but for the zeros. Where no
        edge is a candidate, or none tells anything, there is no threshold.

        Args:
            units: some of them, since this takes some times the memory of the counts; None: all.
            least_accuracy: of pixels.
            least_share: of pixels.
        """
        agreement = self.agreement(units)
        accuracy = agreement.accuracy()
        share = agreement.label_area / agreement.pixels.clamp(min=1)
        edges = self.edges[units or slice(None), None]
        candidates = (accuracy > least_accuracy) & (share >= least_share) & (edges > 0)
        quality = torch.where(candidates, agreement.information_quality(), 0.0)
        # numpy's argmax documents that it returns the first maximum; torch's does not.
        best = torch.from_numpy(quality.cpu().numpy().argmax(-1)).to(quality.device)[..., None]
        found = quality.gather(-1, best) > 0
        thresholds = torch.where(found, edges.expand(quality.shape).gather(-1, best), math.inf)
        parts = (torch.where(found, part.gather(-1, best), 0.0) for part in (quality, agreement.iou(), accuracy))
        return Informative(thresholds[..., 0], *(part[..., 0] for part in parts))

    def state_dict(self) -> dict[str, Any]:
        """See `State`."""
        return {"edges": self.edges.clone(), **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: its edges, labels, categories or grid are not this sweep's, or it holds what cannot be.
        """
        what, device = "ThresholdSweep: the state", self.edges.device
        fields(what, state, _STATE)
        self._check_counts(what, state)
        require(what, torch.equal(self.edges, state["edges"].to(device)), "its edges are this state's")
        shared, area, group = state["bins"], state["unit_bins"], self._group.cpu()
        require(what, (shared[:, 0] == 0).all(), "label 0 is counted nowhere")
        require(what, (shared.sum(2) <= state["label_area"]).all(), "no intersection exceeds its label's area")
        require(what, (shared <= area[group].transpose(0, 1)).all(), "no intersection exceeds its unit's area")
        require(what, (area.sum(2) <= state["pixels"][:, None]).all(), "no unit's area exceeds all pixels")
        require(what, (state["label_area"] <= state["pixels"][group]).all(), "no label's area exceeds all pixels")
        self._take_counts(state)


_STATE = {
    "edges": Array(torch.float32, "U B", -math.inf, math.inf),
    "bins": Array(torch.int64, "U C B", 0, MOST),
    "unit_bins": Array(torch.int64, "G U B", 0, MOST),
    "label_area": Array(torch.int64, "C", 0, MOST),
    "pixels": Array(torch.int64, "G", 0, MOST),
    "grid": Maybe(Text()),
}


@speaks
def edges_between(lowest: Tensor, highest: Tensor, count: int = 64) -> Tensor:
    """[U, B] rising edges, evenly spaced from each unit's lowest up to, but not including, its highest value.

    Args:
        lowest: [U] float32, e.g. the threshold of the top 5 % (`TailThreshold`): most pixels cost nothing then.
        highest: [U] float32, e.g. the highest activation (`Peaks`), which no pixel exceeds.
        count: B, at least 1.

    Raises:
        ValueError: a count below 1, or a highest value below the lowest.

    Example:
        >>> dissect.stats.edges_between(torch.tensor([1.0]), torch.tensor([2.0]), 4)
        tensor([[1.0000, 1.2500, 1.5000, 1.7500]])
    """
    if count < 1 or not bool((highest >= lowest).all()):
        raise refusal(ValueError("count must be at least 1, and no highest value below the lowest."))
    steps = torch.arange(count, dtype=torch.float64, device=lowest.device) / count
    low, high = lowest.double()[:, None], highest.double()[:, None]
    return (low + (high - low) * steps).float()
