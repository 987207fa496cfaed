"""How often units fire where labels come together: from it the IoU of every formula of labels follows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dissect import ops
from dissect.arguments import refusal, speaks
from dissect.chosen import half_of
from dissect.devices import to_device
from dissect.files.checked import Array, Maybe, Text, fields, require
from dissect.grid import Grid
from dissect.reference.encode_labels import RUN_SHIFTS
from dissect.stats.state import State, grid_key, image_numbers

#: Bytes that the counts of a tally may take.
BUDGET = 4 << 30


@speaks
class CombinationTally(State):
    """Counts of units by combination of labels: all that a formula of labels can ask of a data set.

    A pixel's labels, in all planes, are one combination, of which a data set has few: a formula says of each whether it
    holds there, so that no masks are kept, however many pixels there are. Images fall into two halves by a hash of
    their numbers (`dissect.chosen.half_of`), which are counted apart.

    Args:
        thresholds: [U] float32.
        num_labels: C, label 0 included.
        grid: how the maps are sampled; half-pixel with edge border by default.
        backend: of `dissect.ops.iou_counts`.
        budget: bytes for the counts, 16 per unit and combination.

    Example:
        >>> tally = dissect.stats.CombinationTally(torch.tensor([0.5]), num_labels=3)
        >>> maps, planes = torch.tensor([[[[0.0, 1.0, 1.0]]]]), torch.tensor([[[[1, 1, 0]], [[0, 2, 2]]]])
        >>> tally.add(maps, dissect.ops.encode_labels(planes, 3), torch.tensor([0]))
        >>> tally.table.tolist(), tally.areas().tolist(), tally.counts().tolist()
        ([[0, 0], [0, 1], [1, 2], [0, 2]], [0, 1, 1, 1], [[0, 0, 1, 1]])
    """

    tensors = ("thresholds", "_counts")

    def __init__(
        self,
        thresholds: Tensor,
        num_labels: int,
        *,
        grid: Grid | None = None,
        backend: str = "auto",
        budget: int = BUDGET,
    ) -> None:
        self.thresholds, self.num_labels, self.grid, self.backend = thresholds, num_labels, grid, backend
        self.budget, self._batch = budget, 0
        self._known: dict[tuple[int, ...], int] = {}  # the place of each combination, its labels rising
        self._counts = torch.zeros(2, len(thresholds), 0, dtype=torch.int64, device=thresholds.device)
        self._areas = torch.zeros(2, 0, dtype=torch.int64)

    def add(self, activations: Tensor, labels: ops.EncodedLabels, images: Tensor) -> None:
        """Adds a batch; `images` [N] are the global image numbers. Waits for a GPU, to learn of new combinations.

        Raises:
            TypeError, ValueError: as `dissect.ops.iou_counts`; more combinations than the budget has room for.
        """
        images = image_numbers("CombinationTally", images, activations)
        self._move(activations.device)
        rows, number = _different(labels.table.sort(1).values, self.num_labels)
        at = (labels.runs & ((1 << RUN_SHIFTS[labels.runs.dtype]) - 1)).long() + labels.offsets[:-1, None, None]
        half = to_device(half_of(images), at.device).repeat_interleave(labels.offsets.diff())
        # Each combination that a half has as a label of one plane; no pixel is without.
        kinds, own = (half * len(rows) + number).unique(return_inverse=True)
        counts = ops.iou_counts(
            activations, self.thresholds, (1 + own[at])[:, None].int(), 1 + len(kinds), grid=self.grid,
            backend=self.backend,
        )  # fmt: skip
        self._note(counts.status, self._batch)
        self._batch += 1
        combinations = [tuple(filter(None, row)) for row in rows.tolist()]
        split = int((kinds < len(rows)).sum())
        for half_number, where in enumerate((slice(0, split), slice(split, None))):
            self._add(
                half_number,
                [combinations[kind] for kind in (kinds[where] % len(rows)).tolist()],
                counts.intersection[:, 1:][:, where],
                counts.label_area[:, 1:].sum(0)[where].cpu(),
            )

    def _add(self, half: int, combinations: list[tuple[int, ...]], counts: Tensor, areas: Tensor) -> None:
        """Counts [U, K'] and areas [K'] of combinations, known ones or new, in a half of the images."""
        number = len({*self._known, *combinations})
        if number > self._areas.shape[1]:
            self._make_room(number)
        where = torch.tensor([self._known.setdefault(labels, len(self._known)) for labels in combinations]).long()
        self._areas[half].index_add_(0, where, areas)
        self._counts[half].index_add_(1, to_device(where, counts.device), counts)

    def _make_room(self, number: int) -> None:
        units, had = len(self.thresholds), self._areas.shape[1]
        most = self.budget // (16 * max(1, units))
        if number > most:
            raise refusal(
                ValueError(
                    f"budget must hold {number} combinations of labels of {units} units, "
                    f"{16 * units * number} bytes, but is {self.budget}; leave out planes, or give more."
                )
            )
        more = min(max(number, 2 * had), most) - had
        self._areas = torch.cat([self._areas, self._areas.new_zeros(2, more)], 1)
        self._counts = torch.cat([self._counts, self._counts.new_zeros(2, units, more)], 2)

    def merge(self, other: CombinationTally) -> None:
        """Adds the counts of other images.

        Raises:
            ValueError: the thresholds, the number of labels or the grids differ.
        """
        self.check()
        other.check()
        self._agree(
            {
                "thresholds": torch.equal(self.thresholds, other.thresholds.to(self.thresholds.device)),
                "num_labels": self.num_labels == other.num_labels,
                "grid": grid_key(self.grid) == grid_key(other.grid),
            }
        )
        number = len(other._known)
        counts = other._counts[..., :number].to(self.thresholds.device)
        for half in (0, 1):
            self._add(half, list(other._known), counts[half], other._areas[half, :number])

    @property
    def table(self) -> Tensor:
        """[K, P] int64: the labels of each combination, rising, 0 where it has fewer; in the order of their labels."""
        rows, width = sorted(self._known), max(map(len, self._known), default=0)
        padded = [[0] * (width - len(row)) + list(row) for row in rows]
        return torch.tensor(padded, dtype=torch.int64).view(len(rows), width)

    def counts(self, half: int | None = None) -> Tensor:
        """[U, K] int64: the pixels of each combination on which a unit fires, in all images or one half."""
        self.check()
        return self._of(self._counts, half)

    def areas(self, half: int | None = None) -> Tensor:
        """[K] int64: pixels of each combination."""
        return self._of(self._areas, half)

    def _of(self, values: Tensor, half: int | None) -> Tensor:
        order = torch.tensor([self._known[row] for row in sorted(self._known)], dtype=torch.int64)
        picked = values.sum(0) if half is None else values[half]
        return picked.index_select(-1, to_device(order, picked.device))

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors and JSON values."""
        return {
            "thresholds": self.thresholds.clone(),
            "table": self.table,
            "counts": torch.stack([self.counts(half) for half in (0, 1)]),
            "areas": torch.stack([self.areas(half) for half in (0, 1)]),
            "grid": grid_key(self.grid),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: its thresholds or grid are not this tally's, or it holds what cannot be.
        """
        what = "CombinationTally: the state"
        table = Array(torch.int64, "K P", 0, self.num_labels - 1)
        counts, areas = Array(torch.int64, "2 U K", 0), Array(torch.int64, "2 K", 0)
        rules = {"thresholds": Array(torch.float32, "U"), "table": table, "counts": counts, "areas": areas}
        fields(what, state, {**rules, "grid": Maybe(Text())})
        require(what, torch.equal(state["thresholds"], self.thresholds.cpu()), "its thresholds are this tally's")
        require(what, state["grid"] == grid_key(self.grid), "its grid is this tally's")
        require(what, float(state["areas"].double().sum()) < 1 << 53, "its pixels are fewer than 2^53")
        require(what, state["counts"].amax(1) <= state["areas"], "no unit fires on more pixels than there are")
        rows = [tuple(label for label in row if label) for row in state["table"].tolist()]
        require(what, len(set(rows)) == len(rows), "each combination is there once")
        self._known, self._status, self._batch = {row: place for place, row in enumerate(rows)}, None, 0
        self._counts = state["counts"].to(self.thresholds.device, copy=True)
        self._areas = state["areas"].clone()


def _different(table: Tensor, num_labels: int) -> tuple[Tensor, Tensor]:
    """The rows of a table [T, P] of labels that differ, rising, and of each row the number of its own among them."""
    if num_labels ** table.shape[1] >= 1 << 63:
        rows: tuple[Tensor, Tensor] = table.unique(dim=0, return_inverse=True)
        return rows
    # As digits of one number, which is ten times as fast to sort.
    digits = num_labels ** torch.arange(table.shape[1] - 1, -1, -1, device=table.device)
    keys, number = (table.long() * digits).sum(1).unique(return_inverse=True)
    return keys[:, None] // digits % num_labels, number
