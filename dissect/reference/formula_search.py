"""The formula of labels that overlaps a unit most, by beam search."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Numbers of the products of masks and counts that are made at once.
AT_ONCE = 1 << 24


class _Beam(NamedTuple):
    """Formulas of each unit, the best first; those of no intersection are none.

    Attributes:
        labels: [U, B, L] int64, 0 where it is shorter.
        joins: [U, B, L] int64, how each label is joined to what stands before it.
        both: [U, B] int64, the pixels that it shares with the unit.
        area: [U, B] int64, its pixels.
        holds: [U, B, K] bool, for which combinations it is true.
    """

    labels: Tensor
    joins: Tensor
    both: Tensor
    area: Tensor
    holds: Tensor


def formula_search(
    table: Tensor, areas: Tensor, counts: Tensor, num_labels: int, length: int, beam: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The formula of labels that overlaps each unit most, by the beam search of Mu & Andreas (2020, section 2).

    With u the pixels on which a unit fires and F those on which a formula holds, all counted by combination of labels::

        IoU(F) = |F & u| / (|u| + |F| - |F & u|)    in float64

    The search begins with the `beam` labels of the highest IoU, of equal ones the smaller. In each of the steps that
    follow, the beam's formulas F and then all ``F OR c``, ``F AND c`` and ``F AND NOT c``, by formula, join and label,
    are put in the order of their IoUs, of equal ones the first, and the first `beam` go on; of several of one |F & u|
    and |F| the first alone. Counts of these follow from ``|F & c & u|`` and ``|F & c|``. What shares no pixel with the
    unit is no formula.

    Args:
        table: [K, P] int64: the labels of each combination, from 0 to `num_labels` - 1; 0 is none.
        areas: [K] int64: the pixels of each.
        counts: [U, K] int64: those on which each unit fires. Sums of pixels stay below 2^53.
        num_labels: C, label 0 included.
        length: L, the most labels of a formula.
        beam: how many formulas go on at each step.

    Returns:
        Of the best formula, the labels [U, L] int64, 0 where it is shorter; the joins [U, L] int64 of each label to
        what stands before it, 1 OR, 2 AND, 3 AND NOT, and 0 the first; |F & u| [U] int64; |F| [U] int64. All are 0 of
        units that share no pixel with a label.
    """
    members = torch.zeros(len(table), num_labels, dtype=torch.bool, device=table.device).scatter_(1, table, True)
    members[:, 0] = False
    # As many units at once as masks of all formulas of their beams fit.
    some = max(1, AT_ONCE // max(1, len(table) * min(beam, 3 * num_labels * num_labels)))
    found = [_searched(members, areas, part, length, beam) for part in counts.split(some)]
    labels, joins, both, area = (torch.cat(parts) for parts in zip(*found))
    return labels, joins, both, area


def _searched(members: Tensor, areas: Tensor, counts: Tensor, length: int, beam: int) -> tuple[Tensor, ...]:
    # Products of integers below 2^53, exact in any order.
    labels, unit_area = members.double(), counts.sum(1)[:, None]
    hits, carries = (counts.double() @ labels).long(), (areas.double() @ labels).long()
    found = _single(members, hits, carries, unit_area, length, beam)
    for _ in range(length - 1):
        masks = found.holds.double()
        both = ((masks * counts[:, None].double()) @ labels).long()  # |F & c & u|, [U, B, C]
        shared = ((masks * areas.double()) @ labels).long()  # |F & c|
        # What is no formula does not become one.
        joined = _joined(found.both, hits, both) * (found.both > 0).repeat_interleave(3 * labels.shape[1], 1)
        found = _longer(found, members, joined, _joined(found.area, carries, shared), unit_area, beam)
    there = (found.both[:, 0] > 0).long()
    best = (part[:, 0] * there[:, None] for part in (found.labels, found.joins))
    return (*best, found.both[:, 0], found.area[:, 0] * there)


def _single(members: Tensor, hits: Tensor, carries: Tensor, unit_area: Tensor, length: int, beam: int) -> _Beam:
    """The labels of the highest IoU."""
    area = carries.expand_as(hits)
    chosen = _iou(hits, area, unit_area).sort(dim=1, descending=True, stable=True).indices[:, :beam]
    labels = chosen.new_zeros(*chosen.shape, length)
    labels[..., 0] = chosen
    return _Beam(labels, torch.zeros_like(labels), hits.gather(1, chosen), area.gather(1, chosen), members.T[chosen])


def _longer(found: _Beam, members: Tensor, both: Tensor, area: Tensor, unit_area: Tensor, beam: int) -> _Beam:
    """The best of a beam and of its formulas joined with a label more, whose counts [U, 3BC] are given."""
    had, num_labels = found.both.shape[1], members.shape[1]
    both, area = torch.cat([found.both, both], 1), torch.cat([found.area, area], 1)
    chosen, there = _distinct(_iou(both, area, unit_area), both, area, beam)
    longer = chosen >= had
    at = (chosen - had).clamp(min=0)
    of = torch.where(longer, at // (3 * num_labels), chosen)
    join, label = (torch.where(longer, part, 0) for part in (1 + at // num_labels % 3, at % num_labels))
    labels, joins = (
        part.gather(1, of[..., None].expand(-1, -1, part.shape[2])) for part in (found.labels, found.joins)
    )
    place = (labels > 0).sum(2, keepdim=True).clamp(max=labels.shape[2] - 1)
    labels.scatter_add_(2, place, label[..., None])
    joins.scatter_add_(2, place, join[..., None])
    holds, own = found.holds.gather(1, of[..., None].expand(-1, -1, len(members))), members.T[label]
    join = join[..., None]
    holds = torch.where(join == 1, holds | own, torch.where(join == 2, holds & own, holds & ~(own & (join == 3))))
    return _Beam(labels, joins, both.gather(1, chosen) * there, area.gather(1, chosen), holds)


def _distinct(score: Tensor, both: Tensor, area: Tensor, beam: int) -> tuple[Tensor, Tensor]:
    """[U, B] where the highest scores [U, M] are, the first of equal ones, of equal counts the first alone.

    And [U, B] bool, which of them are there: a unit may have fewer above 0.
    """
    places, left = torch.arange(score.shape[1], device=score.device), score
    chosen: list[Tensor] = []
    there: list[Tensor] = []
    for _ in range(min(beam, score.shape[1])):
        best = left.amax(1, keepdim=True)
        if chosen and not bool((best > 0).any()):
            break
        at = torch.where(left == best, places, score.shape[1]).amin(1, keepdim=True)
        chosen.append(at)
        there.append(best > 0)
        left = left.masked_fill((both == both.gather(1, at)) & (area == area.gather(1, at)), 0)
    return torch.cat(chosen, 1), torch.cat(there, 1)


def _iou(both: Tensor, area: Tensor, unit_area: Tensor) -> Tensor:
    return both.double() / (unit_area + area - both).clamp(min=1).double()


def _joined(formulas: Tensor, labels: Tensor, both: Tensor) -> Tensor:
    """[U, 3BC] pixels of formulas joined with labels, from those of each [U, B] and [C], and of both [U, B, C]."""
    own, labels = formulas[:, :, None], labels[..., None, :]
    return torch.stack([own + labels - both, both, own - both], 2).flatten(1)
