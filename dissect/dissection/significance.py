"""What a dissection gathers beside its counts, to tell which labels can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dissect.arguments import refusal
from dissect.concepts import MANY_LABELS, Concepts
from dissect.devices import DeferredReads
from dissect.dissection.decoys import Decoys, PlanePool
from dissect.files.checked import Array, Maybe, Of, fields, require
from dissect.files.progress import go_on, versioned
from dissect.ops.encode_labels import EncodedLabels
from dissect.stats.iou import IouTally, Scope
from dissect.stats.null import NullTally
from dissect.stats.pairs import PairTally
from dissect.stats.places import Places
from dissect.stats.significance import Evidence, halves, resampled
from dissect.visits.store import Step

#: Groups of images whose counts are kept apart, and the bytes that those of all layers may take, but for the fewest.
MOST_GROUPS, FEWEST_GROUPS, BUDGET = 128, 16, 1 << 27
#: Numbers per group, unit and label where each of these pairs has a threshold: the areas above it by category too.
PARTS = 4


@dataclass(frozen=True)
class Doubt:
    """What is computed for the sake of trust: see `dissect.dissect`.

    Attributes:
        decoys: how often the planes are permuted among the images.
        resamples: how often images are drawn for intervals; 0 leaves out halves and intervals.
        seed: of both.
    """

    decoys: int = 4
    resamples: int = 200
    seed: int = 0


class Gathering:
    """Collects, over the visits of a dissection, what its layers' `Evidence` is made of.

    Args:
        doubt: what to compute.
        scope: of the union.
        layers: all names.
    """

    def __init__(self, doubt: Doubt, scope: Scope, layers: list[str]) -> None:
        self._doubt, self._scope, self._layers = doubt, scope, layers
        self._pool = PlanePool()
        self._decoys: Decoys | None = None
        self._dense: Callable[[Tensor], Tensor] = lambda labels: labels
        self._tallies: dict[str, NullTally] = {}
        self._places: Places | None = None
        self._pairs: list[Tensor] = []  # [E, 2]: image numbers and the labels that they carry

    def survey(self, planes: Tensor | EncodedLabels, numbers: Tensor, num_labels: int, late: DeferredReads) -> None:
        """Takes planes [N, K, H, W] of a batch whose labels lie below `num_labels`, or these encoded."""
        if isinstance(planes, EncodedLabels):
            if self._doubt.decoys:
                self._pool.take(planes, numbers)
        elif self._doubt.decoys and num_labels <= MANY_LABELS:
            self._pool.add(planes, numbers, num_labels, late)
        elif self._doubt.decoys:  # those that occur alone, else each would take a row of tables
            names = torch.cat([planes.new_zeros(1), planes.flatten()]).unique()
            self._pool.add(torch.searchsorted(names, planes), numbers, len(names), late, names)

    def groups(self, levels: tuple[int, ...], labels: int) -> int:
        """Into how many groups of images the counts of a layer go, whose thresholds are so many."""
        if not self._doubt.resamples:
            return 0
        fit = BUDGET // (len(self._layers) * math.prod(levels) * (labels if len(levels) == 1 else PARTS) * 8)
        return max(FEWEST_GROUPS, min(MOST_GROUPS, 1 << max(0, fit.bit_length() - 1)))

    def begin_counts(
        self,
        tallies: Mapping[str, IouTally | PairTally],
        concepts: Concepts,
        num_images: int,
        dense: Callable[[Tensor], Tensor],
    ) -> None:
        """Makes ready to count the decoys of these tallies; `dense` gives labels their numbers among the concepts."""
        self._dense = dense
        self._decoys = Decoys(self._pool, num_images, self._doubt.decoys, self._doubt.seed)
        count, categories = self._decoys.count, concepts.categories if self._scope == "category" else None
        self._places = Places(len(concepts), categories)
        self._tallies = {
            name: NullTally(tally.thresholds, tally.num_labels, count, categories=categories, grid=tally.grid)
            for name, tally in tallies.items()
            if count and tally.num_labels > 1
        }

    def count(self, step: Step, labels: EncodedLabels, shown: Tensor) -> None:
        """Counts a batch against its decoys.

        Args:
            step: with maps.
            labels: its planes, encoded.
            shown: [T] numbers of the images that are someone's top images.
        """
        if self._decoys is None or self._places is None:
            raise refusal(RuntimeError("decoys can be counted once the survey has ended."))
        self._places.add(labels if step.planes is None else step.planes, labels.area)
        here = torch.isin(step.numbers, shown).nonzero().flatten()
        places, carried = labels.area[here.to(labels.area.device)].nonzero(as_tuple=True)
        self._pairs.append(torch.stack([step.numbers[here][places.cpu()], carried.cpu()], 1))
        if self._tallies:
            others = self._decoys.labels(step.numbers, labels.num_labels, self._dense)
            for name, maps in step.activations.items():
                self._tallies[name].add(maps, others)

    def null(self, name: str) -> NullTally | None:
        """A layer's counts against decoys; None where there are none."""
        return self._tallies.get(name)

    def evidence(self, name: str, tally: IouTally | PairTally, concepts: Concepts, best: Tensor) -> Evidence:
        """Of a layer, whose units' best labels are `best` [U]."""
        categories, doubt = concepts.categories, self._doubt
        units = tally.num_units
        if tally.groups:
            interval = resampled(tally, best, self._scope, categories, doubt.resamples, doubt.seed)
            interval[best == 0] = torch.nan
            half_labels, held_out = halves(tally, self._scope, categories)
        else:
            interval, held_out = (
                torch.full(shape, torch.nan, dtype=torch.float64) for shape in ((units, 2), (2, units))
            )
            half_labels = torch.zeros(2, units, dtype=torch.int64)
        null = (
            self._tallies[name].scores().cpu() if name in self._tallies else torch.empty(0, units, dtype=torch.float64)
        )
        if self._places is None:
            raise refusal(RuntimeError("places are known once the counts have ended."))
        return Evidence(null, interval, half_labels, held_out, self._places.iou(best))

    def image_labels(self) -> Tensor:
        """[E, 2] int64: image numbers and labels that the top images carry, rising."""
        pairs = torch.cat([torch.empty(0, 2, dtype=torch.int64), *self._pairs])
        distinct: Tensor = pairs.unique(dim=0)
        return distinct

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        numbered = enumerate(self._layers)
        tallies = {str(at): versioned(self._tallies[name]) for at, name in numbered if name in self._tallies}
        places = None if self._places is None else versioned(self._places)
        return {"pool": versioned(self._pool), "tallies": tallies, "places": places, "pairs": self.image_labels()}

    def load_state_dict(
        self,
        state: dict[str, Any],
        tallies: Mapping[str, IouTally | PairTally],
        concepts: Concepts,
        num_images: int,
        dense: Callable[[Tensor], Tensor],
    ) -> None:
        """Goes on from a `state_dict`; `tallies` are those of the counts, none before they began.

        Raises:
            ValueError: it holds what cannot be.
        """
        what = "the run's evidence"
        rules = {
            "pool": Of(dict),
            "tallies": Of(dict),
            "places": Maybe(Of(dict)),
            "pairs": Array(torch.int64, "E 2", 0),
        }
        fields(what, state, rules)
        go_on(self._pool, state["pool"])
        self._pool.check(dense, len(concepts))
        self._pairs = [state["pairs"]]
        if not tallies:
            return
        self.begin_counts(tallies, concepts, num_images, dense)
        fields(what, state, {"places": Of(dict)})
        if self._places is not None:
            go_on(self._places, state["places"])
        numbers = {str(at): name for at, name in enumerate(self._layers) if name in self._tallies}
        require(what, state["tallies"].keys() == numbers.keys(), "every layer has its decoys")
        for at, name in numbers.items():
            go_on(self._tallies[name], state["tallies"][at])
