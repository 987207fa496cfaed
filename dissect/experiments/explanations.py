"""A prediction explained by units: those that weigh most for it, and where they fire (Zhou et al. 2018, 3.10)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from dissect.arguments import integer, refusal, speaks
from dissect.data.pictures import to_pictures
from dissect.dissection.result import Dissection
from dissect.experiments.figures import unit_names
from dissect.files.checked import Array, Maybe, Of, fields, require
from dissect.files.results import Result
from dissect.grid import Grid
from dissect.network.identity import check_same_weights
from dissect.network.layers import find_layers
from dissect.network.layouts import LayoutOption
from dissect.network.modes import tell_training
from dissect.reference import upsample
from dissect.stats.bins import exact_fraction
from dissect.table import Table
from dissect.visits.passes import Inputs, Passes
from dissect.visits.readout import Readout

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How a map becomes the number that the linear classifier sees.
Pool = Literal["sum", "mean"]
#: The paper's share of the map that segments an image.
SHARE = 0.2


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

    def plot(self, images: Iterable[int] | None = None, classes: Sequence[str] | None = None) -> Figure:
        """Each image, and beside it what its units light, as in Fig. 27.

        Args:
            images: their numbers; all by default.
            classes: names of the classes.
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

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors = {name: getattr(self, name).contiguous() for name in _TENSORS}
        tensors |= {} if self.truth is None else {"truth": self.truth}
        return tensors, {"concepts": {str(unit): name for unit, name in self.concepts.items()}}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Explanations:
        """See `Result`."""
        fields(what, meta, {"concepts": Of(dict)})
        classes = fields(what, tensors, {**_TENSORS, "truth": Maybe(Array(torch.int64, "N", 0))})["K"]
        truth, units, weighs = tensors.get("truth"), tensors["units"], tensors["weighs"]
        require(what, classes > 0 and units.shape[1] > 0, "there are classes and units")
        for numbers in (tensors["predicted"], *([] if truth is None else [truth])):
            require(what, (numbers < classes).all(), "classes have scores")
        best = tensors["scores"].gather(1, tensors["predicted"][:, None])
        require(what, (tensors["scores"] <= best).all(), "the predicted class has the highest score")
        require(what, (weighs[:, 1:] <= weighs[:, :-1]).all(), "the unit that weighs most comes first")
        require(what, (units.sort(1).values.diff(dim=1) > 0).all(), "each unit is shown once in an image")
        names = meta["concepts"]
        known = all(unit.isdecimal() and unit == str(int(unit)) and isinstance(names[unit], str) for unit in names)
        require(what, known, "concepts are texts by numbers of units")
        given = {name: tensors[name] for name in _TENSORS}
        return cls(**given, truth=truth, concepts={int(unit): name for unit, name in names.items()})

    def _title(self, image: int, classes: Sequence[str] | None) -> str:
        def name(number: int) -> str:
            return str(number) if classes is None else classes[number]

        predicted = int(self.predicted[image])
        wrong = self.truth is not None and int(self.truth[image]) != predicted
        truth = "" if self.truth is None or not wrong else f" (it is {name(int(self.truth[image]))})"
        units = ", ".join(self.concepts.get(unit) or f"unit {unit}" for unit in self.units[image].tolist())
        return f"{name(predicted)}{truth}: {units}"


_TENSORS = {
    "images": Array(torch.uint8, "N 3 H W"),
    "scores": Array(torch.float64, "N K", -math.inf, math.inf),
    "predicted": Array(torch.int64, "N", 0),
    "units": Array(torch.int64, "N k", 0),
    "weighs": Array(torch.float64, "N k", -math.inf, math.inf),
    "masks": Array(torch.bool, "N k H W"),
}


@speaks
def explain_predictions(
    model: nn.Module,
    layer: str,
    images: Tensor,
    weights: Tensor,
    *,
    bias: Tensor | None = None,
    truth: Tensor | Sequence[int] | None = None,
    pool: Pool = "sum",
    units: int = 4,
    share: float = SHARE,
    dissection: Dissection | None = None,
    relu: bool = True,
    layout: LayoutOption | None = None,
    batch_size: int = 32,
) -> Explanations:
    """Ranks the units of a layer by what they add to the score of the predicted class, and shows where they fire.

    A linear classifier sees ``x_n``, the sum (or mean) of unit n's map, and gives class c the score ``sum_n w_cn x_n +
    b_c``; for the class with the highest score units are ranked by ``w_n x_n``. A unit's mask are the pixels in the top
    `share` of its own upsampled map in this image. (Zhou et al. 2018, section 3.10: "the top 0.2 activation of the unit
    based on the feature map of the single instance", read here as the top 20 % of the pixels.)

    Args:
        model: the network.
        layer: a layer that gives maps.
        images: [N, 3, H, W].
        weights: [K, U] of the linear classifier, an SVM's `coef_` for example, learned from the same x.
        bias: [K]; 0 by default.
        truth: [N] class numbers.
        pool: "sum" or "mean": what the classifier was given of each map.
        units: how many to show, at most.
        share: of an image's pixels that a mask has.
        dissection: of the layer, for what units detect.
        relu: read the layer after its ReLU.
        layout: see `dissect.dissect`.
        batch_size: images at a time.

    Raises:
        KeyError: no such layer.
        TypeError, ValueError: shapes that do not fit, a share outside (0, 1), a dissection along directions or
            of other weights; images or activations that are NaN or infinite.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1)).eval()
        >>> images, weights = torch.rand(2, 3, 8, 8), torch.rand(4, 5)
        >>> found = dissect.experiments.explain_predictions(model, "0", images, weights, units=2)
        >>> found.masks.shape, int(found.masks[0, 0].sum()) <= 12
        (torch.Size([2, 2, 8, 8]), True)
    """
    find_layers(model, [layer])
    tell_training(model)
    if not isinstance(images, Tensor) or images.ndim != 4 or not len(images):
        raise refusal(ValueError("images must be a tensor [N, 3, H, W] of at least one."))
    if not bool(images.isfinite().all()):
        bad = (~images.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
        raise refusal(ValueError(
            f"images must be finite, but {len(bad)} are NaN or infinite somewhere, image {bad[0]} the first; leave "
            "these out."
        ))  # fmt: skip
    if pool not in get_args(Pool):
        raise refusal(ValueError(f"pool must be one of {get_args(Pool)}, but got {pool!r}."))
    exact, k = exact_fraction(share, "share"), integer("units", units)
    if not 0 < exact < 1:
        raise refusal(ValueError(f"share must lie between 0 and 1, but is {share!r}."))
    names = unit_names(dissection, layer)
    if dissection is not None:
        check_same_weights(model, dissection.settings)
    passes = Passes(model, [layer], Readout(relu=relu, layout=layout))
    batches = images.split(integer("batch_size", batch_size))
    maps = torch.cat([passes.run(Inputs(part, {}), [layer]).maps[layer].float().cpu() for part in batches])
    if not bool(maps.isfinite().all()):
        raise refusal(ValueError(
            f"activations of layer {layer!r} must be finite, but some are NaN or infinite; look for weights that are."
        ))  # fmt: skip
    weights, offset = _classifier(weights, bias, maps.shape[1])
    known = _truth(truth, len(images), len(weights))
    x = maps.double().sum((2, 3)) if pool == "sum" else maps.double().mean((2, 3))
    scores = x @ weights.T + offset
    predicted = scores.argmax(1)
    parts = (weights[predicted] * x).sort(dim=1, descending=True, stable=True)
    chosen = parts.indices[:, :k]
    grid = Grid.half_pixel((maps.shape[2], maps.shape[3]), (images.shape[2], images.shape[3]))
    shown = upsample(maps.gather(1, chosen[:, :, None, None].expand(-1, -1, *maps.shape[2:])), grid.rows, grid.columns)
    pixels = shown.flatten(2)
    levels = pixels.sort(dim=2, descending=True).values[:, :, int(exact * pixels.shape[2])]
    masks = shown > levels[:, :, None, None]
    return Explanations(to_pictures(images), scores, predicted, known, chosen, parts.values[:, :k], masks, names)


def _classifier(weights: Tensor, bias: Tensor | None, units: int) -> tuple[Tensor, Tensor]:
    """[K, U] and [K] float64."""
    if not isinstance(weights, Tensor) or weights.ndim != 2 or weights.shape[1] != units:
        got = list(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise refusal(ValueError(f"weights must have shape [K, U] with U={units}, the layer's units, but got {got}."))
    bias = torch.zeros(len(weights)) if bias is None else bias
    if bias.shape != (len(weights),):
        raise refusal(ValueError(f"bias must have shape [{len(weights)}], but got {list(bias.shape)}."))
    if not (bool(weights.isfinite().all()) and bool(bias.isfinite().all())):
        raise refusal(ValueError("weights and bias must be finite, but are not."))
    return weights.detach().double().cpu(), bias.detach().double().cpu()


def _truth(truth: Tensor | Sequence[int] | None, images: int, classes: int) -> Tensor | None:
    if truth is None:
        return None
    known = torch.as_tensor(truth).long()
    if known.shape != (images,) or not bool(((known >= 0) & (known < classes)).all()):
        raise refusal(ValueError(f"truth must be {images} class numbers below {classes}."))
    return known
