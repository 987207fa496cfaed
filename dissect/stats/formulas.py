"""The formula of labels that overlaps a unit most, by beam search (Mu & Andreas 2020)."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.stats.iou import best_labels, iou

Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
_Mask = TypeVar("_Mask", Tensor, Bools)

#: Of how many candidates, best first, the search looks for different ones at once.
_AT_ONCE = 64

#: How a formula goes on: F OR c, F AND c, F AND NOT c.
JOINS = ("OR", "AND", "AND NOT")


class Formula(NamedTuple):
    """Labels, each joined to what stands before it: ((a OR b) AND NOT c) has labels (a, b, c), joins (OR, AND NOT)."""

    labels: tuple[int, ...]
    joins: tuple[str, ...] = ()

    def holds(self, members: Tensor) -> Tensor:
        """[K] bool: for which combinations it is true.

        Args:
            members: [K, C] bool, the labels of each combination.

        Example:
            >>> members = torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]]).bool()
            >>> Formula((1, 2), ("AND NOT",)).holds(members).tolist()
            [False, True, False, False]
        """
        found = torch.zeros(len(members), dtype=torch.bool)
        for label, join in zip(self.labels, ("OR", *self.joins)):
            found = _joined(found, members[:, label], join)
        return found

    def named(self, names: tuple[str, ...]) -> str:
        """As text.

        Example:
            >>> Formula((1, 2, 3), ("OR", "AND NOT")).named(("-", "sky", "sea", "tree"))
            '(sky OR sea) AND NOT tree'
        """
        text = names[self.labels[0]] if self.labels else ""
        for number, (label, join) in enumerate(zip(self.labels[1:], self.joins)):
            # Brackets where what stands before has another join, so that the text reads one way only.
            needed = number > 0 and not join == self.joins[number - 1] in JOINS[:2]
            text = f"{f'({text})' if needed else text} {join} {names[label]}"
        return text


def label_members(table: Tensor, num_labels: int) -> Tensor:
    """[K, C] bool: which labels each combination of a table [K, P] has; label 0 is none.

    Example:
        >>> label_members(torch.tensor([[0, 0], [0, 2]]), 3).tolist()
        [[False, False, False], [False, False, True]]
    """
    members = torch.zeros(len(table), num_labels, dtype=torch.bool).scatter_(1, table, True)
    members[:, 0] = False
    return members


class Found(NamedTuple):
    """A unit's best formula, with its counts; no labels where the unit meets none.

    Attributes:
        formula: the formula.
        intersection: pixels where it holds and the unit fires.
        area: pixels where it holds.
    """

    formula: Formula
    intersection: int
    area: int


class _Candidate(NamedTuple):
    formula: Formula
    intersection: int
    area: int
    holds: Bools  # [K]


@speaks
class FormulaSearch:
    """Searches the best formulas of a data set whose combinations of labels were counted.

    The search begins with the `beam` labels of the highest IoU. At each step every formula of the beam is joined with
    every label by OR, AND and AND NOT, and the best `beam` of these and of the beam itself go on; of several with the
    same intersection and area, as a OR b and b OR a, only the first. So the best single label is never lost, and a
    longer formula is given only where its IoU is higher. What the search finds need not be the best of all formulas.

    Counts follow from ``|F & c & u|`` and ``|F & c|``: ``|F OR c| = |F| + |c| - |F & c|``, and
    ``|F AND NOT c| = |F| - |F & c|``; all are integers, so that every machine finds the same formulas.

    Args:
        table: [K, P] the labels of each combination, 0 for none (`CombinationTally.table`).
        areas: [K] int64, the pixels of each.
        num_labels: C, label 0 included.
        length: the most labels of a formula.
        beam: how many formulas go on at each step.

    Raises:
        ValueError: a length or a beam below 1.

    Example:
        >>> search = FormulaSearch(torch.tensor([[0, 0], [0, 1], [0, 2], [1, 2]]), torch.tensor([4, 2, 2, 1]), 3)
        >>> search.best(torch.tensor([0, 2, 2, 0]))
        Found(formula=Formula(labels=(1, 2), joins=('OR',)), intersection=4, area=5)
    """

    def __init__(self, table: Tensor, areas: Tensor, num_labels: int, *, length: int = 3, beam: int = 5) -> None:
        if min(length, beam) < 1:
            raise refusal(ValueError(f"length and beam must be at least 1, but got {length} and {beam}."))
        self.length, self.beam, self.num_labels = length, beam, num_labels
        self._labels = _once(table)
        # By label, as a search asks for all combinations of few labels.
        self._holds = label_members(table, num_labels).T.contiguous()
        self.members = self._holds.T
        self._areas = areas.numpy()
        self._label_areas = self._by_label(np.arange(len(table)), self._areas)

    def best(self, counts: Tensor) -> Found:
        """Of one unit.

        Args:
            counts: [K] int64, the pixels of each combination on which it fires.
        """
        fires, unit_area = counts.numpy(), int(counts.sum())
        hits = self._by_label(fires.nonzero()[0], fires)
        beam = self._first(hits, unit_area)
        for _ in range(self.length - 1):
            if not beam:
                break
            held = [one.holds.nonzero()[0] for one in beam]
            both = np.stack([self._by_label(rows, fires) for rows in held])  # |F & c & u|
            shared = np.stack([self._by_label(rows, self._areas) for rows in held])  # |F & c|
            hits3 = _by_join([one.intersection for one in beam], hits, both)
            areas3 = _by_join([one.area for one in beam], self._label_areas, shared)
            beam = self._next(beam, hits3, areas3, unit_area)
        return _first_of(beam)

    def ious(self, counts: Tensor) -> Tensor:
        """[U] float64: the IoU of each unit's best formula; 0 of units that meet no label.

        Args:
            counts: [U, K] int64, the pixels of each combination on which units fire.

        Example:
            >>> search = FormulaSearch(torch.tensor([[0, 0], [0, 1], [0, 2], [1, 2]]), torch.tensor([4, 2, 2, 1]), 3)
            >>> search.ious(torch.tensor([[0, 2, 2, 0], [3, 0, 0, 0]]))
            tensor([0.8000, 0.0000], dtype=torch.float64)
        """
        found = [self.best(own) for own in counts]
        both, area = (torch.tensor([getattr(one, part) for one in found]) for part in ("intersection", "area"))
        return both.double() / (counts.sum(1) + area - both).clamp(min=1)

    def label(self, counts: Tensor) -> Found:
        """The label of the highest IoU, of one unit."""
        fires = counts.numpy()
        return _first_of(self._first(self._by_label(fires.nonzero()[0], fires), int(counts.sum())))

    def also(self, counts: Tensor, label: int) -> tuple[Found, int]:
        """The label of the highest IoU when the pixels of another are taken away, from the unit and from all labels.

        Args:
            counts: [K] int64, the pixels of each combination on which the unit fires.
            label: the other, the unit's best for example.

        Returns:
            What was found, with its counts on the other pixels; and on how many of these the unit fires.

        Example:
            >>> search = FormulaSearch(torch.tensor([[0, 0], [0, 1], [0, 2], [1, 2]]), torch.tensor([4, 2, 2, 1]), 3)
            >>> search.also(torch.tensor([1, 2, 1, 1]), 1)
            (Found(formula=Formula(labels=(2,), joins=()), intersection=1, area=2), 2)
        """
        left = (~self._holds[label]).numpy().nonzero()[0]
        fires, firing = counts.numpy(), int(counts.numpy()[left].sum())
        hits, areas = self._by_label(left, fires), self._by_label(left, self._areas)
        best = int(best_labels(_ious(hits, firing, areas)[None])) if self.num_labels > 1 else 0
        if not hits[best]:
            return Found(Formula(()), 0, 0), firing
        return Found(Formula((best,)), int(hits[best]), int(areas[best])), firing

    def measure(self, formula: Formula, counts: Tensor) -> tuple[int, int]:
        """(intersection, area) of any formula with a unit of these counts [K]."""
        holds = formula.holds(self.members).numpy()
        return int(counts.numpy()[holds].sum()), int(self._areas[holds].sum())

    def _by_label(self, rows: Integers, pixels: Integers) -> Integers:
        """[C] the pixels [K] of each label, of the combinations of these numbers alone."""
        labels = self._labels[rows]
        weights = pixels[rows].repeat(labels.shape[1])
        # Sums in float64 of integers below 2^53, exact in any order.
        found = np.bincount(labels.ravel(), weights, self.num_labels).astype(np.int64)
        found[0] = 0
        return found

    def _first(self, hits: Integers, unit_area: int) -> list[_Candidate]:
        order = _best_first(_ious(hits, unit_area, self._label_areas))[: self.beam].tolist()
        return [
            _Candidate(Formula((at,)), int(hits[at]), int(self._label_areas[at]), self._holds[at].numpy())
            for at in order
            if hits[at] > 0
        ]

    def _next(self, beam: list[_Candidate], hits: Integers, areas: Integers, unit_area: int) -> list[_Candidate]:
        """The best of the beam and of its formulas made longer; counts [B, 3, C] are of these."""
        # The beam comes first, so that of equal ones the shorter goes on.
        both = np.concatenate([[one.intersection for one in beam], hits.ravel()])
        area = np.concatenate([[one.area for one in beam], areas.ravel()])
        order = _best_first(_ious(both, unit_area, area))
        found: dict[tuple[int, int], _Candidate] = {}
        for some in np.split(order, range(_AT_ONCE, len(order), _AT_ONCE)):
            for at, *pair in zip(some.tolist(), both[some].tolist(), area[some].tolist()):
                if len(found) == self.beam or pair[0] == 0:
                    return list(found.values())
                if (pair[0], pair[1]) not in found:
                    longer = self._longer(beam, at - len(beam), *pair) if at >= len(beam) else beam[at]
                    found[pair[0], pair[1]] = longer
        return list(found.values())

    def _longer(self, beam: list[_Candidate], at: int, intersection: int, area: int) -> _Candidate:
        of, join, label = at // (3 * self.num_labels), at // self.num_labels % 3, at % self.num_labels
        formula = Formula((*beam[of].formula.labels, label), (*beam[of].formula.joins, JOINS[join]))
        return _Candidate(formula, intersection, area, _joined(beam[of].holds, self._holds[label].numpy(), JOINS[join]))


def _first_of(beam: list[_Candidate]) -> Found:
    if not beam:
        return Found(Formula(()), 0, 0)
    return Found(beam[0].formula, beam[0].intersection, beam[0].area)


def _once(table: Tensor) -> Integers:
    """A table [K, P] of combinations, where a label that a row has twice stands once, and else 0."""
    rows = table.sort(1).values.numpy().copy()
    rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = 0
    return rows


def _ious(intersection: Integers, unit_area: int, area: Integers) -> Tensor:
    parts = torch.from_numpy(intersection)[None], torch.tensor([unit_area]), torch.from_numpy(area)
    return iou(*parts)[0]


def _best_first(scores: Tensor) -> Integers:
    return scores.sort(descending=True, stable=True).indices.numpy()


def _joined(holds: _Mask, label: _Mask, join: str) -> _Mask:
    if join == "OR":
        return holds | label
    return holds & (label if join == "AND" else ~label)


def _by_join(formulas: list[int], labels: Integers, both: Integers) -> Integers:
    """[B, 3, C] pixels of B formulas joined with C labels, from those of each [B] and [C], and of both [B, C]."""
    own = np.array(formulas)[:, None]
    return np.stack([own + labels - both, both, own - both], 1)
