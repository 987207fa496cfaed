"""What units reach by chance: counted against several permutations of the label planes at once."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from dissect import ops
from dissect.arguments import refusal, speaks
from dissect.files.checked import Array, Maybe, Text, fields, require
from dissect.grid import Grid
from dissect.stats.iou import MOST, category_groups, iou
from dissect.stats.pairs import PairLevels
from dissect.stats.state import Counts


@speaks
class NullTally(Counts):
    """Counts of units against K decoys, each of them label planes that belong to other images.

    A pixel carries labels of all decoys at once, label c of decoy k as number ``k (C - 1) + c``, so that the units'
    maps are looked at once, however many decoys there are.

    Args:
        thresholds: [U] float32, or [U, C] one for each unit and label, without NaN.
        num_labels: C, label 0 included.
        decoys: K, at least 1.
        categories: [C] the category of each label for the union of scope "category", see `IouTally.iou`; None for
            scope "all".
        grid: how the maps are sampled; half-pixel with edge border by default.
        backend: of `dissect.ops.iou_counts`.

    Example:
        >>> tally = dissect.stats.NullTally(torch.tensor([0.5]), num_labels=2, decoys=2)
        >>> maps, planes = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[0, 1]], [[2, 0]]]])
        >>> tally.add(maps, dissect.ops.encode_labels(planes, 3))
        >>> tally.scores()
        tensor([[1.],
                [0.]], dtype=torch.float64)
    """

    counts = ("intersection", "unit_area", "label_area")
    tensors = ("thresholds", "_intersection", "_unit_area", "_label_area", "_members", "_group")

    def __init__(
        self,
        thresholds: Tensor,
        num_labels: int,
        decoys: int,
        *,
        categories: tuple[str, ...] | None = None,
        grid: Grid | None = None,
        backend: str = "auto",
    ) -> None:
        self.thresholds, self.decoys, self.grid, self.backend = thresholds, decoys, grid, backend
        self._batch, labels, device = 0, num_labels - 1, thresholds.device
        #: By group of labels whose unions have the same units' areas: a category, or all.
        self._members = category_groups([""] * labels if categories is None else categories[1:]).to(device)
        self._group = self._members.int().argmax(0)
        self._scoped = categories is not None
        self._pairs = PairLevels(thresholds) if thresholds.ndim == 2 else None
        edges = () if self._pairs is None else self._pairs.edges.shape[1:]  # above each of which areas are counted
        sizes = decoys, len(self._members), len(thresholds), *edges
        self._intersection = torch.zeros(len(thresholds), 1 + decoys * labels, dtype=torch.int64, device=device)
        self._unit_area = torch.zeros(sizes, dtype=torch.int64, device=device)
        self._label_area = torch.zeros(decoys, labels, dtype=torch.int64, device=device)

    def add(self, activations: Tensor | ops.HotCells, labels: ops.EncodedLabels) -> None:
        """Adds a batch, its labels those of all decoys. Raises as `dissect.ops.iou_counts`."""
        self._move(activations.device)
        shared, unit_area, label_area, status = self._count(activations, labels)
        self._note(status, self._batch)
        self._batch += 1
        self._intersection += shared
        carried = label_area[:, 1:].unflatten(1, self._label_area.shape)  # [N, K, C - 1]
        self._label_area += carried.sum(0)
        if not self._scoped:
            self._unit_area += unit_area.sum(0)
            return
        # Integers below 2^53 are exact in float64, which every device multiplies.
        seen = (carried > 0).double() @ self._members.double().T > 0  # [N, K, G]
        self._unit_area += torch.einsum("nkg,n...->kg...", seen.double(), unit_area.double()).long()

    def _count(
        self, activations: Tensor | ops.HotCells, labels: ops.EncodedLabels
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `dissect.ops.iou_counts`; areas [N, U, B] above each edge where pairs have thresholds of their own."""
        number = self._intersection.shape[1]
        if self._pairs is None:
            return ops.iou_counts(activations, self.thresholds, labels, number, grid=self.grid, backend=self.backend)
        if labels.num_labels != number:
            raise refusal(ValueError(f"labels must be of {number} labels, but are of {labels.num_labels}."))
        if isinstance(activations, ops.HotCells):
            raise refusal(TypeError("activations must be whole maps with thresholds of pairs, but are hot cells."))
        counts = self._pairs.count(activations, labels, self.decoys, self.grid, self.backend)
        return pad(counts.intersection.flatten(1), (1, 0)), counts.unit_area, labels.area, counts.status

    def _made_alike(self, other: NullTally) -> dict[str, bool]:
        device = self.thresholds.device
        return {
            "thresholds": torch.equal(self.thresholds, other.thresholds.to(device)),
            "labels": torch.equal(self._members, other._members.to(device)) and self._scoped == other._scoped,
            "decoys": self.decoys == other.decoys,
        }

    def scores(self) -> Tensor:
        """[K, U] float64: each unit's best IoU with a label, by decoy."""
        self.check()
        by_decoy = self._intersection[:, 1:].unflatten(1, self._label_area.shape).unbind(1)
        parts = zip(by_decoy, self._fires(self._unit_area, self._group), self._label_area)
        return torch.stack([iou(shared, fires, carries).amax(1) for shared, fires, carries in parts])

    def scores_between(self, ends: int) -> Tensor:
        """[K, U / ends, ends] float64: best IoUs by decoy of what lies between neighbouring thresholds of a unit.

        Of each `ends` units the k-th must have the k-th of one unit's falling thresholds, and the scope be "all"; the
        first is what exceeds the first threshold.

        Args:
            ends: how many thresholds each unit has.
        """
        self.check()

        def between(counts: Tensor) -> Tensor:
            """Of counts [U, ...] above each threshold those above none before; where thresholds rise, none."""
            own: Tensor = counts.unflatten(0, (-1, ends))
            return own.diff(dim=1, prepend=torch.zeros_like(own[:, :1])).clamp(min=0).flatten(0, 1)

        by_decoy = between(self._intersection[:, 1:]).unflatten(1, self._label_area.shape).unbind(1)
        parts = zip(by_decoy, self._unit_area[:, 0], self._label_area)
        scores = torch.stack([iou(shared, between(fires), carries).amax(1) for shared, fires, carries in parts])
        found: Tensor = scores.unflatten(1, (-1, ends))
        return found

    def _fires(self, unit_area: Tensor, group: Tensor) -> Tensor:
        """[K, U, C - 1], of areas by decoy and group those that enter the union with each label."""
        return unit_area[:, group].transpose(1, 2) if self._pairs is None else self._pairs.of_pairs(unit_area, group)

    def state_dict(self) -> dict[str, Any]:
        """See `State`."""
        return {"thresholds": self.thresholds.clone(), **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: its thresholds, labels, decoys or grid are not this tally's, or it holds what cannot be.
        """
        what, device = "NullTally: the state", self.thresholds.device
        fields(what, state, _STATE if self._pairs is None else _OF_PAIRS)
        self._check_counts(what, state)
        require(what, torch.equal(self.thresholds, state["thresholds"].to(device)), "its thresholds are this state's")
        shared = state["intersection"][:, 1:].unflatten(1, self._label_area.shape)
        require(what, (state["intersection"][:, 0] == 0).all(), "label 0 is counted nowhere")
        require(what, (shared <= state["label_area"]).all(), "no intersection exceeds its label's area")
        fires = self._fires(state["unit_area"], self._group.cpu()).transpose(0, 1)
        require(what, (shared <= fires).all(), "no intersection exceeds its unit's area")
        self._take_counts(state)


_STATE = {
    "thresholds": Array(torch.float32, "U", -math.inf, math.inf),
    "intersection": Array(torch.int64, "U L", 0, MOST),
    "unit_area": Array(torch.int64, "K G U", 0, MOST),
    "label_area": Array(torch.int64, "K C", 0, MOST),
    "grid": Maybe(Text()),
}
_OF_PAIRS = _STATE | {
    "thresholds": Array(torch.float32, "U L", -math.inf, math.inf),
    "intersection": Array(torch.int64, "U M", 0, MOST),
    "unit_area": Array(torch.int64, "K G U B", 0, MOST),
}
