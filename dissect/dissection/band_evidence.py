"""What bands of activations reach by chance, and how sure the IoUs of their labels are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dissect.concepts import Concepts
from dissect.devices import DeferredReads
from dissect.dissection.significance import Doubt, Gathering
from dissect.files.checked import Of, fields, require
from dissect.files.progress import go_on, of_version, versioned
from dissect.grid import Grid
from dissect.ops.encode_labels import EncodedLabels
from dissect.stats import IouTally
from dissect.stats.significance import Evidence, resampled_between
from dissect.visits.store import Step

#: After so many batches, what the counts hold by image is added up.
FOLD = 16


class BandEvidence(NamedTuple):
    """Of a layer's bands, the highest first.

    Attributes:
        null: [K, U, B] float64; each band's best IoU when the planes are permuted among the images, K times.
        interval: [U, B, 2] float64; where 95 % of the IoUs with the band's label lie when images are drawn again with
            replacement (percentile bootstrap over groups of images); NaN where there are too few, or no label.
    """

    null: Tensor
    interval: Tensor

    def p_values(self, scores: Tensor) -> Tensor:
        """[U, B] float64: of best IoUs [U, B] as `Evidence.p_values`; units share the null of a band."""
        nothing = torch.empty(0)
        own = [Evidence(null, *[nothing] * 4) for null in self.null.unbind(2)]
        return torch.stack([one.p_values(part) for one, part in zip(own, scores.unbind(1))], 1)


class BandGathering:
    """Collects, over a sweep, what its layers' `BandEvidence` is made of.

    A band's counts are those above its lower end less those above its upper end, so that each unit is counted as many
    units, one for each end.

    Args:
        doubt: what to compute.
        layers: all names.
    """

    version = 1

    def __init__(self, doubt: Doubt, layers: list[str]) -> None:
        self._doubt, self._layers, self._batches = doubt, layers, 0
        self._gathering = Gathering(doubt, "all", layers)
        self._tallies: dict[str, IouTally] = {}
        self._ends: dict[str, int] = {}

    def survey(self, planes: Tensor, numbers: Tensor, num_labels: int) -> None:
        """Takes planes [N, K, H, W] of a batch whose labels lie below `num_labels`."""
        late = DeferredReads()
        self._gathering.survey(planes, numbers, num_labels, late)
        late.flush()

    def begin(
        self, levels: Mapping[str, Tensor], grids: Mapping[str, Grid], concepts: Concepts, num_images: int
    ) -> None:
        """Makes ready to count between levels [U, B] by layer, falling."""
        for name, own in levels.items():
            self._ends[name], flat = own.shape[1], own.flatten()
            groups = self._gathering.groups(flat.shape, len(concepts))
            self._tallies[name] = IouTally(flat, len(concepts), grid=grids[name], groups=groups)
        self._gathering.begin_counts(self._tallies, concepts, num_images, lambda labels: labels)

    def count(self, step: Step, labels: EncodedLabels) -> None:
        """Counts a batch, and its decoys."""
        maps = {name: part.repeat_interleave(self._ends[name], 1) for name, part in step.activations.items()}
        for name, part in maps.items():
            self._tallies[name].add(part, labels, step.numbers)
        self._gathering.count(Step(step.numbers, step.planes, maps), labels, torch.empty(0, dtype=torch.int64))
        self._batches += 1
        if self._batches % FOLD == 0:
            for tally in self._tallies.values():
                tally.fold(("",) * tally.num_labels)

    def evidence(self, name: str, best: Tensor) -> BandEvidence:
        """Of a layer, whose bands' best labels are `best` [U, B]."""
        tally, doubt = self._tallies[name], self._doubt
        interval = torch.full((*best.shape, 2), torch.nan, dtype=torch.float64)
        if tally.groups:
            interval = resampled_between(tally, best, doubt.resamples, doubt.seed)
            interval[best == 0] = torch.nan
        null = self._gathering.null(name)
        if null is None:
            return BandEvidence(torch.empty(0, *best.shape, dtype=torch.float64), interval)
        return BandEvidence(null.scores_between(best.shape[1]).cpu(), interval)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        tallies = {str(at): versioned(self._tallies[name]) for at, name in enumerate(self._layers) if self._tallies}
        return {"gathering": versioned(self._gathering), "tallies": tallies}

    def load_state_dict(self, state: dict[str, Any], concepts: Concepts, num_images: int) -> None:
        """Goes on from a `state_dict`; after `begin`, if that was done before it was taken.

        Raises:
            ValueError: it holds what cannot be.
        """
        what = "the run's bands"
        fields(what, state, {"gathering": Of(dict), "tallies": Of(dict)})
        numbers = {str(at): name for at, name in enumerate(self._layers) if self._tallies}
        require(what, state["tallies"].keys() == numbers.keys(), "every layer is counted, in its phase")
        for at, name in numbers.items():
            go_on(self._tallies[name], state["tallies"][at])
        gathered = of_version(self._gathering, state["gathering"])
        self._gathering.load_state_dict(gathered, self._tallies, concepts, num_images, lambda labels: labels)
