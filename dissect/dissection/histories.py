"""Units along a training: which concept each has at each step, which keep theirs, and how others change."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from dissect.concepts import Concepts
from dissect.dissection.compared import ALL, Compared
from dissect.stats.proportion import wilson_interval

if TYPE_CHECKING:
    from dissect.dissection.result import LayerDissection

#: A unit is like what it was if at most this share of the other units are as much.
RARE = 0.05
#: The concept of a unit that has none.
NONE = "-"


class HistoryRow(NamedTuple):
    """A unit at a step of a training (Zhou et al. 2018, Fig. 19 and 23).

    Attributes:
        layer: the layer's name.
        unit: its number.
        step: of the training.
        concept: the best one at that step, "-" where no concept has an IoU above 0.
        category: of the concept.
        iou: with it.
        detector: whether the unit is a detector then.
    """

    layer: str
    unit: int
    step: float
    concept: str
    category: str
    iou: float
    detector: bool


class ChangeRow(NamedTuple):
    """A unit at the first step and at the last one (Zhou et al. 2018, Fig. 21 and 22).

    Attributes:
        layer: the layer's name.
        unit: its number.
        before: its concept at the first step.
        before_iou: with that.
        after: its concept at the last step.
        after_iou: with that.
        detector: whether it is a detector at both.
        kept: whether both are one concept.
        changes: how often its concept is another one than at the step before.
        since: the step from which on it has its last concept.
        alike: in which category what it fires on is still like what it was, see `likenesses`; None in none.
    """

    layer: str
    unit: int
    before: str
    before_iou: float
    after: str
    after_iou: float
    detector: bool
    kept: bool
    changes: int
    since: float
    alike: str | None


class KeptRow(NamedTuple):
    """How many of a layer's units keep their concept from the first step to the last (Zhou et al. 2018, 3.7).

    Attributes:
        layer: the layer's name.
        of: "units": all that have a concept at both steps; "detectors": those that are detectors at both.
        units: how many these are.
        kept: how many of them have the same concept.
        share: kept over units; None where there are none.
        low: the lower end of its 95 % interval (Wilson), which takes the units to be independent; None without any.
        high: the upper end.
        by_chance: the share to be expected if the last concepts were dealt out among these units by chance.
    """

    layer: str
    of: str
    units: int
    kept: int
    share: float | None
    low: float | None
    high: float | None
    by_chance: float | None


class AlikeRow(NamedTuple):
    """How many units that changed their concept still fire on what is like it was, beside chance.

    Attributes:
        layer: the layer's name.
        category: in which what they fire on is alike, see `likenesses`; "all" for any.
        units: how many units have a concept at the first step and another one at the last.
        alike: how many of them are alike.
        by_chance: how many would be if each became what any of the layer's units became: the mean over permutations.
        fewest: in any permutation.
        most: the same.
        p: how probable so many or more are by chance, (1 + permutations with as many) / (1 + permutations).
    """

    layer: str
    category: str
    units: int
    alike: int
    by_chance: float
    fewest: int
    most: int
    p: float


def history_rows(layers: Iterable[Compared]) -> list[HistoryRow]:
    """Each unit of each layer, step by step."""
    found = []
    for name, steps in _by_layer(layers).items():
        own = [{row.unit for row in one.detectors} for one in steps]
        for rows in zip(*(one.units for one in steps)):
            found += [
                HistoryRow(name, row.unit, one.step or 0, row.concept, row.category, row.iou, row.unit in detectors)
                for row, one, detectors in zip(rows, steps, own)
            ]
    return found


def change_rows(layers: Iterable[Compared], concepts: Concepts) -> list[ChangeRow]:
    """Each unit of each layer, at the first step and at the last."""
    found = []
    for name, steps in _by_layer(layers).items():
        alike = likenesses(steps[0].layer, steps[-1].layer, concepts)
        own = [{row.unit for row in one.detectors} for one in (steps[0], steps[-1])]
        for unit, rows in enumerate(zip(*(one.units for one in steps))):
            named = [(row.concept, row.category) for row in rows]
            turns = [at for at, (one, other) in enumerate(pairwise(named), 1) if one != other]
            found.append(ChangeRow(
                name, rows[0].unit, rows[0].concept, rows[0].iou, rows[-1].concept, rows[-1].iou,
                all(rows[0].unit in detectors for detectors in own), named[0] == named[-1] and rows[0].concept != NONE,
                len(turns), steps[turns[-1] if turns else 0].step or 0, alike[unit],
            ))  # fmt: skip
    return found


def kept_rows(layers: Iterable[Compared], changes: Sequence[ChangeRow]) -> list[KeptRow]:
    """Of each layer's units, and of those that are detectors at both ends."""
    found = []
    for name in _by_layer(layers):
        having = [row for row in changes if row.layer == name and NONE not in (row.before, row.after)]
        for of, rows in (("units", having), ("detectors", [row for row in having if row.detector])):
            count, kept = len(rows), sum(row.kept for row in rows)
            if not count:
                found.append(KeptRow(name, of, 0, 0, None, None, None, None))
                continue
            first, last = Counter(row.before for row in rows), Counter(row.after for row in rows)
            chance = sum(first[concept] * last[concept] for concept in first) / count**2
            found.append(KeptRow(name, of, count, kept, kept / count, *wilson_interval(kept, count), chance))
    return found


def likenesses(before: LayerDissection, after: LayerDissection, concepts: Concepts) -> list[str | None]:
    """In which category of concepts each unit still fires on what it fired on: a proxy for a person's judgement.

    With p_l the share of the unit's area that carries label l before, and q_l after, the likeness in a category is
    ``sum_l min(p_l, q_l) / sum_l max(p_l, q_l)`` over its labels. It counts where at most 5 % of the layer's other
    units are after as much like what this unit was before; of several categories the one where fewest are. (People
    judged the shape, texture, color or object that two concepts share; no count tells a shape.)

    Args:
        before: a layer.
        after: the same, later.
        concepts: of the labels of both.

    Returns:
        A category for each unit, None where there is none, and where labels have thresholds of their own.
    """
    table, names = _likeness_table(before, after, concepts)
    return [None if at < 0 else names[at] for at in table.diagonal().tolist()]


def alike_rows(
    layers: Iterable[Compared], changes: Sequence[ChangeRow], concepts: Concepts, permutations: int, seed: int
) -> list[AlikeRow]:
    """Of each layer whose labels share each unit's threshold, by category: alike units, and permuted ones."""
    found = []
    for layer, steps in _by_layer(layers).items():
        own = [row for row in changes if row.layer == layer]
        changed = [at for at, row in enumerate(own) if NONE not in (row.before, row.after) and not row.kept]
        if not changed or any(one.layer.label_thresholds is not None for one in (steps[0], steps[-1])):
            continue
        table, names = _likeness_table(steps[0].layer, steps[-1].layer, concepts)
        generator = torch.Generator().manual_seed(seed)
        orders = torch.stack([torch.randperm(len(own), generator=generator) for _ in range(permutations)])
        units = torch.tensor(changed)
        drawn, real = table[units, orders[:, units]], table.diagonal()[units]
        for at, name in ((-1, ALL), *enumerate(names)):
            counts = ((drawn == at) if at >= 0 else (drawn >= 0)).sum(1)
            alike = int(((real == at) if at >= 0 else (real >= 0)).sum())
            as_many = int((counts >= alike).sum())
            found.append(AlikeRow(
                layer, name, len(changed), alike, float(counts.double().mean()), int(counts.min()), int(counts.max()),
                (1 + as_many) / (1 + permutations),
            ))  # fmt: skip
    return found


def _likeness_table(before: LayerDissection, after: LayerDissection, concepts: Concepts) -> tuple[Tensor, list[str]]:
    """Category numbers [U, U]: where unit v is after like what unit u was, as `likenesses` says; -1 nowhere."""
    count, names = before.num_units, list(dict.fromkeys(concepts.categories[1:]))
    best = torch.full((count, count), -1)
    if before.label_thresholds is not None or after.label_thresholds is not None or count < 2:
        return best, names
    shares = [layer.intersection / layer.unit_area.clamp(min=1)[:, None] for layer in (before, after)]
    rarest = torch.full((count, count), float("inf"), dtype=torch.float64)
    for at, category in enumerate(names):
        labels = [label for label, name in enumerate(concepts.categories) if label and name == category]
        then, now = (share[:, labels].double() for share in shares)
        for unit in range(count):
            like = torch.minimum(then[unit], now).sum(1) / torch.maximum(then[unit], now).sum(1).clamp(min=1e-300)
            as_much = count - torch.searchsorted(like.sort().values, like)
            others = (as_much - 1).double() / (count - 1)
            nearer = (like > 0) & (others <= RARE) & (others < rarest[unit])
            rarest[unit, nearer], best[unit, nearer] = others[nearer], at
    return best, names


def _by_layer(layers: Iterable[Compared]) -> dict[str, list[Compared]]:
    """The steps of each layer."""
    found: dict[str, list[Compared]] = defaultdict(list)
    for one in layers:
        found[one.layer.name].append(one)
    return found
