"""Intersection over union of units and labels, from integer counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from dissect import ops
from dissect.arguments import refusal, speaks
from dissect.chosen import group_of, half_of
from dissect.devices import to_device
from dissect.files.checked import Array, Maybe, Text, fields, require
from dissect.grid import Grid
from dissect.stats.state import State, grid_key, image_numbers

Scope = Literal["all", "category"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


def iou(intersection: Tensor, unit_area: Tensor, label_area: Tensor) -> Tensor:
    """``I / (A + L - I)`` in float64 (Bau et al. 2020, equation 1), 0 where the denominator is 0.

    Args:
        intersection: [U, C] counts.
        unit_area: [U], or [U, C] where the area depends on the label's category.
        label_area: [C].

    Example:
        >>> dissect.stats.iou(torch.tensor([[0, 2]]), torch.tensor([3]), torch.tensor([0, 5]))
        tensor([[0.0000, 0.3333]], dtype=torch.float64)
    """
    unit_area = unit_area[:, None] if unit_area.ndim == 1 else unit_area
    # Integers below 2^53, exact in float64; in place, since filling new memory takes longer than the arithmetic.
    score = intersection.to(torch.float64, copy=True)
    union = unit_area.double() + label_area.double()
    union -= score
    score.masked_fill_(union <= 0, 0)
    score /= union.clamp_(min=1)
    return score


def best_labels(scores: Tensor) -> Tensor:
    """[U] int64: per row of [U, C] the label from 1 on with the highest score, ties to the smaller number."""
    # numpy's argmax documents that it returns the first maximum; torch's does not.
    return torch.from_numpy(scores[:, 1:].cpu().numpy().argmax(1)).to(scores.device) + 1


@speaks
class IouTally(State):
    """Counts over a data set, from which every IoU follows.

    Args:
        thresholds: [U] float32.
        num_labels: C, label 0 included.
        grid: how the maps are sampled; half-pixel with edge border by default.
        backend: of `dissect.ops.iou_counts`.
        groups: into how many groups images fall by a hash of their numbers, whose intersections are kept apart, for
            `by_group` and `by_half`: a power of two from 2 on, or 0. They take 4 bytes per group, unit and label, 8
            from 2^31 pixels on.

    Example:
        >>> tally = dissect.stats.IouTally(torch.tensor([0.5]), num_labels=2)
        >>> maps, planes = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[0, 1]]]])
        >>> tally.add(maps, dissect.ops.encode_labels(planes, 2), torch.tensor([0]))
        >>> tally.iou()
        tensor([[0., 1.]], dtype=torch.float64)
    """

    tensors = ("thresholds", "_intersection", "_grouped")

    version = 2
    since = ("grid", "grouped", "group_images")

    def __init__(
        self,
        thresholds: Tensor,
        num_labels: int,
        *,
        grid: Grid | None = None,
        backend: str = "auto",
        groups: int = 0,
    ) -> None:
        if groups == 1 or groups < 0 or groups & (groups - 1):
            raise refusal(ValueError(f"groups must be 0 or a power of two from 2 on, but got {groups}."))
        self.thresholds, self.grid, self.backend, self.groups = thresholds, grid, backend, groups
        self._batch = 0
        self._intersection = torch.zeros(len(thresholds), num_labels, dtype=torch.int64, device=thresholds.device)
        # int32 as long as every sum fits: the table is large, and most of it stays 0.
        self._grouped = torch.zeros(groups, len(thresholds), num_labels, dtype=torch.int32, device=thresholds.device)
        self._pixels = 0
        self._images = torch.zeros(groups, dtype=torch.int64)
        # One entry per batch: image numbers [N], unit areas [N, U], label areas [N, C].
        units, labels = (torch.empty(0, size, dtype=torch.int64) for size in (len(thresholds), num_labels))
        self._batches: list[tuple[Tensor, Tensor, Tensor]] = [(torch.empty(0, dtype=torch.int64), units, labels)]

    def add(self, activations: Tensor | ops.HotCells, labels: ops.EncodedLabels | Tensor, images: Tensor) -> None:
        """Adds a batch; `images` [N] are the global image numbers. Raises as `dissect.ops.iou_counts`.

        `labels` are what `dissect.ops.encode_labels` gave, which can be counted again, or planes [N, K, H, W].
        """
        images = image_numbers("IouTally", images, activations)
        self._move(activations.device)
        count = ops.iou_counts_by_image if self.groups else ops.iou_counts
        counts = count(activations, self.thresholds, labels, self.num_labels, grid=self.grid, backend=self.backend)
        self._note(counts.status, self._batch)
        self._batch += 1
        if isinstance(counts, ops.ImageCounts):
            size = labels.size if isinstance(labels, ops.EncodedLabels) else labels.shape[2:]
            self._make_room(len(images) * math.prod(size))
            self._add_to_groups(counts, images)
        self._intersection += counts.intersection
        self._batches.append((to_device(images, activations.device).long(), counts.unit_area, counts.label_area))

    def _add_to_groups(self, counts: ops.ImageCounts, images: Tensor) -> None:
        group = group_of(images, self.groups)
        self._images += group.cpu().bincount(minlength=self.groups)
        group = to_device(group, counts.images.device)[counts.images.long()]
        where = (group * self.num_units + counts.units) * self.num_labels + counts.labels
        self._grouped.view(-1).index_add_(0, where, counts.counts.to(self._grouped.dtype))

    def _make_room(self, pixels: int) -> None:
        """For so many more pixels than there were, all of one group, unit and label."""
        self._pixels += pixels
        if self._pixels >= 1 << 31:
            self._grouped = self._grouped.long()

    def merge(self, other: IouTally) -> None:
        """Adds the counts of other images.

        Raises:
            ValueError: the thresholds, the number of labels, the grids or the groups differ.
        """
        self.check()
        other.check()
        device = self.thresholds.device
        self._agree({
            "thresholds": torch.equal(self.thresholds, other.thresholds.to(device)),
            "number of labels": self.num_labels == other.num_labels,
            "grid": grid_key(self.grid) == grid_key(other.grid),
            "groups": self.groups == other.groups,
        })  # fmt: skip
        self._intersection += other._intersection.to(device)
        self._make_room(other._pixels)
        self._grouped += other._grouped.to(device)
        self._images += other._images
        self._batches += other._batches

    @property
    def num_units(self) -> int:
        """U."""
        return len(self.thresholds)

    @property
    def num_labels(self) -> int:
        """C, label 0 included."""
        return self._intersection.shape[1]

    def intersection(self) -> Tensor:
        """[U, C] int64."""
        self.check()
        return self._intersection

    def unit_area(self) -> Tensor:
        """[N, U] int64, in the order of the image numbers."""
        return self._by_image()[1]

    def label_area(self) -> Tensor:
        """[N, C] int64, in the order of the image numbers."""
        return self._by_image()[2]

    def iou(self, scope: Scope = "all", categories: tuple[str, ...] | None = None) -> Tensor:
        """[U, C] float64.

        Args:
            scope: "all": areas over all images; "category" (Broden): a unit's area only over images that carry at
                least one label of the label's category.
            categories: [C] the category of each label, needed for scope "category".

        Raises:
            ValueError: an unknown scope, or "category" without categories.
        """
        return iou(self.intersection(), self.scoped_unit_area(scope, categories), self.label_area().sum(0))

    def scoped_unit_area(self, scope: Scope = "all", categories: tuple[str, ...] | None = None) -> Tensor:
        """[U], or for scope "category" [U, C]: the area of each unit that enters the union. See `iou`."""
        if scope not in SCOPES:
            raise refusal(ValueError(f"scope must be one of {SCOPES}, but got {scope!r}."))
        _, unit_area, label_area = self._by_image()
        return _scoped(unit_area, label_area, scope, categories)

    def images_by_group(self) -> Tensor:
        """[G] int64: how many images fell into each group."""
        return self._images

    def by_group(
        self, labels: Tensor, scope: Scope = "all", categories: tuple[str, ...] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What each group of images counts for one label per unit: integers whose sums over groups give the IoU.

        Args:
            labels: [U] int64, the label of each unit.
            scope: of the union, see `iou`.
            categories: [C] the category of each label, needed for scope "category".

        Returns:
            [G, U] int64 on the CPU: intersections, the units' areas in the union, and the labels' areas.
        """
        images, unit_area, label_area = (part.cpu() for part in self._by_image())
        group = group_of(images, self.groups)
        shared = self._grouped.cpu()[:, torch.arange(len(labels)), labels].long()
        fires, carries = torch.zeros_like(shared), torch.zeros_like(shared)
        carries.index_add_(0, group, label_area[:, labels])
        if scope == "all":
            fires.index_add_(0, group, unit_area)
        else:
            for category, members in _members(label_area, categories).items():
                units = torch.tensor([(categories or ())[label] == category for label in labels.tolist()])
                seen = (label_area[:, members] > 0).any(1)
                fires[:, units] = fires[:, units].index_add(0, group[seen], unit_area[seen][:, units])
        return shared, fires, carries

    def by_half(
        self, scope: Scope = "all", categories: tuple[str, ...] | None = None
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each half of the images (`dissect.chosen.half_of`) what `iou` takes, on the CPU."""
        images, unit_area, label_area = (part.cpu() for part in self._by_image())
        shared = self._grouped.cpu().view(2, -1, self.num_units, self.num_labels).sum(1)
        found = []
        for half in (0, 1):
            here = half_of(images) == half
            scoped = _scoped(unit_area[here], label_area[here], scope, categories)
            found.append((shared[half], scoped, label_area[here].sum(0)))
        return found

    def fold(self, categories: tuple[str, ...]) -> None:
        """Adds up images of one group that carry labels of the same categories: memory grows no more with their number.

        No IoU changes. `unit_area` and `label_area` have one row for each such set from then on, at the place of its
        lowest image number.

        Args:
            categories: [C] the category of each label; all the same where only scope "all" is asked for.
        """
        images, unit_area, label_area = self._by_image()
        members = _members(label_area, categories).values()
        apart = [group_of(images, max(1, self.groups)), *((label_area[:, of] > 0).any(1).long() for of in members)]
        sets, group = torch.stack(apart, 1).unique(dim=0, return_inverse=True)
        first = images.new_full((len(sets),), torch.iinfo(torch.int64).max).scatter_reduce(0, group, images, "amin")
        areas = (area.new_zeros(len(sets), area.shape[1]) for area in (unit_area, label_area))
        unit_sums, label_sums = (
            total.index_add_(0, group, area) for total, area in zip(areas, (unit_area, label_area))
        )
        self._batches = [(first, unit_sums, label_sums)]

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors and JSON values."""
        images, unit_area, label_area = self._by_image()
        return {
            "thresholds": self.thresholds.clone(),
            "intersection": self._intersection.clone(),
            "images": images,
            "unit_area": unit_area,
            "label_area": label_area,
            "grid": grid_key(self.grid),
            "grouped": self._grouped.to(torch.int64, copy=True),
            "group_images": self._images.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: its thresholds, labels or grid are not this tally's, or it holds what cannot be.
        """
        _check_state(state)
        device = self.thresholds.device
        if state["intersection"].shape[1] != self.num_labels:
            raise refusal(
                ValueError(
                    f"the state must count {self.num_labels} labels, but counts {state['intersection'].shape[1]}."
                )
            )
        if not torch.equal(self.thresholds, state["thresholds"].to(device)):
            raise refusal(ValueError("the state's thresholds must be this tally's, but they differ."))
        if "grid" in state and state["grid"] != grid_key(self.grid):
            raise refusal(ValueError("the state's grid must be this tally's, but they differ."))
        grouped, images = (state.get(name) for name in ("grouped", "group_images"))  # files of before have none
        if self.groups != (0 if grouped is None else len(grouped)):
            raise refusal(ValueError(f"the state must have {self.groups} groups of images, but has others."))
        self._status, self._batch, self._pixels = None, 0, 1 << 31
        if grouped is not None and images is not None:
            self._grouped, self._images = grouped.to(device, copy=True), images.clone()
        self._intersection = state["intersection"].to(device, copy=True)
        self._batches = [(state["images"], state["unit_area"], state["label_area"])]

    def _by_image(self) -> tuple[Tensor, Tensor, Tensor]:
        """Image numbers, unit areas and label areas, in the order of the numbers."""
        self.check()
        device = self.thresholds.device
        images, unit_area, label_area = (
            torch.cat([part.to(device) for part in parts]) for parts in zip(*self._batches)
        )
        order = images.argsort(stable=True)
        self._batches = [(images[order], unit_area[order], label_area[order])]
        return self._batches[0]


def _members(label_area: Tensor, categories: tuple[str, ...] | None) -> dict[str, Tensor]:
    """By category, [C] bool: which labels are of it."""
    if categories is None or len(categories) != label_area.shape[1]:
        raise refusal(ValueError('scope "category" must come with the category of each label.'))
    kinds = sorted(set(categories[1:]))
    return {kind: torch.tensor([name == kind for name in categories], device=label_area.device) for kind in kinds}


def category_groups(categories: Sequence[str]) -> Tensor:
    """[G, L] bool: which of L labels are of each category, these in the order of the alphabet; one row at least."""
    kinds = sorted(set(categories)) or [""]
    members = [[name == kind for name in categories] for kind in kinds]
    return torch.tensor(members, dtype=torch.bool).view(len(kinds), len(categories))


def _scoped(unit_area: Tensor, label_area: Tensor, scope: Scope, categories: tuple[str, ...] | None) -> Tensor:
    """[U] or [U, C] of areas [N, U] and [N, C] by image: see `IouTally.scoped_unit_area`."""
    if scope == "all":
        return unit_area.sum(0)
    area = unit_area.new_zeros(unit_area.shape[1], label_area.shape[1])
    for members in _members(label_area, categories).values():
        carries = (label_area[:, members] > 0).any(1)
        area[:, members] = unit_area[carries].sum(0)[:, None]
    return area


#: Counts are exact as float64 too.
MOST = 1 << 53

_STATE = {
    "thresholds": Array(torch.float32, "U", -math.inf, math.inf),
    "intersection": Array(torch.int64, "U C", 0, MOST),
    "images": Array(torch.int64, "N"),
    "unit_area": Array(torch.int64, "N U", 0, MOST),
    "label_area": Array(torch.int64, "N C", 0, MOST),
    "grid": Maybe(Text()),
    "grouped": Maybe(Array(torch.int64, "G U C", 0, MOST)),
    "group_images": Maybe(Array(torch.int64, "G", 0, MOST)),
}


def _check_state(state: dict[str, Any]) -> None:
    """Refuses a state of `IouTally` that cannot be."""
    what = "IouTally: the state"
    require(what, fields(what, state, _STATE)["C"] >= 1, "there is a label 0")
    check_counts(what, state["intersection"], state["unit_area"].sum(0), state["label_area"].sum(0))
    grouped, images = state.get("grouped"), state.get("group_images")
    require(what, (grouped is None) == (images is None), "groups of images come with their counts")
    if grouped is not None and len(grouped):
        require(what, torch.equal(grouped.sum(0), state["intersection"]), "the groups' intersections add up")


def check_counts(what: str, intersection: Tensor, unit_area: Tensor, label_area: Tensor) -> None:
    """Refuses an intersection [U, C] that is larger than the area [U] or [U, C] of its unit, or [C] of its label.

    Raises:
        ValueError: says which.
    """
    unit_area = unit_area[:, None] if unit_area.ndim == 1 else unit_area
    require(what, intersection <= unit_area, "no intersection exceeds its unit's area")
    require(what, intersection <= label_area, "no intersection exceeds its label's area")
    require(what, (intersection[:, 0] == 0).all() & (label_area[0] == 0), "label 0 is counted nowhere")
