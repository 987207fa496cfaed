"""Counts of units and labels at a threshold of its own for each pair of them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from dissect import ops
from dissect.arguments import refusal, speaks
from dissect.chosen import group_of
from dissect.devices import to_device
from dissect.files.checked import Array, Maybe, Text, fields, require
from dissect.grid import Grid
from dissect.stats.iou import MOST, SCOPES, Scope, category_groups, iou
from dissect.stats.state import Counts, image_numbers

#: Bytes of a batch's counts at every edge: units are taken in blocks of so many.
BLOCK = 1 << 26


class PairCounts(NamedTuple):
    """What a batch counts for pairs of units and labels.

    Attributes:
        intersection: [U, K, C - 1] int64, of the labels 1, 2, ... in K parts.
        unit_area: [N, U, B] int64, pixels above each edge, per image: see `PairLevels.of_pairs`.
        status: as of `dissect.ops.threshold_sweep`.
    """

    intersection: Tensor
    unit_area: Tensor
    status: Tensor


class PairLevels:
    """Thresholds [U, C] as what `dissect.ops.threshold_sweep` takes: each unit's own, rising, without repeats.

    Args:
        thresholds: [U, C] float32 without NaN; column 0 ("no label") is not read.

    Example:
        >>> levels = PairLevels(torch.tensor([[0.0, 2.0, 1.0, 2.0], [0.0, 5.0, 5.0, 5.0]]))
        >>> levels.edges, levels.at
        (tensor([[1., 2.],
                [5., inf]]), tensor([[1, 0, 1],
                [0, 0, 0]]))
    """

    def __init__(self, thresholds: Tensor) -> None:
        ordered, places = thresholds[:, 1:].sort(1)
        rank = pad(ordered[:, 1:] != ordered[:, :-1], (1, 0)).cumsum(1)[:, : ordered.shape[1]]
        most = 1 + int(rank.max()) if rank.numel() else 1
        #: [U, B] float32, and [U, C - 1] int64: which of them is each label's.
        self.edges = thresholds.new_full((len(thresholds), most), math.inf).scatter_(1, rank, ordered)
        self.at = torch.zeros_like(rank).scatter_(1, places, rank)

    def count(
        self, activations: Tensor, labels: ops.EncodedLabels, parts: int, grid: Grid | None, backend: str
    ) -> PairCounts:
        """Counts a batch, whose labels are those of several parts: label c of part k is number ``k (C - 1) + c``."""
        number = self.at.shape[1]
        labels, present = _of_batch(labels)
        edges, at = (to_device(part, activations.device) for part in (self.edges, self.at))
        at = at[:, (present - 1) % max(1, number)]
        shared = torch.zeros(len(edges), parts * number, dtype=torch.int64, device=edges.device)
        areas, statuses, step = [], [], max(1, BLOCK // (8 * labels.num_labels * edges.shape[1]))
        for begin in range(0, max(1, len(edges)), step):
            here = slice(begin, begin + step)
            counts = ops.threshold_sweep(activations[:, here], edges[here], labels, grid=grid, backend=backend)
            reached = torch.arange(edges.shape[1], device=edges.device) >= at[here, :, None]
            shared[here, present - 1] = (counts.bins[:, 1:] * reached).sum(-1)
            areas.append(counts.unit_area)
            statuses.append(counts.status)
        return PairCounts(shared.unflatten(1, (parts, number)), torch.cat(areas, 1), torch.stack(statuses).amax(0))

    def of_pairs(self, area: Tensor, groups: Tensor) -> Tensor:
        """[..., U, C - 1], of areas above each edge [..., G, U, B] those of each label's group [C - 1] at its edge."""
        at, units = to_device(self.at, area.device), torch.arange(len(self.at), device=area.device)
        found: Tensor = area[..., groups.expand_as(at), units[:, None].expand_as(at), at]
        return found


def _of_batch(labels: ops.EncodedLabels) -> tuple[ops.EncodedLabels, Tensor]:
    """The same labels with those alone that occur, as 1, 2, ..., and which they are; tables take a row for each."""
    present = labels.area.sum(0).nonzero()[:, 0]
    numbers = torch.zeros(labels.num_labels, dtype=torch.int32, device=labels.table.device)
    numbers[present] = torch.arange(1, len(present) + 1, dtype=torch.int32, device=numbers.device)
    area = torch.cat([labels.area[:, :1], labels.area[:, present]], 1)
    return ops.EncodedLabels._trusted(labels.runs, numbers[labels.table.long()], labels.offsets, area), present


@speaks
class PairTally(Counts):
    """What `IouTally` counts, at a threshold of its own for each unit and label.

    Every count is what `dissect.ops.iou_counts` gives at that threshold. Memory: 8 bytes per group of images, unit and
    label, and per group, unit, category and different threshold of the unit.

    Args:
        thresholds: [U, C] float32; infinity where the unit is to fire nowhere. Column 0 ("no label") is not read.
        categories: [C] the category of each label for areas of scope "category" (see `IouTally.iou`); None: of "all".
        grid: how the maps are sampled; half-pixel with edge border by default.
        backend: of `dissect.ops.threshold_sweep`.
        groups: of images, as of `IouTally`: a power of two from 2 on, or 0.

    Raises:
        ValueError: thresholds are NaN or of another shape, or there are other numbers of categories than of labels.

    Example:
        >>> tally = dissect.stats.PairTally(torch.tensor([[0.0, 0.5, 1.5]]))
        >>> maps, planes = torch.tensor([[[[0.0, 1.0, 2.0]]]]), torch.tensor([[[[0, 1, 2]]]])
        >>> tally.add(maps, dissect.ops.encode_labels(planes, 3), torch.tensor([0]))
        >>> tally.scoped_unit_area(), tally.iou()
        (tensor([[0, 2, 1]]), tensor([[0.0000, 0.5000, 1.0000]], dtype=torch.float64))
    """

    counts = ("intersection", "unit_area", "label_area", "pixels", "images")
    tensors = ("thresholds", "_intersection", "_unit_area", "_label_area", "_pixels", "_images", "_members")

    def __init__(
        self,
        thresholds: Tensor,
        *,
        categories: tuple[str, ...] | None = None,
        grid: Grid | None = None,
        backend: str = "auto",
        groups: int = 0,
    ) -> None:
        if thresholds.ndim != 2 or not thresholds.shape[1] or bool(thresholds[:, 1:].isnan().any()):
            raise refusal(
                ValueError(
                    f"thresholds must have shape [U, C], C from 1 on, and be no NaN, but got {list(thresholds.shape)}."
                )
            )
        if groups == 1 or groups < 0 or groups & (groups - 1):
            raise refusal(ValueError(f"groups must be 0 or a power of two from 2 on, but got {groups}."))
        if categories is not None and len(categories) != thresholds.shape[1]:
            raise refusal(
                ValueError(f"categories must be of C={thresholds.shape[1]} labels, but are of {len(categories)}.")
            )
        self.thresholds, self.grid, self.backend, self.groups = thresholds, grid, backend, groups
        self._levels, self._batch, device = PairLevels(thresholds), 0, thresholds.device
        units, labels, parts = len(thresholds), thresholds.shape[1] - 1, max(1, groups)
        # Areas are counted in R sets of images: all, and by category those that show it.
        kinds = category_groups(categories[1:]) if categories is not None else torch.empty(0, labels, dtype=torch.bool)
        self._members = kinds.to(device)
        rows, edges = 1 + len(kinds), self._levels.edges.shape[1]
        self._intersection, self._unit_area, self._label_area, self._pixels, self._images = (
            torch.zeros(size, dtype=torch.int64, device=device)
            for size in ((parts, units, labels), (parts, rows, units, edges), (parts, labels), (parts, rows), (parts,))
        )

    def add(self, activations: Tensor, labels: ops.EncodedLabels, images: Tensor) -> None:
        """Adds a batch; `images` [N] are the global image numbers. Raises as `dissect.ops.threshold_sweep`."""
        images = image_numbers("PairTally", images, activations)
        self._move(activations.device)
        parts = len(self._images)
        group = to_device(group_of(images, parts), activations.device)
        counts = self._levels.count(activations, _in_parts(labels, group, parts), parts, self.grid, self.backend)
        self._note(counts.status, self._batch)
        self._batch += 1
        carried = labels.area[:, 1:]
        # Integers below 2^53 are exact in float64, which every device multiplies.
        shows = carried.double() @ self._members.double().T > 0
        seen = torch.cat([shows.new_ones(len(group), 1), shows], 1).long()  # [N, R]
        self._intersection += counts.intersection.transpose(0, 1)
        for row, here in enumerate(seen.unbind(1)):
            self._unit_area[:, row].index_add_(0, group, counts.unit_area * here[:, None, None])
        self._label_area.index_add_(0, group, carried)
        self._pixels.index_add_(0, group, seen * math.prod(labels.size))
        self._images.index_add_(0, group, torch.ones_like(group))

    def _made_alike(self, other: PairTally) -> dict[str, bool]:
        device = self.thresholds.device
        return {
            "thresholds": torch.equal(self.thresholds[:, 1:], other.thresholds[:, 1:].to(device)),
            "categories": torch.equal(self._members, other._members.to(device)),
            "groups": self.groups == other.groups,
        }

    @property
    def num_units(self) -> int:
        """U."""
        return len(self.thresholds)

    @property
    def num_labels(self) -> int:
        """C, label 0 included."""
        return self.thresholds.shape[1]

    def intersection(self) -> Tensor:
        """[U, C] int64."""
        self.check()
        return pad(self._intersection.sum(0), (1, 0))

    def label_area(self) -> Tensor:
        """[G, C] int64, by group of images."""
        self.check()
        return pad(self._label_area, (1, 0))

    def iou(self, scope: Scope = "all", categories: tuple[str, ...] | None = None) -> Tensor:
        """[U, C] float64: see `IouTally.iou`; categories are those that the tally was made with."""
        area = self.scoped_unit_area(scope, categories)
        return iou(self.intersection(), area, self.label_area().sum(0))

    def scoped_unit_area(self, scope: Scope = "all", categories: tuple[str, ...] | None = None) -> Tensor:
        """[U, C] int64: the area of each unit that enters the union with each label. See `iou`."""
        self.check()
        return pad(self._levels.of_pairs(self._unit_area.sum(0), self._rows(scope)), (1, 0))

    def scoped_pixels(self, scope: Scope = "all") -> Tensor:
        """[C] int64: all pixels of the images whose areas enter the union with each label."""
        self.check()
        total = self._pixels.sum(0)
        return torch.cat([total[:1], total[self._rows(scope)]])

    def area_at(self, labels: Tensor) -> Tensor:
        """[U] int64: where each unit exceeds its threshold of one label [U], in all images; 0 for label 0."""
        return self.scoped_unit_area().gather(1, labels[:, None].to(self.thresholds.device))[:, 0]

    def images_by_group(self) -> Tensor:
        """[G] int64: how many images fell into each group."""
        return self._images.cpu()

    def by_group(
        self, labels: Tensor, scope: Scope = "all", categories: tuple[str, ...] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What each group of images counts for one label per unit: see `IouTally.by_group`."""
        shared, fires, carries = self._parts(scope)
        where = torch.arange(len(labels)), labels.cpu()
        return shared[:, where[0], where[1]], fires[:, where[0], where[1]], carries[:, where[1]]

    def by_half(
        self, scope: Scope = "all", categories: tuple[str, ...] | None = None
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each half of the images what `iou` takes: see `IouTally.by_half`."""
        halves = [part.unflatten(0, (2, -1)).sum(1) for part in self._parts(scope)]
        return [(shared, fires, carries) for shared, fires, carries in zip(*halves)]

    def _rows(self, scope: Scope) -> Tensor:
        """[C - 1]: of which set of images the areas are that enter each label's union."""
        if scope not in SCOPES or (scope == "category" and not len(self._members)):
            raise refusal(
                ValueError(f"scope must be one of {SCOPES}, the latter of a tally with categories, but got {scope!r}.")
            )
        labels = self.num_labels - 1
        if scope == "all":
            return torch.zeros(labels, dtype=torch.int64, device=self.thresholds.device)
        return 1 + self._members.int().argmax(0)

    def _parts(self, scope: Scope) -> tuple[Tensor, Tensor, Tensor]:
        """By group, on the CPU: intersections [G, U, C], the units' areas [G, U, C] and the labels' [G, C]."""
        self.check()
        fires = self._levels.of_pairs(self._unit_area, self._rows(scope))
        return pad(self._intersection, (1, 0)).cpu(), pad(fires, (1, 0)).cpu(), self.label_area().cpu()

    def state_dict(self) -> dict[str, Any]:
        """See `State`."""
        return {"thresholds": self.thresholds.clone(), **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: its thresholds, categories, groups or grid are not this tally's, or it holds what cannot be.
        """
        what, device = "PairTally: the state", self.thresholds.device
        fields(what, state, _STATE)
        self._check_counts(what, state)
        same = torch.equal(self.thresholds[:, 1:], state["thresholds"][:, 1:].to(device))
        require(what, same, "its thresholds are this state's")
        shared, area, pixels = state["intersection"], state["unit_area"], state["pixels"]
        fires = self._levels.of_pairs(area, self._rows("category" if len(self._members) else "all").cpu())
        require(what, (shared <= state["label_area"][:, None]).all(), "no intersection exceeds its label's area")
        require(what, (shared <= fires).all(), "no intersection exceeds its unit's area")
        require(what, (area <= pixels[..., None, None]).all(), "no unit's area exceeds all pixels")
        require(what, (state["label_area"] <= pixels[:, :1]).all(), "no label's area exceeds all pixels")
        self._take_counts(state)


def _in_parts(labels: ops.EncodedLabels, group: Tensor, parts: int) -> ops.EncodedLabels:
    """Labels of which each image's are those of its group: label c of group k is number ``k (C - 1) + c``."""
    number, table = labels.num_labels - 1, labels.table
    rows = torch.arange(len(table), device=table.device)
    image = torch.searchsorted(labels.offsets[1:].contiguous(), rows, right=True).clamp(max=max(0, len(labels) - 1))
    shift = (group * number).int()[image][:, None]
    area = labels.area.new_zeros(len(labels), parts, number)
    area[torch.arange(len(labels), device=area.device), group] = labels.area[:, 1:]
    area = torch.cat([labels.area[:, :1], area.flatten(1)], 1)
    return ops.EncodedLabels._trusted(labels.runs, torch.where(table > 0, table + shift, 0), labels.offsets, area)


_STATE = {
    "thresholds": Array(torch.float32, "U C"),
    "intersection": Array(torch.int64, "G U L", 0, MOST),
    "unit_area": Array(torch.int64, "G R U B", 0, MOST),
    "label_area": Array(torch.int64, "G L", 0, MOST),
    "pixels": Array(torch.int64, "G R", 0, MOST),
    "images": Array(torch.int64, "G", 0, MOST),
    "grid": Maybe(Text()),
}
