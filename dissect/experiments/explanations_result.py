"""What was found of predictions explained by units: which weigh most, and where they fire; a result, with a plot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dissect.files.checked import Array, Each, Maybe, Of, Text, fields, require
from dissect.files.results import Result
from dissect.stats import wilson_interval
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: Of N images, K classes, and k units that are shown of each.
TENSORS = {
    "images": Array(torch.uint8, "N 3 H W"),
    "scores": Array(torch.float64, "N K", -math.inf, math.inf),
    "predicted": Array(torch.int64, "N", 0),
    "units": Array(torch.int64, "N k", 0),
    "weighs": Array(torch.float64, "N k", -math.inf, math.inf),
    "masks": Array(torch.bool, "N k H W"),
}


class ExplanationRow(NamedTuple):
    """A unit that weighs for the class that an image was given.

    Attributes:
        image: the image's number.
        predicted: the class with the highest score.
        correct: whether that is the image's; None where classes were not given.
        rank: 1 for the unit that weighs most.
        unit: its number.
        concept: what it detects, "" where nothing is known.
        weighs: ``w_n x_n``, its part of the score.
        score: of the class, the sum over all units and the bias.
    """

    image: int
    predicted: int
    correct: bool | None
    rank: int
    unit: int
    concept: str
    weighs: float
    score: float


class ExplainedRow(NamedTuple):
    """Images that were predicted right, or wrong; or all, where classes were not given.

    Attributes:
        correct: which; None for all.
        images: how many.
        share: of all images.
        low: the lower end of its 95 % interval (Wilson), of images as if independent.
        high: the upper end.
        labelled: in how many the unit that weighs most is known to detect something.
    """

    correct: bool | None
    images: int
    share: float
    low: float
    high: float
    labelled: int


@dataclass(eq=False)  # tensors have no one truth value
class Explanations(Result):
    """What `explain_predictions` found of N images, with the k units that weigh most in each.

    Attributes:
        images: [N, 3, H, W] uint8.
        scores: [N, K] of all classes.
        predicted: [N] class numbers.
        truth: [N] class numbers, or None.
        units: [N, k], the one that weighs most first.
        weighs: [N, k], their ``w_n x_n``.
        masks: [N, k, H, W] bool, where each is in the top of its own map.
        concepts: what units detect, by number.
        classes: names of the K classes; empty where they have none.

    Example: see `explain_predictions`.
    """

    kind = "explanations"
    suffix = ".explanations"

    images: Tensor
    scores: Tensor
    predicted: Tensor
    truth: Tensor | None
    units: Tensor
    weighs: Tensor
    masks: Tensor
    concepts: dict[int, str]
    classes: tuple[str, ...] = ()

    def table(self) -> Table[ExplanationRow]:
        """A row per image and unit (`ExplanationRow`)."""
        right = None if self.truth is None else (self.truth == self.predicted).tolist()
        rows = []
        for image, (units, weighs) in enumerate(zip(self.units.tolist(), self.weighs.tolist())):
            predicted = int(self.predicted[image])
            told = image, predicted, None if right is None else right[image]
            score = float(self.scores[image, predicted])
            for rank, (unit, part) in enumerate(zip(units, weighs), 1):
                rows.append(ExplanationRow(*told, rank, unit, self.concepts.get(unit, ""), part, score))
        return Table(rows)

    def summary(self) -> Table[ExplainedRow]:
        """A row for images predicted right and one for the others; one for all where classes were not given."""
        count = len(self.predicted)
        right = None if self.truth is None else self.truth == self.predicted
        groups = {None: torch.ones(count, dtype=torch.bool)} if right is None else {True: right, False: ~right}
        rows = []
        for correct, group in groups.items():
            number = int(group.sum())
            labelled = sum(bool(self.concepts.get(unit)) for unit in self.units[group, 0].tolist())
            rows.append(ExplainedRow(correct, number, number / count, *wilson_interval(number, count), labelled))
        return Table(rows)

    def examples(self, each: int = 3) -> list[int]:
        """Numbers of images to show: predicted right and then wrong, up to so many each, every so many of them.

        Without truth as many as both, of all.
        """
        if self.truth is None:
            groups = [(list(range(len(self.predicted))), 2 * each)]
        else:
            right = self.truth == self.predicted
            groups = [(kind.nonzero().flatten().tolist(), each) for kind in (right, ~right)]
        return [at for numbers, most in groups for at in numbers[:: max(1, len(numbers) // most)][:most]]

    def plot(self, images: Iterable[int] | None = None, classes: Sequence[str] | None = None) -> Figure:
        """Each image, and beside it what its units light, as in Fig. 27.

        Args:
            images: their numbers; all by default.
            classes: names of the classes, in the place of its own.

        Raises:
            IndexError: no such image.
        """
        from dissect import plots

        chosen = list(range(len(self.images)) if images is None else images)
        shown = self.images / 255
        strips = [[shown[at], *(plots.lit(shown[at], mask) for mask in self.masks[at])] for at in chosen]
        with plots.drawing():
            size = 1.25 * (1 + self.units.shape[1]), 1.5 * len(chosen)
            figure = plots.new_figure(*size, None)  # so that a long title widens no column
            plots.tiles(figure, strips, [self._title(at, classes) for at in chosen])
            figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.25 / (1.5 * len(chosen)), 0.06, 0.25)
        return figure

    def __repr__(self) -> str:
        """How many of what are explained."""
        names = f", {len(self.concepts)} of whose units have labels" if self.concepts else ""
        count, shown = self.units.shape
        return f"<Explanations of {count} images by {shown} units each{names}>"

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors = {name: getattr(self, name).contiguous() for name in TENSORS}
        tensors |= {} if self.truth is None else {"truth": self.truth}
        concepts = {str(unit): name for unit, name in self.concepts.items()}
        return tensors, {"concepts": concepts, "classes": list(self.classes)}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Explanations:
        """See `Result`."""
        fields(what, meta, {"concepts": Of(dict), "classes": Maybe(Each(Text()))})
        classes = fields(what, tensors, {**TENSORS, "truth": Maybe(Array(torch.int64, "N", 0))})["K"]
        require(what, classes > 0 and tensors["units"].shape[1] > 0, "there are classes and units")
        check_fitting(what, tensors)
        names = meta["concepts"]
        known = all(unit.isdecimal() and unit == str(int(unit)) and isinstance(names[unit], str) for unit in names)
        require(what, known, "concepts are texts by numbers of units")
        given = {name: tensors[name] for name in TENSORS}
        named = tuple(meta.get("classes") or ())
        require(what, len(named) in (0, classes), "each class has a name, or none has")
        concepts = {int(unit): name for unit, name in names.items()}
        return cls(**given, truth=tensors.get("truth"), concepts=concepts, classes=named)

    def _title(self, image: int, classes: Sequence[str] | None) -> str:
        def name(number: int) -> str:
            return str((classes or self.classes or range(number + 1))[number])

        predicted = int(self.predicted[image])
        wrong = self.truth is not None and int(self.truth[image]) != predicted
        truth = "" if self.truth is None or not wrong else f" (it is {name(int(self.truth[image]))})"
        units = ", ".join(self.concepts.get(unit) or f"unit {unit}" for unit in self.units[image].tolist())
        return f"{name(predicted)}{truth}: {units}"


def check_fitting(what: str, found: Mapping[str, Tensor]) -> None:
    """Holds what was found of images, `TENSORS` and maybe their truth, against itself.

    Raises:
        ValueError: says what does not fit.
    """
    scores, weighs, truth = found["scores"], found["weighs"], found.get("truth")
    for numbers in (found["predicted"], *([] if truth is None else [truth])):
        require(what, (numbers < scores.shape[1]).all(), "classes have scores")
    best = scores.gather(1, found["predicted"][:, None])
    require(what, (scores <= best).all(), "the predicted class has the highest score")
    require(what, (weighs[:, 1:] <= weighs[:, :-1]).all(), "the unit that weighs most comes first")
    require(what, (found["units"].sort(1).values.diff(dim=1) > 0).all(), "each unit is shown once in an image")
