"""What units also fire on by chance: other images' labels where a unit's own first label is not."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dissect import ops
from dissect.arguments import refusal, speaks
from dissect.files.checked import Array, Maybe, Text, fields, require
from dissect.grid import Grid
from dissect.ops.encode_labels import EncodedLabels
from dissect.reference.encode_labels import RUN_SHIFTS
from dissect.stats.iou import MOST, iou
from dissect.stats.state import Counts


@speaks
class AlsoNull(Counts):
    """Counts of units against K decoys, the planes of other images, outside the pixels of a label of the unit's own.

    The null of `FormulaSearch.also`: of a unit whose first label is f, only the pixels count on which the image's own
    planes do not say f; what the second label is there, decoys say. Of unit u, decoy k and label c, with ``D_f`` those
    pixels, ``IoU = |u & c_k & D_f| / |(u | c_k) & D_f|``; label f itself is no second one, in decoys neither.

    Args:
        thresholds: [U] float32.
        away: [U] int64, each unit's first label; 0 for none, whose pixels all count.
        num_labels: C, label 0 included.
        decoys: K, at least 1.
        grid: how the maps are sampled; half-pixel with edge border by default.
        backend: of `dissect.ops.iou_counts`.

    Example:
        >>> tally = dissect.stats.AlsoNull(torch.tensor([0.5]), torch.tensor([1]), num_labels=3, decoys=1)
        >>> maps, own = torch.tensor([[[[1.0, 1.0, 1.0, 0.0]]]]), torch.tensor([[[[1, 1, 0, 0]]]])
        >>> other = torch.tensor([[[[2, 1, 2, 2]]]])
        >>> tally.add(maps, *(dissect.ops.encode_labels(planes, 3) for planes in (own, other)))
        >>> tally.left().tolist(), tally.scores().tolist()
        ([1], [[0.5]])
    """

    counts = ("intersection", "unit_area", "label_area")
    tensors = ("thresholds", "_intersection", "_unit_area", "_label_area")

    def __init__(
        self, thresholds: Tensor, away: Tensor, num_labels: int, decoys: int, *, grid: Grid | None = None,
        backend: str = "auto",
    ) -> None:  # fmt: skip
        if away.shape != thresholds.shape or thresholds.ndim != 1:
            shapes = f"{list(away.shape)} and {list(thresholds.shape)}"
            raise refusal(ValueError(f"away and thresholds must be [U] of the same units, but got {shapes}."))
        self.thresholds, self.away, self.decoys = thresholds, away.cpu(), decoys
        self.num_labels, self.grid, self.backend, self._batch = num_labels, grid, backend, 0
        #: By first label that is taken away, the units that have it.
        self._units = {int(label): (self.away == label).nonzero().flatten() for label in self.away.unique()}
        number, device = decoys * (num_labels - 1), thresholds.device
        self._intersection = torch.zeros(len(thresholds), number, dtype=torch.int64, device=device)
        self._unit_area = torch.zeros(len(thresholds), dtype=torch.int64, device=device)
        self._label_area = torch.zeros(len(self._units), number, dtype=torch.int64, device=device)

    def add(self, activations: Tensor, own: EncodedLabels, others: EncodedLabels) -> None:
        """Adds a batch.

        Args:
            activations: [N, U, h, w].
            own: the images' own planes.
            others: those of all decoys, label c of decoy k as number ``k (C - 1) + c``.

        Raises:
            TypeError, ValueError: as `dissect.ops.iou_counts`; planes of other labels.
        """
        number = 1 + self._intersection.shape[1]
        if (own.num_labels, others.num_labels) != (self.num_labels, number):
            got = f"{own.num_labels} and {others.num_labels}"
            raise refusal(
                ValueError(f"own and others must be of {self.num_labels} and {number} labels, but are of {got}.")
            )
        self._move(activations.device)
        whole = ops.iou_counts(activations, self.thresholds, others, number, grid=self.grid, backend=self.backend)
        self._note(whole.status, self._batch)
        self._batch += 1
        self._intersection += whole.intersection[:, 1:]
        self._unit_area += whole.unit_area.sum(0)
        self._label_area += whole.label_area[:, 1:].sum(0)
        pixels = own.runs & ((1 << RUN_SHIFTS[own.runs.dtype]) - 1)
        for row, (label, units) in enumerate(self._units.items()):
            here = (own.area[:, label] > 0).nonzero().flatten()  # label 0 has no pixels
            if len(here):
                carries = (own.table == label).any(1)
                inside = carries[pixels[here].long() + own.offsets[here][:, None, None]]
                self._take_away(row, activations[here][:, units.to(here.device)], units, _within(others, here, inside))

    def _take_away(self, row: int, activations: Tensor, units: Tensor, inside: EncodedLabels) -> None:
        """Of some units, and of all decoys' labels, what lies in the pixels of the first label."""
        units = units.to(activations.device)
        thresholds, number = self.thresholds[units], inside.num_labels
        cut = ops.iou_counts(activations, thresholds, inside, number, grid=self.grid, backend=self.backend)
        self._intersection.index_add_(0, units, cut.intersection[:, 1:-1], alpha=-1)
        self._unit_area.index_add_(0, units, cut.intersection[:, -1], alpha=-1)
        self._label_area[row] -= cut.label_area[:, 1:-1].sum(0)

    def _made_alike(self, other: AlsoNull) -> dict[str, bool]:
        return {
            "thresholds": torch.equal(self.thresholds, other.thresholds.to(self.thresholds.device)),
            "away": torch.equal(self.away, other.away),
            "labels": self.num_labels == other.num_labels,
            "decoys": self.decoys == other.decoys,
        }

    def left(self) -> Tensor:
        """[U] int64: the pixels on which each unit fires where its first label is not."""
        self.check()
        return self._unit_area

    def scores(self) -> Tensor:
        """[K, U] float64: each unit's best IoU with another label there, by decoy."""
        self.check()
        scores = torch.zeros(self.decoys, len(self.away), dtype=torch.float64, device=self._intersection.device)
        for (label, units), areas in zip(self._units.items(), self._label_area):
            units = units.to(scores.device)
            parts = self._intersection[units].unflatten(1, (self.decoys, -1)), areas.view(self.decoys, -1)
            for decoy, (shared, carries) in enumerate(zip(parts[0].unbind(1), parts[1])):
                found = iou(shared, self._unit_area[units], carries)
                if label:
                    found[:, label - 1] = 0.0
                scores[decoy, units] = found.amax(1)
        return scores

    def state_dict(self) -> dict[str, Any]:
        """See `State`."""
        return {"thresholds": self.thresholds.clone(), "away": self.away.clone(), **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: its thresholds, labels, decoys or grid are not this tally's, or it holds what cannot be.
        """
        what = "AlsoNull: the state"
        fields(what, state, _STATE)
        self._check_counts(what, state)
        require(what, torch.equal(self.thresholds.cpu(), state["thresholds"].cpu()), "its thresholds are this state's")
        require(what, torch.equal(self.away, state["away"].cpu()), "its first labels are this state's")
        shared = state["intersection"]
        require(what, (shared <= state["unit_area"][:, None]).all(), "no intersection exceeds its unit's area")
        for units, areas in zip(self._units.values(), state["label_area"]):
            require(what, (shared[units] <= areas).all(), "no intersection exceeds its label's area")
        self._take_counts(state)


def _within(labels: EncodedLabels, here: Tensor, inside: Tensor) -> EncodedLabels:
    """Labels of some images on some pixels alone, all of which have one label more, the last.

    Args:
        labels: of C labels.
        here: [M] int64, which images.
        inside: [M, H, W] bool, which pixels of these.
    """
    at = (labels.runs[here] & ((1 << RUN_SHIFTS[labels.runs.dtype]) - 1)).long()
    most = int(labels.offsets.diff().max())
    # The combinations of an image are the labels of one plane.
    joint = ops.encode_labels(torch.where(inside, at + 1, 0)[:, None], 1 + most)
    image = torch.arange(len(here), device=at.device).repeat_interleave(joint.offsets.diff())
    number = joint.table[:, 0].long()
    rows = labels.table[labels.offsets[here][image] + (number - 1).clamp(min=0)] * (number > 0)[:, None]
    more = torch.where(number > 0, labels.num_labels, 0)[:, None].int()
    table = torch.cat([rows, more], 1)
    pixels = joint.area[image, number]
    area = labels.area.new_zeros(len(here), labels.num_labels + 1)
    where = image[:, None] * area.shape[1] + table.long()
    area.view(-1).index_add_(0, where.flatten(), pixels[:, None].expand_as(where).flatten())
    area[:, 0] = 0
    return EncodedLabels._trusted(joint.runs, table.contiguous(), joint.offsets, area)


_STATE = {
    "thresholds": Array(torch.float32, "U", -math.inf, math.inf),
    "away": Array(torch.int64, "U", 0),
    "intersection": Array(torch.int64, "U M", 0, MOST),
    "unit_area": Array(torch.int64, "U", 0, MOST),
    "label_area": Array(torch.int64, "F M", 0, MOST),
    "grid": Maybe(Text()),
}
