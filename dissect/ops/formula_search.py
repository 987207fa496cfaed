"""formula_search: the formula of labels that overlaps each unit most."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dissect.ops import checks
from dissect.ops.dispatch import implementation, register

#: Sums of pixels below this are exact in float64.
MOST = 1 << 53


class BestFormulas(NamedTuple):
    """Of each unit the formula that `formula_search` finds; all are 0 of a unit that meets no label.

    Attributes:
        labels: [U, L] int64, 0 where the formula is shorter.
        joins: [U, L] int64: how each label is joined to what stands before: 1 OR, 2 AND, 3 AND NOT; 0 the first, none.
        intersection: [U] int64 pixels that it shares with the unit.
        area: [U] int64 pixels on which it holds.
    """

    labels: Tensor
    joins: Tensor
    intersection: Tensor
    area: Tensor


def formula_search(
    table: Tensor,
    areas: Tensor,
    counts: Tensor,
    num_labels: int,
    *,
    length: int = 3,
    beam: int = 5,
    backend: str = "auto",
) -> BestFormulas:
    """The formula of labels, ``(sky OR sea) AND NOT tree``, that overlaps each unit most, by beam search.

    As published (Mu & Andreas 2020, "Compositional Explanations of Neurons"), but by combination of labels in the place
    of pixel by pixel, of which there are few: the pixels that a unit shares with a formula are the sum of its counts
    where the formula holds. With |u| the unit's pixels and |F| the formula's::

        IoU(F) = |F & u| / (|u| + |F| - |F & u|)    in float64

    It begins with the `beam` labels of the highest IoU; in each of the `length` - 1 steps the best `beam` go on of the
    formulas F so far, then of all ``F OR c``, ``F AND c``, ``F AND NOT c``; of equal IoUs the first, of equal counts
    the first alone. So the best label is never lost, and a longer formula only wins with a higher IoU; a better one
    that the beam does not meet may exist. All counts are integers: every backend finds the same formulas.

    Args:
        table: [K, P] int64, the labels of each combination; 0 is none (`dissect.stats.CombinationTally.table`).
        areas: [K] int64, the pixels of each combination.
        counts: [U, K] int64, those on which each unit fires.
        num_labels: C, label 0 included.
        length: L, the most labels of a formula.
        beam: how many formulas go on at each step.
        backend: "auto", "cpp", "torch" or "reference".

    Returns:
        A `BestFormulas`.

    Raises:
        TypeError: another dtype, no tensor, a number that is no integer.
        ValueError: shapes or devices that do not fit; a label out of range; counts below 0 or above their areas; areas
            that come to 2^53 pixels; `num_labels`, `length` or `beam` below 1.
        BackendUnavailableError: an explicit backend is not here.

    Example:
        >>> table = torch.tensor([[0, 0], [0, 1], [0, 2], [1, 2]])
        >>> areas, counts = torch.tensor([4, 2, 2, 1]), torch.tensor([[0, 2, 2, 0]])
        >>> dissect.ops.formula_search(table, areas, counts, 3)  # 1 OR 2
        BestFormulas(labels=tensor([[1, 2, 0]]), joins=tensor([[0, 1, 0]]), intersection=tensor([4]), area=tensor([5]))
    """
    checks.backend("formula_search", backend)
    for name, value in (("table", table), ("areas", areas), ("counts", counts)):
        checks.tensor("formula_search", name, value)
        checks.on_a_device("formula_search", name, value)
    sizes = (
        checks.integer("formula_search", name, value, 1)
        for name, value in (("num_labels", num_labels), ("length", length), ("beam", beam))
    )
    return BestFormulas(*torch.ops.dissect.formula_search(table, areas, counts, *sizes, backend))


def _formula_search(
    table: Tensor, areas: Tensor, counts: Tensor, num_labels: int, length: int, beam: int, backend: str
) -> tuple[Tensor, ...]:
    _check_shapes(table, areas, counts)
    for name, value in (("num_labels", num_labels), ("length", length), ("beam", beam)):
        checks.integer("formula_search", name, value, 1)
    _check_values(table, areas, counts, num_labels)
    serve = implementation("formula_search", backend, table.device)
    found: tuple[Tensor, ...] = serve(table, areas, counts, num_labels, length, beam)
    return found


def _check_shapes(table: Tensor, areas: Tensor, counts: Tensor) -> None:
    for name, value in (("table", table), ("areas", areas), ("counts", counts)):
        if value.dtype is not torch.int64:
            raise TypeError(f"formula_search: {name} must be int64, but got {value.dtype}.")
        checks.same_device("formula_search", name, value, table, "table")
    if table.ndim != 2:
        raise ValueError(f"formula_search: table must have shape [K, P], but got {list(table.shape)}.")
    number = len(table)
    if areas.shape != (number,):
        raise ValueError(
            f"formula_search: areas must have shape [K] with K={number} (from table), but got {list(areas.shape)}."
        )
    if counts.ndim != 2 or counts.shape[1] != number:
        raise ValueError(
            f"formula_search: counts must have shape [U, K] with K={number} (from table), but got {list(counts.shape)}."
        )


def _check_values(table: Tensor, areas: Tensor, counts: Tensor, num_labels: int) -> None:
    if table.numel() and not 0 <= int(table.min()) <= int(table.max()) < num_labels:
        bad = table[(table < 0) | (table >= num_labels)][0]
        raise ValueError(f"formula_search: table must hold labels in [0, {num_labels}), but holds {int(bad)}.")
    if bool((areas < 0).any()) or float(areas.double().sum()) >= MOST:
        raise ValueError("formula_search: areas must be at least 0 and come to fewer than 2^53 pixels.")
    wrong = (counts < 0) | (counts > areas)
    if bool(wrong.any()):
        unit, at = (int(place) for place in wrong.nonzero()[0])
        raise ValueError(
            f"formula_search: counts must lie between 0 and the areas, but of unit {unit} is {int(counts[unit, at])} "
            f"of {int(areas[at])} pixels at combination {at}."
        )


def _shapes(
    table: Tensor, areas: Tensor, counts: Tensor, num_labels: int, length: int, *arguments: object
) -> tuple[Tensor, ...]:
    _check_shapes(table, areas, counts)
    units = counts.shape[0]
    return (*(counts.new_empty(units, length) for _ in range(2)), *(counts.new_empty(units) for _ in range(2)))


register(
    "formula_search(Tensor table, Tensor areas, Tensor counts, int num_labels, int length, int beam, str backend) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    _formula_search,
    _shapes,
)
