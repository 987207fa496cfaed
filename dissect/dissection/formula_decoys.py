"""What `formulas` gathers to tell how high the IoUs of formulas and of second labels are by chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dissect.arguments import refusal
from dissect.dissection.decoys import Decoys, PlanePool
from dissect.dissection.result import LayerDissection
from dissect.files.checked import Array, Of, fields, require
from dissect.files.progress import go_on, versioned
from dissect.ops.encode_labels import EncodedLabels
from dissect.stats.also_null import AlsoNull
from dissect.stats.combinations import CombinationTally
from dissect.stats.formulas import FormulaSearch
from dissect.stats.iou import best_labels, iou
from dissect.visits.store import Step


class FormulaDecoys:
    """Collects the planes of a data set in one visit, and counts units against permuted ones in others.

    The null of formulas is what the very search finds with the planes of other images: the combinations of labels that
    these say are counted anew for each permutation, of as many at once as the budget has room for. The null of second
    labels (`AlsoNull`) is counted beside the first of them.

    Args:
        layers: of the dissection.
        num_labels: C, label 0 included.
        count: how often the planes are permuted among the images.
        seed: of the permutations.
        budget: bytes for the counts of all layers.
        length: the most labels of a formula.
        beam: of the search.

    Raises:
        ValueError: counts that exceed the budget.
    """

    version = 2

    def __init__(
        self, layers: Mapping[str, LayerDissection], num_labels: int, count: int, seed: int, budget: int,
        length: int = 3, beam: int = 5,
    ) -> None:  # fmt: skip
        self._layers, self._num_labels, self._count, self._seed = layers, num_labels, count, seed
        self._budget, self._search = budget, {"length": length, "beam": beam}
        self._pool, self._images = PlanePool(), 0
        self._decoys: Decoys | None = None
        self._tallies: dict[str, AlsoNull] = {}
        #: By layer a row of each permutation that was counted, and the counts of those that this visit sees.
        self._null: dict[str, list[Tensor]] = {name: [] for name in layers}
        self._combinations: dict[str, list[CombinationTally]] = {}
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

    def begin(self, combinations: int) -> None:
        """All planes were seen.

        Args:
            combinations: how many of labels there are.
        """
        self._decoys = Decoys(self._pool, self._images, self._count, self._seed)
        if self._decoys.count and self._num_labels > 1:
            self._tallies = {
                name: AlsoNull(
                    layer.thresholds, first_labels(layer), self._num_labels, self._decoys.count, grid=layer.grid
                )
                for name, layer in self._layers.items()
            }
        self._next(combinations)

    @property
    def _counted(self) -> int:
        """How many permutations have been searched."""
        return len(next(iter(self._null.values())))

    def _next(self, combinations: int) -> None:
        """Makes room for the counts of the next permutations: of as many as fit, and of one at least."""
        left = 0 if self._decoys is None else self._decoys.count - self._counted
        each = 16 * combinations * sum(layer.num_units for layer in self._layers.values())
        self._combinations = {
            name: [
                CombinationTally(layer.thresholds, self._num_labels, grid=layer.grid, budget=self._budget)
                for _ in range(min(left, max(1, self._budget // max(1, each))))
            ]
            for name, layer in self._layers.items()
        }

    @property
    def last(self) -> bool:
        """Whether no permutations are left but those that the next visit counts."""
        under_way = len(next(iter(self._combinations.values()), []))
        return self._decoys is None or self._counted + under_way >= self._decoys.count

    def count(self, step: Step, labels: EncodedLabels) -> None:
        """Counts a batch against its decoys."""
        if self._decoys is None:
            raise refusal(RuntimeError("decoys can be counted once all planes were seen."))
        if not self._tallies:
            return
        first = self._counted
        others = self._decoys.labels(step.numbers, self._num_labels) if first == 0 else None
        each = self._decoys.each(step.numbers, self._num_labels)[first:]
        for name, maps in step.activations.items():
            if others is not None:
                self._tallies[name].add(maps, labels, others)
            for tally, own in zip(self._combinations[name], each):
                tally.add(maps, own, step.numbers)

    def end_visit(self, combinations: int) -> bool:
        """Searches what was counted, and tells whether no other visit is needed."""
        for name, tallies in self._combinations.items():
            for tally in tallies:
                search = FormulaSearch(tally.table, tally.areas(), self._num_labels, **self._search)
                self._null[name].append(search.ious(tally.counts().cpu()))
        self._next(combinations)
        return self._decoys is None or self._counted >= self._decoys.count

    def also_null(self, name: str) -> Tensor | None:
        """[K, U] float64, of a layer's second labels; None where there are no decoys, as of a single image."""
        return self._tallies[name].scores().cpu() if name in self._tallies else None

    def null(self, name: str) -> Tensor | None:
        """[K, U] float64, of a layer's formulas; None where there are no decoys."""
        return torch.stack(self._null[name]) if self._null[name] else None

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        tallies = {str(at): versioned(self._tallies[name]) for at, name in enumerate(self._layers) if self._tallies}
        combinations = {
            f"{at}.{place}": versioned(tally)
            for at, name in enumerate(self._layers)
            for place, tally in enumerate(self._combinations.get(name, ()))
        }
        null = {str(at): torch.stack(rows) for at, rows in enumerate(self._null.values()) if rows}
        return {"pool": versioned(self._pool), "tallies": tallies, "combinations": combinations, "null": null}

    def load_state_dict(self, state: dict[str, Any], num_images: int, begun: int | None) -> None:
        """Goes on from a `state_dict`.

        Args:
            state: it.
            num_images: how many images were surveyed.
            begun: how many combinations of labels there are, if decoys are counted already.

        Raises:
            ValueError: it holds what cannot be.
        """
        what = "the run's decoys"
        fields(what, state, {"pool": Of(dict), "tallies": Of(dict), "combinations": Of(dict), "null": Of(dict)})
        go_on(self._pool, state["pool"])
        self._pool.check(lambda labels: labels, self._num_labels)
        self._images = num_images
        self._take_null(what, state["null"])
        if begun is not None:
            self.begin(begun)
        numbers = {str(at): name for at, name in enumerate(self._layers) if self._tallies}
        require(what, state["tallies"].keys() == numbers.keys(), "every layer is counted, in its phase")
        for at, name in numbers.items():
            go_on(self._tallies[name], state["tallies"][at])
        under_way = {f"{at}.{place}": tally for at, tallies in enumerate(self._combinations.values())
                     for place, tally in enumerate(tallies)}  # fmt: skip
        require(what, state["combinations"].keys() == under_way.keys(), "every decoy of this visit is counted")
        for key, tally in under_way.items():
            go_on(tally, state["combinations"][key])

    def _take_null(self, what: str, null: dict[str, Any]) -> None:
        """The rows of permutations that were searched, as many of each layer."""
        require(what, not null or null.keys() == {str(at) for at in range(len(self._layers))}, "every layer has a null")
        sizes: dict[str, int] = {}
        for at, (name, layer) in enumerate(self._layers.items()):
            if null:
                rule = {str(at): Array(torch.float64, f"K {layer.num_units}", 0, 1)}
                sizes = fields(f"{what}: null", {str(at): null[str(at)]}, rule, sizes)
                require(what, sizes["K"] <= self._count, f"there are at most {self._count} decoys")
                self._null[name] = list(null[str(at)])


def first_labels(layer: LayerDissection) -> Tensor:
    """[U] int64: the label with the highest IoU over all images, whatever the scope; 0 where every IoU is 0."""
    scores = iou(layer.intersection, layer.unit_area, layer.label_area)
    if scores.shape[1] < 2:
        return torch.zeros(len(scores), dtype=torch.int64)
    best = best_labels(scores)
    return torch.where(scores.gather(1, best[:, None])[:, 0] > 0, best, 0)
