"""The formula of labels that overlaps a unit most, by beam search (Mu & Andreas 2020)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dissect import ops
from dissect.arguments import refusal, speaks
from dissect.stats.iou import iou

#: How a formula goes on: F OR c, F AND c, F AND NOT c.
JOINS = ("OR", "AND", "AND NOT")


class Formula(NamedTuple):
    """Labels, each joined to what stands before it: ((a OR b) AND NOT c) has labels (a, b, c), joins (OR, AND NOT)."""

    labels: tuple[int, ...]
    joins: tuple[str, ...] = ()

    @classmethod
    def of(cls, labels: Tensor, joins: Tensor) -> Formula:
        """From numbers [L], as `dissect.ops.BestFormulas` has them."""
        chosen = tuple(int(label) for label in labels if label)
        return cls(chosen, tuple(JOINS[int(join) - 1] for join in joins[1 : len(chosen)]))

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
            own = members[:, label]
            found = found | own if join == "OR" else found & (own if join == "AND" else ~own)
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


class FoundFormula(NamedTuple):
    """A unit's best formula, with its counts; no labels where the unit meets none.

    Attributes:
        formula: the formula.
        intersection: pixels where it holds and the unit fires.
        area: pixels where it holds.
    """

    formula: Formula
    intersection: int
    area: int

    @classmethod
    def of(cls, found: ops.BestFormulas, unit: int) -> FoundFormula:
        """A unit's among those that were found."""
        formula = Formula.of(found.labels[unit], found.joins[unit])
        return cls(formula, int(found.intersection[unit]), int(found.area[unit]))


@speaks
class FormulaSearch:
    """Searches the best formulas of a data set whose combinations of labels were counted.

    `dissect.ops.formula_search` says how: a beam of `beam` formulas, each joined with every label by OR, AND and AND
    NOT. What it finds need not be the best of all formulas. All counts are integers, so that every machine finds the
    same ones.

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
        FoundFormula(formula=Formula(labels=(1, 2), joins=('OR',)), intersection=4, area=5)
    """

    def __init__(self, table: Tensor, areas: Tensor, num_labels: int, *, length: int = 3, beam: int = 5) -> None:
        if min(length, beam) < 1:
            raise refusal(ValueError(f"length and beam must be at least 1, but got {length} and {beam}."))
        self.length, self.beam, self.num_labels = length, beam, num_labels
        self._table, self._areas = table, areas
        self.members = label_members(table, num_labels)
        self._held = self.members.double()
        self._label_areas = (areas.double() @ self._held).long()

    def formulas(self, counts: Tensor) -> ops.BestFormulas:
        """Of all units.

        Args:
            counts: [U, K] int64, the pixels of each combination on which units fire.
        """
        return self._found(counts, self.length, self.beam)

    def labels(self, counts: Tensor) -> ops.BestFormulas:
        """The label of the highest IoU, of all units: formulas of one label."""
        return self._found(counts, 1, 1)

    def best(self, counts: Tensor) -> FoundFormula:
        """Of one unit, of counts [K]."""
        return FoundFormula.of(self.formulas(counts[None]), 0)

    def label(self, counts: Tensor) -> FoundFormula:
        """The label of the highest IoU, of one unit."""
        return FoundFormula.of(self.labels(counts[None]), 0)

    def ious(self, counts: Tensor) -> Tensor:
        """[U] float64: the IoU of each unit's best formula; 0 of units that meet no label.

        Args:
            counts: [U, K] int64, the pixels of each combination on which units fire.

        Example:
            >>> search = FormulaSearch(torch.tensor([[0, 0], [0, 1], [0, 2], [1, 2]]), torch.tensor([4, 2, 2, 1]), 3)
            >>> search.ious(torch.tensor([[0, 2, 2, 0], [3, 0, 0, 0]]))
            tensor([0.8000, 0.0000], dtype=torch.float64)
        """
        found = self.formulas(counts)
        return found.intersection.double() / (counts.sum(1) + found.area - found.intersection).clamp(min=1)

    def also(self, counts: Tensor, label: int) -> tuple[FoundFormula, int]:
        """What `second_labels` finds of one unit, of counts [K]."""
        found, firing = self.second_labels(counts[None], torch.tensor([label]))
        return FoundFormula.of(found, 0), int(firing)

    def second_labels(self, counts: Tensor, labels: Tensor) -> tuple[ops.BestFormulas, Tensor]:
        """The label of the highest IoU when the pixels of another are taken away, from the unit and from all labels.

        Args:
            counts: [U, K] int64, the pixels of each combination on which units fire.
            labels: [U] int64, the other of each unit, its best for example; 0 takes nothing away.

        Returns:
            What was found, with its counts on the other pixels; and [U] on how many of these the unit fires.

        Example:
            >>> search = FormulaSearch(torch.tensor([[0, 0], [0, 1], [0, 2], [1, 2]]), torch.tensor([4, 2, 2, 1]), 3)
            >>> found, firing = search.second_labels(torch.tensor([[1, 2, 1, 1]]), torch.tensor([1]))
            >>> found.labels.tolist(), found.intersection.tolist(), found.area.tolist(), firing.tolist()
            ([[2]], [1], [2], [2])
        """
        # Sums in float64 of integers below 2^53, exact in any order.
        hits, areas = (counts.double() @ self._held).long(), self._label_areas.expand(len(counts), -1).clone()
        firing = counts.sum(1)
        for unit, label in enumerate(labels.tolist()):
            away = self.members[:, label]
            own, held = counts[unit, away], self._held[away]
            firing[unit] -= own.sum()
            hits[unit] -= (own.double() @ held).long()
            areas[unit] -= (self._areas[away].double() @ held).long()
        # Label 0 has no pixels, so that it stands behind any other that has.
        best = iou(hits, firing[:, None], areas).sort(dim=1, descending=True, stable=True).indices[:, 0]
        both = hits.gather(1, best[:, None])
        best, area = best[:, None] * (both > 0), areas.gather(1, best[:, None]) * (both > 0)
        return ops.BestFormulas(best, torch.zeros_like(best), both[:, 0], area[:, 0]), firing

    def measure(self, formula: Formula, counts: Tensor) -> tuple[int, int]:
        """(intersection, area) of any formula with a unit of these counts [K]."""
        holds = formula.holds(self.members)
        return int(counts[holds].sum()), int(self._areas[holds].sum())

    def _found(self, counts: Tensor, length: int, beam: int) -> ops.BestFormulas:
        return ops.formula_search(self._table, self._areas, counts, self.num_labels, length=length, beam=beam)
