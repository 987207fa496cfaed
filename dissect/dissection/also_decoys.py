"""What `formulas` gathers to tell how high the IoU of a second label is by chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dissect.arguments import refusal
from dissect.dissection.decoys import Decoys, PlanePool
from dissect.dissection.result import LayerDissection
from dissect.files.checked import Of, fields, require
from dissect.files.progress import go_on, versioned
from dissect.ops.encode_labels import EncodedLabels
from dissect.stats.also_null import AlsoNull
from dissect.stats.iou import best_labels, iou
from dissect.visits.store import Step


class AlsoDecoys:
    """Collects the planes of a data set in one visit, and counts units against permuted ones in another.

    Args:
        layers: of the dissection.
        num_labels: C, label 0 included.
        count: how often the planes are permuted among the images.
        seed: of the permutations.
        budget: bytes for the counts of all layers.

    Raises:
        ValueError: counts that exceed the budget.
    """

    version = 1

    def __init__(
        self, layers: Mapping[str, LayerDissection], num_labels: int, count: int, seed: int, budget: int
    ) -> None:
        self._layers, self._num_labels, self._count, self._seed = layers, num_labels, count, seed
        self._pool, self._images = PlanePool(), 0
        self._decoys: Decoys | None = None
        self._tallies: dict[str, AlsoNull] = {}
        # Of each unit, and, at the most, of as many first labels.
        size = sum(16 * layer.num_units * count * (num_labels - 1) for layer in layers.values())
        if size > budget:
            raise refusal(
                ValueError(
                    f"memory_budget must hold the counts of {count} decoys, {size} bytes, but is {budget}; take fewer "
                    "layers at a time, or decoys=0."
                )
            )

    def survey(self, labels: EncodedLabels, numbers: Tensor) -> None:
        """Takes the planes of a batch."""
        self._pool.take(labels, numbers)
        self._images += len(numbers)

    def begin(self) -> None:
        """All planes were seen."""
        self._decoys = Decoys(self._pool, self._images, self._count, self._seed)
        if self._decoys.count and self._num_labels > 1:
            self._tallies = {
                name: AlsoNull(
                    layer.thresholds, first_labels(layer), self._num_labels, self._decoys.count, grid=layer.grid
                )
                for name, layer in self._layers.items()
            }

    def count(self, step: Step, labels: EncodedLabels) -> None:
        """Counts a batch against its decoys."""
        if self._decoys is None:
            raise refusal(RuntimeError("decoys can be counted once all planes were seen."))
        if self._tallies:
            others = self._decoys.labels(step.numbers, self._num_labels)
            for name, maps in step.activations.items():
                self._tallies[name].add(maps, labels, others)

    def null(self, name: str) -> Tensor | None:
        """[K, U] float64, of a layer; None where there are no decoys, as of a single image."""
        return self._tallies[name].scores().cpu() if name in self._tallies else None

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        tallies = {str(at): versioned(self._tallies[name]) for at, name in enumerate(self._layers) if self._tallies}
        return {"pool": versioned(self._pool), "tallies": tallies}

    def load_state_dict(self, state: dict[str, Any], num_images: int, begun: bool) -> None:
        """Goes on from a `state_dict`.

        Args:
            state: it.
            num_images: how many images were surveyed.
            begun: whether decoys are counted already.

        Raises:
            ValueError: it holds what cannot be.
        """
        what = "the run's decoys"
        fields(what, state, {"pool": Of(dict), "tallies": Of(dict)})
        go_on(self._pool, state["pool"])
        self._pool.check(lambda labels: labels, self._num_labels)
        self._images = num_images
        if begun:
            self.begin()
        numbers = {str(at): name for at, name in enumerate(self._layers) if self._tallies}
        require(what, state["tallies"].keys() == numbers.keys(), "every layer is counted, in its phase")
        for at, name in numbers.items():
            go_on(self._tallies[name], state["tallies"][at])


def first_labels(layer: LayerDissection) -> Tensor:
    """[U] int64: the label with the highest IoU over all images, whatever the scope; 0 where every IoU is 0."""
    scores = iou(layer.intersection, layer.unit_area, layer.label_area)
    if scores.shape[1] < 2:
        return torch.zeros(len(scores), dtype=torch.int64)
    best = best_labels(scores)
    return torch.where(scores.gather(1, best[:, None])[:, 0] > 0, best, 0)
