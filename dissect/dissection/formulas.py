"""formulas(): of each unit the AND / OR / NOT formula of concepts that it overlaps most."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import integer, num_bytes, refusal, seed_number, speaks
from dissect.data import Batches
from dissect.dissection.formula_decoys import FormulaDecoys
from dissect.dissection.formulas_result import LayerFormulas, UnitFormulas
from dissect.dissection.geometry import check_fits
from dissect.dissection.result import Dissection, LayerDissection
from dissect.files.checked import Maybe, Of, Text, Whole, fields, require
from dissect.files.progress import go_on, of_version, versioned
from dissect.generated import Generated, paired
from dissect.network.directions import LayerDirections
from dissect.network.identity import code_of, fingerprint
from dissect.network.layers import layer_names
from dissect.network.modes import tell_training
from dissect.ops.encode_labels import encode_labels
from dissect.stats.combinations import CombinationTally
from dissect.stats.formulas import Formula, FormulaSearch, FoundFormula, label_members
from dissect.visits.activations import Activations
from dissect.visits.readout import Readout
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step


@speaks
def formulas(
    model: nn.Module,
    dissection: Dissection,
    images: Dataset[Any] | Tensor | Iterable[Any],
    *,
    segmenter: Callable[[Tensor], Tensor] | None = None,
    layers: str | Iterable[str] | None = None,
    length: int = 3,
    beam: int = 5,
    batch_size: int = 32,
    memory_budget: int = 4 << 30,
    directions: Mapping[str, LayerDirections] | None = None,
    decoys: int = 4,
    seed: int = 0,
    resume: str | Path | None = None,
    progress: bool = True,
) -> UnitFormulas:
    """Explains units by formulas of concepts, "(sky OR sea) AND NOT tree" (Mu & Andreas 2020, arXiv 2006.14032).

    One more visit to the images of a dissection counts, at its thresholds, on how many pixels each unit fires where
    labels come together. From these counts the IoU of any formula follows, so that the search looks at no pixel again:
    `dissect.ops.formula_search` says how it goes, as published (a beam of `beam` formulas, each joined with every
    label by OR, AND and AND NOT). IoUs are over all images, whatever the dissection's scope.

    The best of thousands of formulas overlaps a unit better than a single label by chance too. So each half of the
    images (by a hash of their numbers) is searched as well, and what it finds is measured on the other half, beside
    the single label that it finds: `held_out` and `held_out_label`.

    And a second visit counts the units against the planes of other images, permuted `decoys` times, and searches these
    counts in the same way: how probable so high an IoU of a formula is there, of any unit of the layer, is `p`, its
    false discovery rate among the units of the layer `q`. (Where the counts of all permutations exceed
    `memory_budget`, there is a visit for as many as it holds.)

    What a unit also fires on, the label with the highest IoU when the pixels of its best label are taken away, is the
    best of many, too. The second visit counts it with the same planes of other images: the unit on the pixels where its
    first label is not, against what these say there (`dissect.stats.AlsoNull`): `also_p` and `also_q`.

    Args:
        model: the network that was dissected.
        dissection: what `dissect.dissect` found.
        images: the same images, in the same order, with planes where there was no segmenter.
        segmenter: the same one.
        layers: some of the dissected ones; all by default.
        length: the most labels of a formula.
        beam: how many formulas go on at each step of the search.
        batch_size: how many images at once, where they do not come in batches.
        memory_budget: bytes for the counts, 16 per unit and combination of labels, over all layers; with decoys as much
            again for activations that are kept between the visits, and for the decoys' own counts, which take as much
            for each.
        directions: those along which the dissection has read layers, see `dissect.dissect`.
        decoys: how often the planes are permuted among the images for the nulls; 0 leaves them out, with their visit.
        seed: of the permutations.
        resume: a folder for what an interrupted run needs to go on, see `dissect.dissect`.
        progress: show a bar.

    Raises:
        KeyError: a layer that was not dissected.
        ValueError: a dissection without planes, or with a threshold for each label; images, planes or weights that give
            other counts than it has; more combinations of labels than the budget has room for. A length or beam below
            1.

    Example:
        >>> model, images = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1)), torch.rand(8, 3, 4, 4)
        >>> planes = (images[:, :1] > 0.5) + 2 * (images[:, 1:2] > 0.5)
        >>> options = {"concepts": ["red", "green", "yellow"], "fraction": 0.3, "progress": False}
        >>> d = dissect.dissect(model.eval(), "0", [(images, planes)], **options)
        >>> found = dissect.formulas(model, d, [(images, planes)], progress=False)
        >>> found.rows().columns[:5]
        ('layer', 'unit', 'formula', 'length', 'iou')
    """
    length, beam = integer("length", length, 1), integer("beam", beam, 1)
    decoys, seed, budget = (
        integer("decoys", decoys, 0),
        seed_number(seed),
        num_bytes("memory_budget", memory_budget),
    )
    names = list(dissection.layers) if layers is None else layer_names(model, layers)
    chosen = {name: dissection[name] for name in names}
    if dissection.images_only:
        raise refusal(ValueError("dissection must be of images with planes, but was of images alone."))
    own = [name for name, layer in chosen.items() if layer.label_thresholds is not None]
    if own:
        raise refusal(
            ValueError(f"dissection must have one threshold per unit, but layer {own[0]!r} has one for each label.")
        )
    readout = Readout.of(dissection.settings, names, directions)
    tell_training(model)
    run = Combinations(chosen, len(dissection.concepts), budget, decoys, seed, length, beam)
    settings = dissection.settings
    generated = Generated(model) if settings.get("segment") == "output" else None
    batches = Batches(images if generated is None else paired(images), batch_size)
    about = {
        "model": fingerprint(model), "segmenter": fingerprint(segmenter), "code": [code_of(model), code_of(segmenter)],
        "images": batches.identity(), "layers": names, "thresholds": [d.thresholds.tolist() for d in chosen.values()],
        "batch_size": batch_size, "directions": settings.get("directions"), "decoys": [decoys, seed, length, beam],
    }  # fmt: skip
    kept = budget if decoys else 0
    with Activations(model, names, batches, segmenter, readout, kept, 0, True, generated) as steps:
        finish(run, steps, resume=resume, about={} if resume is None else about, progress=progress)
    return run.result(dissection)


class Combinations(Run):
    """One visit that counts the combinations of labels on which units fire, and one or several for decoys.

    Args:
        layers: of the dissection.
        num_labels: C, label 0 included.
        budget: bytes for all counts.
        decoys: how many; without any there is one visit.
        seed: of the decoys.
        length: the most labels of a formula.
        beam: of the search.
    """

    version = 3

    def __init__(
        self, layers: Mapping[str, LayerDissection], num_labels: int, budget: int, decoys: int = 0, seed: int = 0,
        length: int = 3, beam: int = 5,
    ) -> None:  # fmt: skip
        self._layers, self._num_labels, self._settings = layers, num_labels, {"decoys": decoys, "seed": seed}
        self._phase, self._images = "combinations", 0
        self._tallies = {
            name: CombinationTally(layer.thresholds, num_labels, grid=layer.grid, budget=budget // len(layers))
            for name, layer in layers.items()
        }
        self._search = length, beam
        self._decoys = FormulaDecoys(layers, num_labels, decoys, seed, budget, length, beam) if decoys else None

    @property
    def needs(self) -> Visit | None:
        """What the visit under way must see."""
        if self._phase == "done":
            return None
        title = "combinations of labels" if self._phase == "combinations" else "decoys"
        last = self._decoys is None or (self._phase == "decoys" and self._decoys.last)
        return Visit(title, list(self._layers), planes=True, last=last, images=False)

    def add(self, found: Step) -> None:
        """Counts a batch."""
        labels = encode_labels(found.label_planes, self._num_labels)
        if self._phase == "decoys" and self._decoys is not None:
            self._decoys.count(found, labels)
            return
        for name, maps in found.activations.items():
            where = f"layer {name!r}, batch of image {found.numbers[0]}"
            check_fits(where, self._layers[name].grid, maps.shape[2:], labels.size)
            self._tallies[name].add(maps, labels, found.numbers)
        if self._decoys is not None:
            self._decoys.survey(labels, found.numbers)
        self._images += len(found.numbers)

    def end_visit(self) -> None:
        """All images were counted; decoys are where there shall be some, and the counts are the dissection's.

        Raises:
            ValueError: single labels have other counts than in the dissection.
        """
        if self._phase == "combinations" and self._decoys is not None:
            for name, tally in self._tallies.items():
                self._check_same(name, tally)  # the first labels are the dissection's
            self._decoys.begin(self._number)
            self._phase = "decoys"
        elif self._decoys is None or self._decoys.end_visit(self._number):
            self._phase = "done"

    @property
    def _number(self) -> int:
        """How many combinations of labels there are, of all layers the same."""
        return max(len(tally.table) for tally in self._tallies.values())

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        tallies = {str(index): versioned(tally) for index, tally in enumerate(self._tallies.values())}
        decoys = None if self._decoys is None else versioned(self._decoys)
        return {"phase": self._phase, "images": self._images, "tallies": tallies, "decoys": decoys}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict` of the same layers and decoys.

        Raises:
            ValueError: it holds what cannot be.
        """
        what, phases = "the run", ("combinations", "decoys", "done")
        rules = {"phase": Text(phases), "images": Whole(), "tallies": Of(dict), "decoys": Maybe(Of(dict))}
        fields(what, state, rules)
        fields(what, state["tallies"], {str(index): Of(dict) for index in range(len(self._tallies))})
        require(what, (state["decoys"] is None) == (self._decoys is None), "it has decoys where they are asked for")
        require(what, state["phase"] != "decoys" or self._decoys is not None, "its phase is one of this run")
        self._phase, self._images = state["phase"], state["images"]
        for index, tally in enumerate(self._tallies.values()):
            go_on(tally, state["tallies"][str(index)])
        if self._decoys is not None:
            saved = of_version(self._decoys, state["decoys"])
            self._decoys.load_state_dict(saved, self._images, self._number if self._phase != "combinations" else None)

    def result(self, dissection: Dissection) -> UnitFormulas:
        """Searches the formulas of all units.

        Raises:
            ValueError: single labels have other counts than in the dissection.
        """
        found = {}
        for name, tally in self._tallies.items():
            self._check_same(name, tally)
            found[name] = _searched(tally, *self._search)
            if self._decoys is not None:
                null, also = self._decoys.null(name), self._decoys.also_null(name)
                found[name] = found[name]._replace(null=null, also_null=also)
        length, beam = self._search
        options = {"length": length, "beam": beam, "num_images": dissection.settings["num_images"], **self._settings}
        return UnitFormulas(found, dissection.concepts, options)

    def _check_same(self, name: str, tally: CombinationTally) -> None:
        """The labels' own counts must be the dissection's: then images, planes, weights and readings are the same."""
        members = label_members(tally.table, self._num_labels).double()
        singles = (tally.counts().cpu().double() @ members).long()
        singles[:, 0] = 0
        if not torch.equal(singles, self._layers[name].intersection):
            unit = int((singles != self._layers[name].intersection).any(1).nonzero()[0])
            raise refusal(
                ValueError(
                    f"model and images must be those of the dissection, but unit {unit} of layer {name!r} fires "
                    "on other pixels of the labels than it did there."
                )
            )


def _searched(tally: CombinationTally, length: int, beam: int) -> LayerFormulas:
    """The best formula of each unit over all images, and over each half, measured on the other."""
    table, labels = tally.table, tally.num_labels
    counts = [tally.counts(half).cpu() for half in (None, 0, 1)]
    searches = [FormulaSearch(table, tally.areas(half), labels, length=length, beam=beam) for half in (None, 0, 1)]
    single = searches[0].labels(counts[0])
    shares = [_held_out(searches[3 - half], searches[half], counts[3 - half], counts[half]) for half in (1, 2)]
    held_out = torch.stack(shares, 1)
    second = searches[0].second_labels(counts[0], single.labels[:, 0])
    return LayerFormulas.of(searches[0].formulas(counts[0]), single, counts[0].sum(1), held_out, *second)


def _held_out(learn: FormulaSearch, test: FormulaSearch, learned: Tensor, tested: Tensor) -> Tensor:
    """[2, U] IoUs on one half of the images, of the formulas and of the labels that the other gives; NaN if none."""
    return torch.tensor(
        [[_iou(test, FoundFormula.of(found, unit).formula, own) for unit, own in enumerate(tested)]
         for found in (learn.formulas(learned), learn.labels(learned))],
        dtype=torch.float64,
    ).view(2, len(tested))  # fmt: skip


def _iou(search: FormulaSearch, formula: Formula, counts: Tensor) -> float:
    both, area = search.measure(formula, counts)
    return both / max(1, int(counts.sum()) + area - both) if formula.labels else math.nan
