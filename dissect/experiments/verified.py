"""Labels verified: whether a unit responds more to images with its concept than to the same images without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import refusal, seed_number, speaks
from dissect.concepts import Concepts
from dissect.data import Batches
from dissect.devices import device_of, to_device
from dissect.dissection.result import Dissection
from dissect.experiments.verified_result import LayerVerified, VerifiedLabels
from dissect.files.checked import Array, Of, Text, Whole, fields, require
from dissect.network.identity import check_same_weights
from dissect.network.layers import find_layers, layer_names
from dissect.network.layouts import LayoutOption
from dissect.network.modes import tell_training
from dissect.stats.bootstrap import FEWEST, drawn_again, ends, enough_draws
from dissect.visits.images import Images, identity
from dissect.visits.passes import Inputs, Passes
from dissect.visits.readout import Readout
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step

#: What a unit's response to an image is: the highest value of its map, or the mean.
Response = Literal["peak", "mean"]
RESPONSES: tuple[Response, ...] = get_args(Response)


@speaks
def verified_labels(
    model: nn.Module,
    layers: str | Iterable[str],
    images: Dataset[Any] | Tensor | Iterable[Any],
    without: Dataset[Any] | Tensor | Iterable[Any],
    labels: Sequence[int] | Tensor,
    units: Dissection | Mapping[str, Tensor],
    *,
    concepts: Concepts | None = None,
    response: Response = "peak",
    resamples: int = 1000,
    seed: int = 0,
    relu: bool = True,
    layout: LayoutOption | None = None,
    batch_size: int = 32,
    resume: str | Path | None = None,
    progress: bool = True,
) -> VerifiedLabels:
    """Whether units respond to what they are said to detect, by pairs of images that differ in one concept alone.

    With x the response of a unit to the n images of a concept and y that to their twins without it::

        AUC = (number of (i, j) with x_i > y_j + half of those with x_i = y_j) / n^2
        difference = mean over i of (x_i - y_i)

    both with 95 % intervals by drawing pairs again with replacement (percentile bootstrap). A label is verified if both
    intervals lie above chance, 0.5 and 0. A label that overlaps a unit because it often comes with what the unit
    detects fails here: nothing else changes when it goes. Every unit is held against every concept that has pairs, so
    chance stands beside it: how often other concepts than its own pass the same test.

    Args:
        model: the network.
        layers: names of layers that give maps.
        images: M images [N, 3, H, W] that show a concept each, in any of the forms of `dissect.dissect`.
        without: their twins without it, in the same order; see `tiny.twins`.
        labels: [M] which concept that is.
        units: what each unit is said to detect: a dissection of the layers, or {layer: [U] labels}, 0 for nothing.
        concepts: names of the labels; those of the dissection by default.
        response: "peak", the highest value of a unit's map, or "mean", that of all its values.
        resamples: how often pairs are drawn, twice at least.
        seed: of the draws.
        relu: read layers after their ReLU, as the dissection should have.
        layout: see `dissect.dissect`.
        batch_size: of a Dataset or a tensor.
        resume: a folder for what an interrupted run needs to go on, see `dissect.dissect`.
        progress: show a bar.

    Raises:
        KeyError: no such layer.
        ValueError: sets of different lengths, labels outside the concepts, units of another number, a dissection of
            other weights.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Identity())
        >>> images, concepts = torch.rand(20, 3, 8, 8), dissect.Concepts.of(["light"])
        >>> found = dissect.experiments.verified_labels(
        ...     model, "0", images, images / 4, [1] * 20, {"0": torch.tensor([1, 1, 0])}, concepts=concepts,
        ...     progress=False)
        >>> [row.verified for row in found.units()]
        [True, True, None]
    """
    names = layer_names(model, layers)
    find_layers(model, names)
    tell_training(model)
    if response not in RESPONSES:
        raise refusal(ValueError(f"response must be one of {RESPONSES}, but got {response!r}."))
    if concepts is None:
        if not isinstance(units, Dissection):
            raise refusal(ValueError("concepts must name the labels, where units are no dissection."))
        concepts = units.concepts
    if isinstance(units, Dissection):
        check_same_weights(model, units.settings, whose="dissection in units")
    resamples, seed = enough_draws(resamples, none=False), seed_number(seed)
    own = _labels(labels, concepts)
    said = {name: _said(units, name, concepts) for name in names}
    data = {name: Batches(given, batch_size) for name, given in (("images", images), ("without", without))}
    widths = {name: len(detected) for name, (detected, _) in said.items()}
    run = Responses(model, widths, Readout(relu=relu, layout=layout), response, len(own))
    about = {} if resume is None else identity(model, data.values())
    about |= {"options": [names, response, relu, batch_size, own.tolist()]}
    titled = {f"verified_labels: {name}": part for name, part in data.items()}
    finish(run, Images(titled), resume=resume, about=about, progress=progress)
    found = {name: _measured(name, run.responses[name], own, said[name], len(concepts), resamples, seed)
             for name in names}  # fmt: skip
    settings = {"response": response, "resamples": resamples, "seed": seed, "relu": relu, "num_pairs": len(own)}
    return VerifiedLabels(found, concepts, settings)


class Responses(Run):
    """Each unit's response to each image, and then to each twin.

    Args:
        model: the network.
        widths: U of each layer that is looked at, by name.
        readout: how outputs become maps.
        response: what a response is.
        pairs: how many images there must be.
    """

    def __init__(
        self, model: nn.Module, widths: dict[str, int], readout: Readout, response: Response, pairs: int
    ) -> None:
        self._widths, self._layers = widths, list(widths)
        self._passes, self._device = Passes(model, self._layers, readout), device_of(model)
        self._response, self._pairs = response, pairs
        self.data, self.numbers = "images", 0
        #: [2, M, U] float32 by layer: to the images and to their twins.
        self.responses: dict[str, Tensor] = {}

    @property
    def needs(self) -> Visit | None:
        """What the visit under way must see."""
        if self.data == "done":
            return None
        return Visit(f"responses to {self.data}", images=True, data=f"verified_labels: {self.data}")

    def compute(self, step: Step) -> dict[str, Tensor]:
        """The units' responses [N, U] to a batch."""
        with torch.no_grad():
            maps = self._passes.run(Inputs(to_device(step.shown, self._device), {}), self._layers).maps
        return {name: self._of(part.flatten(2).cpu()) for name, part in maps.items()}

    def _of(self, maps: Tensor) -> Tensor:
        return maps.amax(2).float() if self._response == "peak" else maps.double().mean(2).float()

    def add(self, found: dict[str, Tensor]) -> None:
        """Keeps the responses of a batch."""
        begin, row = self.numbers, int(self.data == "without")
        for name, part in found.items():
            self.numbers = begin + len(part)
            self._check_count(self.numbers, whole=False)
            if not bool(part.isfinite().all()):
                raise refusal(ValueError(f"activations of layer {name!r} must be finite, but some are not."))
            if part.shape[1] != self._widths[name]:
                raise refusal(ValueError(
                    f"units of layer {name!r} must be U={part.shape[1]}, but {self._widths[name]} have labels."
                ))  # fmt: skip
            kept = self.responses.setdefault(name, torch.zeros(2, self._pairs, part.shape[1]))
            kept[row, begin : self.numbers] = part

    def _check_count(self, count: int, whole: bool) -> None:
        if count > self._pairs or (whole and count < self._pairs):
            raise refusal(ValueError(
                f"{self.data} must be as many as labels, {self._pairs}, but are {count}{'' if whole else ' or more'}."
            ))  # fmt: skip

    def end_visit(self) -> None:
        """Chooses the next visit."""
        self._check_count(self.numbers, whole=True)
        self.data, self.numbers = ("without", 0) if self.data == "images" else ("done", 0)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        kept = {str(self._layers.index(name)): part for name, part in self.responses.items()}
        return {"data": self.data, "numbers": self.numbers, "responses": kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it holds what cannot be.
        """
        rules = {"data": Text(("images", "without", "done")), "numbers": Whole(), "responses": Of(dict)}
        fields("the run", state, rules)
        started = state["data"] != "images" or state["numbers"] > 0
        due = {
            str(at): Array(torch.float32, f"2 {self._pairs} {width}") for at, width in enumerate(self._widths.values())
        }
        fields("the run", state["responses"], due if started else {})
        require("the run", state["numbers"] <= self._pairs, "no more images were met than there are")
        self.data, self.numbers = state["data"], state["numbers"]
        self.responses = {self._layers[int(at)]: state["responses"][at] for at in (due if started else ())}


def _labels(labels: Sequence[int] | Tensor, concepts: Concepts) -> Tensor:
    own = torch.as_tensor(labels)
    if own.ndim != 1 or not len(own) or own.is_floating_point():
        raise refusal(ValueError(f"labels must be [M] integers, one at least, but are {own.dtype} {list(own.shape)}."))
    if int(own.min()) < 1 or int(own.max()) >= len(concepts):
        raise refusal(ValueError(f"labels must lie in [1, {len(concepts)}), the concepts, but reach from "
                                 f"{int(own.min())} to {int(own.max())}."))  # fmt: skip
    return own.long()


def _said(units: Dissection | Mapping[str, Tensor], layer: str, concepts: Concepts) -> tuple[Tensor, Tensor]:
    """[U] labels and [U] IoUs of a layer's units; NaN where they are not known."""
    if isinstance(units, Dissection):
        own = units.of_units(layer)  # refuses directions
        if units.concepts != concepts:
            raise refusal(ValueError("concepts must be those of the dissection, but are others."))
        scores = own.best_iou
        return torch.where(scores > 0, own.best_label, 0), scores
    if layer not in units:
        raise refusal(KeyError(f"units must say what those of layer {layer!r} detect, but name {list(units)}."))
    said = torch.as_tensor(units[layer])
    if said.ndim != 1 or said.is_floating_point() or bool(((said < 0) | (said >= len(concepts))).any()):
        raise refusal(ValueError(f"units of layer {layer!r} must be [U] labels in [0, {len(concepts)})."))
    return said.long(), torch.full(said.shape, torch.nan, dtype=torch.float64)


def _measured(
    name: str, responses: Tensor, own: Tensor, said: tuple[Tensor, Tensor], num_labels: int, resamples: int, seed: int
) -> LayerVerified:
    size = num_labels, responses.shape[2]
    auc, difference = torch.full((2, *size), torch.nan, dtype=torch.float64)
    intervals = torch.full((2, *size, 2), torch.nan, dtype=torch.float64)
    pairs = torch.bincount(own, minlength=num_labels)
    for label in pairs.nonzero().flatten().tolist():
        x, y = responses[:, own == label].double()
        auc[label], difference[label] = area(x, y), (x - y).mean(0)
        if len(x) >= FEWEST:
            intervals[:, label] = _intervals(x, y, drawn_again(len(x), resamples, seed))
    return LayerVerified(*said, pairs, auc, intervals[0], difference, intervals[1])


def area(x: Tensor, y: Tensor) -> Tensor:
    """[U]: of every x [n, U] with every y [m, U], how often x is larger; equal ones count half."""
    return _wins(x, y).mean((0, 1))


def _wins(x: Tensor, y: Tensor) -> Tensor:
    """[n, m, U] float64."""
    return (x[:, None] > y).double() + (x[:, None] == y).double() / 2


def _intervals(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """[2, U, 2]: the ends of the area and of the mean difference, when pairs are drawn with weights [B, n]."""
    number = len(x)
    wins = _wins(x, y)
    rows = (weights @ wins.flatten(1)).view(len(weights), number, -1)  # by sample and twin
    areas = (rows * weights[:, :, None]).sum(1) / number**2
    return torch.stack([ends(areas), ends(weights @ (x - y) / number)])
