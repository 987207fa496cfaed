"""Visits of data sets in which every image meets many sets of ablated units; can be interrupted and go on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import integer, num_bytes, refusal, speaks, tell
from dissect.classifiers.importance import UnitImportance
from dissect.classifiers.visits import check_class_names, class_numbers, first_batch
from dissect.data import Batches
from dissect.data.batches import attribute_of
from dissect.devices import device_of
from dissect.files.checked import Array, Of, Text, Whole, fields
from dissect.files.progress import go_on, versioned
from dissect.interventions.fanout import FanOut
from dissect.interventions.flow import follow
from dissect.network.identity import code_of, fingerprint
from dissect.network.layouts import LayoutOption, to_maps
from dissect.network.modes import check_evaluating, check_repeatable, noticed_chance
from dissect.network.outputs import first_tensor
from dissect.network.trace import FAILURES, FirstTensorTrace, find_layers
from dissect.stats.classes import ClassTally
from dissect.visits.images import Images
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step

GIB = 2**30
#: What a removed unit gives: 0, or its mean over the training images.
Fill = Literal["zero", "mean"]
FILLS: tuple[Fill, ...] = get_args(Fill)


@speaks
def unit_importance(
    model: nn.Module,
    layer: str,
    images: Dataset[Any] | Iterable[Any],
    val_images: Dataset[Any] | Iterable[Any],
    *,
    classes: Sequence[str] | None = None,
    fill: Fill = "zero",
    batch_size: int = 32,
    memory_budget: int = GIB,
    resume: str | Path | None = None,
    progress: bool = True,
    layout: LayoutOption | None = None,
) -> UnitImportance:
    """Ablates each unit of a layer alone and measures every class (Bau et al. 2020, "Role of Units in a Classifier").

    What comes before the layer runs once per image, what follows once per unit; see `FanOut`.

    Args:
        model: any nn.Module from images to logits [N, C], in evaluation mode.
        layer: a name as in ``model.named_modules()``; a layer that runs once.
        images: training images, which rank the units: a Dataset or batches of (image, class number).
        val_images: validation images, which measure.
        classes: C names; by default those of `images` (attribute `classes`), or the numbers themselves.
        fill: what an ablated unit gives: "zero", or its "mean" over the training images and all positions, since zero
            is no neutral value after a leaky ReLU or a normalisation.
        batch_size: of a Dataset.
        memory_budget: bytes for what follows the layer.
        resume: a folder for what an interrupted run needs to go on, see `dissect.dissect`.
        progress: show a bar.
        layout: where units are in the layer's output, if that is not certain; see `dissect.ablate`.

    Returns:
        A `UnitImportance`.

    Raises:
        KeyError: a layer that the model does not have.
        RuntimeError: a layer that runs twice.
        TypeError, ValueError: a network in training mode, predictions that are not [N, C], a layer with no path to
            them, images without class numbers, data sets that name their classes otherwise, another number of class
            names; a folder to resume from that holds another run, or one over other images; images that change between
            visits; wrong options (told before anything is computed).

    Warns:
        UserWarning: the layer's output is read in several places, all of which see the edit (says where); a class has
            no images (its numbers are NaN); a later layer cannot take several sets at once (says which).

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 1), torch.nn.Flatten(), torch.nn.Linear(16, 2)).eval()
        >>> batches = [(torch.rand(6, 1, 2, 2), torch.tensor([0, 1, 0, 1, 0, 1]))]
        >>> importance = unit_importance(model, "0", batches, batches, progress=False)
        >>> importance.drop("val").shape, len(importance.top("1", 2))
        (torch.Size([4, 2]), 2)
    """
    if fill not in FILLS:
        raise refusal(ValueError(f"fill must be one of {FILLS}, but got {fill!r}."))
    batch_size = integer("batch_size", batch_size)
    memory_budget = num_bytes("memory_budget", memory_budget)
    if classes is None:
        check_class_names(getattr(images, "classes", None), getattr(val_images, "classes", None))
    visits = {"train": Batches(images, batch_size), "val": Batches(val_images, batch_size)}
    probe = Probe(model, layer, visits["train"], layout)
    names = probe.class_names(classes if classes is not None else attribute_of(images, "classes"))
    units = probe.flow.num_units
    tallies = {split: ClassTally(units + 1, len(names)) for split in visits}
    alpha = torch.cat([torch.zeros(1, units), torch.eye(units)])
    run = SetRun(probe, alpha, memory_budget, tallies, torch.zeros(units), mean=fill == "mean")
    about = {"layer": layer, "classes": list(names), "fill": fill, "batch_size": batch_size, "memory": memory_budget}
    about |= probe.about(visits, resume is not None)
    finish(run, image_steps(visits), resume=resume, about=about, progress=progress)
    for split, tally in run.tallies.items():
        tell_missing(split, tally, names, range(len(names)))
    return UnitImportance(layer, names, run.fill, run.tallies["train"], run.tallies["val"], probe.fingerprint)


class Probe:
    """A network and a layer that were looked at: the flow, a first image, the device.

    Raises:
        KeyError, RuntimeError, ValueError: see `unit_importance`.
    """

    def __init__(self, model: nn.Module, layer: str, batches: Batches, layout: LayoutOption | None = None) -> None:
        find_layers(model, [layer])
        check_evaluating(model)
        self.model, self.layer = model, layer
        self.device = device_of(model)
        images = first_batch(batches).images.to(self.device, copy=True)
        version = None if images.is_inference() else images._version
        #: Whether the network takes fewer images than come in a batch.
        self.divisible = True
        with noticed_chance(self.device) as drawn:
            try:
                self.images, self.flow = images[:2], follow(model, layer, images[:2], layout)
            except FAILURES:
                self.images, self.flow, self.divisible = images, follow(model, layer, images, layout), False
        if drawn:
            check_repeatable(model, self.images)
        if version is not None and images._version != version:
            raise refusal(
                ValueError(
                    "model must leave its images as they are, but changes them in place; give it a copy of them."
                )
            )
        if len(self.flow.shape) != 1:
            count = len(images)
            raise refusal(
                ValueError(
                    f"the model must give predictions [N, classes] with N={count}, but gave "
                    f"{[count, *self.flow.shape]}."
                )
            )
        if len(self.flow.consumers) > 1:
            tell(
                f"the output of layer {layer!r} is read by {', '.join(self.flow.consumers)}; all of them see the edit."
            )

    def class_names(self, classes: Sequence[str] | None) -> tuple[str, ...]:
        """As many as the network has classes.

        Raises:
            ValueError: another number of names.
        """
        (count,) = self.flow.shape
        names = tuple(str(number) for number in range(count)) if classes is None else tuple(classes)
        if len(names) != count:
            raise refusal(
                ValueError(f"classes must be {count} names, as many as there are predictions, but are {len(names)}.")
            )
        return names

    @cached_property
    def fingerprint(self) -> str:
        """Of the network; all of its weights are read once."""
        return fingerprint(self.model)

    def about(self, visits: dict[str, Batches], needed: bool) -> dict[str, Any]:
        """What tells this network and these data from others; nothing where it is not needed."""
        if not needed:
            return {}
        data = {name: batches.identity() for name, batches in visits.items()}
        return {"model": self.fingerprint, "code": code_of(self.model), **data}

    def fan_out(self, fill: Tensor, memory_budget: int) -> FanOut:
        """What runs sets of units of the layer."""
        return FanOut(self.model, self.layer, self.flow, fill.to(self.device), self.images, memory_budget)


class SetRun(Run):
    """Data sets under way, one visit each; before them, if asked, a visit for the units' means.

    Args:
        probe: the network and the layer.
        alpha: [S, U], the sets of units.
        memory: bytes for what follows the layer.
        tallies: by data set, in the order of the visits.
        fill: [U] float32, what ablated units give.
        mean: set `fill` to the units' means over the first data set.
        own: [S - 1] for each set but the first (the whole network) the class whose scores are kept for every image;
            then the whole network's are kept too, of all classes. None keeps nothing.
    """

    def __init__(
        self,
        probe: Probe,
        alpha: Tensor,
        memory: int,
        tallies: dict[str, ClassTally],
        fill: Tensor,
        *,
        mean: bool = False,
        own: Tensor | None = None,
    ) -> None:
        self._probe, self._alpha, self._memory = probe, alpha, memory
        self.tallies, self.fill, self._own = tallies, fill, own
        self.phase = "mean" if mean else next(iter(tallies))
        self._fan: FanOut | None = None  # of the visit under way
        self._sums, self._cells = torch.zeros(len(fill), dtype=torch.float64), 0
        self._scores: list[Tensor] = []
        self._labels: list[Tensor] = []

    @property
    def needs(self) -> Visit | None:
        """See `Run`."""
        data = next(iter(self.tallies)) if self.phase == "mean" else self.phase
        return None if self.phase == "done" else Visit(self.phase, data=f"{data} images")

    def add(self, step: Step) -> None:
        """See `Run`."""
        labels, images = class_numbers(step.planes), step.shown.to(self._probe.device)
        if self.phase == "mean":
            self._add_means(images)
        else:
            self._add_scores(images, labels, step.numbers)

    def end_visit(self) -> None:
        """See `Run`."""
        if self.phase == "mean":
            self.fill = (self._sums / self._cells).float()
        phases, self._fan = ["mean", *self.tallies, "done"], None
        self.phase = phases[phases.index(self.phase) + 1]

    def kept_scores(self) -> tuple[Tensor, Tensor]:
        """[C + S - 1, N] float32: the whole network's scores, then each set's of its own class; [N] images' classes."""
        return torch.cat(self._scores, 1), torch.cat(self._labels)

    def _add_scores(self, images: Tensor, labels: Tensor, numbers: Tensor) -> None:
        probe, alpha = self._probe, self._alpha
        fan = self._fan = self._fan or probe.fan_out(self.fill, self._memory)
        size = fan.group(len(alpha)) if probe.divisible else len(images)
        for part, classes, own in zip(images.split(size), labels.split(size), numbers.split(size)):
            scores = fan(part, alpha)
            self.tallies[self.phase].add(scores, classes, own)
            if self._own is not None:
                kept = scores[torch.arange(1, len(alpha)), :, self._own.to(scores.device)]
                self._scores.append(torch.cat([scores[0].T, kept]).float().cpu())
                self._labels.append(classes)

    def _add_means(self, images: Tensor) -> None:
        probe = self._probe
        with torch.no_grad(), FirstTensorTrace(probe.model, probe.layer, stop=True, clone=False) as trace:
            trace.run(images)
        maps = to_maps(first_tensor(trace[probe.layer]), probe.flow.axes)
        self._sums += maps.double().sum((0, 2, 3)).cpu()
        self._cells += maps[:, 0].numel()

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        scores = {"scores": torch.cat(self._scores, 1), "labels": torch.cat(self._labels)} if self._scores else {}
        return {
            "phase": self.phase,
            "fill": self.fill,
            "sums": self._sums,
            "cells": self._cells,
            "tallies": {name: versioned(tally) for name, tally in self.tallies.items()},
            **scores,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict` of the same sets.

        Raises:
            ValueError: it holds what cannot be.
        """
        what = "the run"
        phases = Text(("mean", *self.tallies, "done"))
        rules = {"phase": phases, "cells": Whole(0, 1 << 53), "tallies": Of(dict)}
        arrays = {"fill": Array(torch.float32, "U", -math.inf, math.inf), "sums": Array(torch.float64, "U")}
        fields(what, state, {**rules, **arrays}, {"U": len(self.fill)})
        fields(what, state["tallies"], dict.fromkeys(self.tallies, Of(dict)))
        if "scores" in state or "labels" in state:
            classes = next(iter(self.tallies.values())).num_classes
            rules = {"scores": Array(torch.float32, "R N"), "labels": Array(torch.int64, "N", 0, classes - 1)}
            fields(what, state, rules, {"R": classes + len(self._alpha) - 1})
        self.phase = state["phase"]
        self.fill, self._sums, self._cells = state["fill"].clone(), state["sums"].clone(), state["cells"]
        for name, tally in self.tallies.items():
            go_on(tally, state["tallies"][name])
        self._scores = [state["scores"]] if "scores" in state else []
        self._labels = [state["labels"]] if "labels" in state else []


def image_steps(data: dict[str, Batches]) -> Images:
    """The steps of data sets by what their images are for: "train", "val"."""
    return Images({f"{name} images": batches for name, batches in data.items()})


def tell_missing(split: str, tally: ClassTally, names: tuple[str, ...], wanted: Iterable[int]) -> None:
    """Warns of classes, of some by their numbers, that no image showed."""
    images = tally.images().tolist()
    missing = [names[number] for number in wanted if not images[number]]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        tell(
            f"{len(missing)} classes have no {split} images ({', '.join(missing[:5])}{more}), so nothing is known "
            "about them: their accuracies are NaN."
        )
