"""A prediction explained by units: those that weigh most for it, and where they fire (Zhou et al. 2018, 3.10)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from dissect.arguments import integer, refusal, speaks
from dissect.classifiers.visits import class_numbers
from dissect.data import Batches
from dissect.data.batches import attribute_of
from dissect.data.pictures import to_pictures
from dissect.devices import checksum, device_of, to_device
from dissect.dissection.result import Dissection
from dissect.experiments.explanations_result import TENSORS, Explanations, check_fitting
from dissect.experiments.figures import unit_names
from dissect.files.checked import Array, Maybe, Of, fields, require
from dissect.grid import Grid
from dissect.network.identity import check_same_weights
from dissect.network.layers import find_layers
from dissect.network.layouts import LayoutOption
from dissect.network.modes import tell_training
from dissect.reference import upsample
from dissect.stats.bins import exact_fraction
from dissect.visits.images import Images, identity
from dissect.visits.passes import Inputs, Passes
from dissect.visits.readout import Readout
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step

#: How a map becomes the number that the linear classifier sees.
Pool = Literal["sum", "mean"]
#: The paper's share of the map that segments an image.
SHARE = 0.2


@speaks
def explain_predictions(
    model: nn.Module,
    layer: str,
    images: Dataset[Any] | Tensor | Iterable[Any],
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
    resume: str | Path | None = None,
    progress: bool = True,
) -> Explanations:
    """Ranks the units of a layer by what they add to the score of the predicted class, and shows where they fire.

    A linear classifier sees ``x_n``, the sum (or mean) of unit n's map, and gives class c the score ``sum_n w_cn x_n +
    b_c``; for the class with the highest score units are ranked by ``w_n x_n``. A unit's mask are the pixels in the top
    `share` of its own upsampled map in this image. (Zhou et al. 2018, section 3.10: "the top 0.2 activation of the unit
    based on the feature map of the single instance", read here as the top 20 % of the pixels.)

    Args:
        model: the network.
        layer: a layer that gives maps.
        images: [N, 3, H, W], in any of the forms of `dissect.dissect`; pairs of (image, class number) bring the truth.
        weights: [K, U] of the linear classifier, an SVM's `coef_` for example, learned from the same x.
        bias: [K]; 0 by default.
        truth: [N] class numbers, where images are a tensor.
        pool: "sum" or "mean": what the classifier was given of each map.
        units: how many to show, at most.
        share: of an image's pixels that a mask has.
        dissection: of the layer, for what units detect.
        relu: read the layer after its ReLU.
        layout: see `dissect.dissect`.
        batch_size: images at a time.
        resume: a folder for what an interrupted run needs to go on, see `dissect.dissect`.
        progress: show a bar.

    Raises:
        KeyError: no such layer.
        TypeError, ValueError: shapes that do not fit, a share outside (0, 1), a dissection along directions or
            of other weights, of a layer of other units; images or activations that are NaN or infinite; class numbers
            that have no weights.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1)).eval()
        >>> images, weights = torch.rand(2, 3, 8, 8), torch.rand(4, 5)
        >>> found = dissect.experiments.explain_predictions(model, "0", images, weights, units=2, progress=False)
        >>> found.masks.shape, int(found.masks[0, 0].sum()) <= 12
        (torch.Size([2, 2, 8, 8]), True)
    """
    find_layers(model, [layer])
    tell_training(model)
    if isinstance(images, Tensor) and (images.ndim != 4 or not len(images)):
        raise refusal(ValueError("images must be a tensor [N, 3, H, W] of at least one."))
    asked, classifier = asked_of(pool, units, share), _classifier(weights, bias)
    names = names_of(model, layer, dissection)
    data = Batches(images if truth is None else _paired(images, truth, len(classifier.weights)), batch_size)
    pictures = attribute_of(images, "to_pictures") or to_pictures
    classes = tuple(map(str, attribute_of(images, "classes") or ()))
    run = Explained(model, layer, Readout(relu=relu, layout=layout), classifier, asked, pictures, len(classes))
    about: dict[str, Any] = {"options": [layer, *asked, relu, batch_size]}
    if resume is not None:
        about |= {**identity(model, [data]), "classifier": [checksum(part).tolist() for part in classifier]}
    finish(run, Images({"explain_predictions: images": data}), resume=resume, about=about, progress=progress)
    found = run.found()
    truth = found.pop("truth", None)
    return Explanations(**found, truth=truth, concepts=names, classes=() if truth is None else classes)


class Asked(NamedTuple):
    """What is told of each image: how maps become numbers, how many units, and what share of the pixels masks have."""

    pool: Pool
    units: int
    share: float


class Classifier(NamedTuple):
    """A linear one: weights [K, U] and bias [K], float64."""

    weights: Tensor
    bias: Tensor


class Explained(Run):
    """Each image's scores, the units that weigh most, and where these fire.

    Args:
        model: the network.
        layer: whose units they are.
        readout: how its output becomes maps.
        classifier: of the pooled maps.
        asked: what is told of each image.
        pictures: makes uint8 pictures of images.
        named: how many classes the images name; 0: none.
    """

    def __init__(
        self, model: nn.Module, layer: str, readout: Readout, classifier: Classifier, asked: Asked,
        pictures: Callable[[Tensor], Tensor], named: int,
    ) -> None:  # fmt: skip
        self._maps, self._classifier, self._asked = MapsOf(model, layer, readout), classifier, asked
        self._pictures, self._named = pictures, named
        self._parts: list[dict[str, Tensor]] = []
        self._done = False

    @property
    def needs(self) -> Visit | None:
        """What the visit under way must see."""
        return None if self._done else Visit("explained", data="explain_predictions: images")

    def compute(self, step: Step) -> dict[str, Tensor]:
        """What is told of a batch."""
        (weights, bias), (pool, units, share) = self._classifier, self._asked
        images, maps = self._maps.of(step)
        if maps.shape[1] != weights.shape[1]:
            raise refusal(ValueError(
                f"weights must have shape [K, U] with U={maps.shape[1]}, the layer's units, but got "
                f"{list(weights.shape)}."
            ))  # fmt: skip
        x = pooled(maps, pool)
        scores = x @ weights.T + bias
        predicted = scores.argmax(1)
        parts = (weights[predicted] * x).sort(dim=1, descending=True, stable=True)
        chosen = parts.indices[:, :units]
        found = {"images": self._pictures(images).cpu(), "scores": scores, "predicted": predicted, "units": chosen,
                 "weighs": parts.values[:, :units], "masks": _masks(maps, chosen, images, share)}  # fmt: skip
        if isinstance(step.planes, Tensor) and step.planes.ndim == 1:
            if self._named not in (0, len(weights)):
                raise refusal(ValueError(
                    f"weights must have a row for each class that images name, {self._named}, but have {len(weights)}."
                ))  # fmt: skip
            known = found["truth"] = class_numbers(step.planes).cpu()
            for at in ((known < 0) | (known >= len(weights))).nonzero().flatten()[:1].tolist():
                raise refusal(ValueError(
                    f"images must have class numbers in [0, {len(weights)}), of the classes that have weights, but "
                    f"image {int(step.numbers[at])} has {int(known[at])}."
                ))  # fmt: skip
        return found

    def add(self, found: dict[str, Tensor]) -> None:
        """Keeps what is told of a batch."""
        if self._parts and _shapes(found) != _shapes(self._parts[0]):
            raise refusal(ValueError(
                "images must have the size of those before, and class numbers where these have some, but some have "
                "not; give images that are alike, and resume with the same."
            ))  # fmt: skip
        self._parts.append(found)

    def end_visit(self) -> None:
        """There is one visit."""
        self._done = True

    def found(self) -> dict[str, Tensor]:
        """What is told of all images so far, see `Explanations`."""
        if not self._parts:
            return {}
        self._parts = [{name: torch.cat([part[name] for part in self._parts]) for name in self._parts[0]}]
        return dict(self._parts[0])

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {"done": self._done, "found": self.found()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it holds what cannot be.
        """
        fields("the run", state, {"done": Of(bool), "found": Of(dict)})
        require("the run", bool(state["found"]) or not state["done"], "what is done has found something")
        if found := state["found"]:
            sizes = {"K": len(self._classifier.weights)}
            fields("the run", found, {**TENSORS, "truth": Maybe(Array(torch.int64, "N", 0))}, sizes)
            check_fitting("the run", found)
        self._parts, self._done = [found] if found else [], state["done"]


def _shapes(found: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: part.shape[1:] for name, part in found.items()}


class MapsOf:
    """A layer's maps of batches of images, checked.

    Args:
        model: the network.
        layer: the layer.
        readout: how its output becomes maps.
    """

    def __init__(self, model: nn.Module, layer: str, readout: Readout) -> None:
        self._layer, self._passes, self._device = layer, Passes(model, [layer], readout), device_of(model)

    def of(self, step: Step) -> tuple[Tensor, Tensor]:
        """Images, and maps [N, U, h, w] float32 on the CPU.

        Raises:
            ValueError: either is NaN or infinite.
        """
        images = step.shown
        if not bool(images.isfinite().all()):
            bad = (~images.flatten(1).isfinite().all(1)).nonzero().flatten()
            raise refusal(ValueError(
                f"images must be finite, but {len(bad)} are NaN or infinite somewhere, image "
                f"{int(step.numbers[bad[0]])} the first; leave these out."
            ))  # fmt: skip
        with torch.no_grad():
            maps = self._passes.run(Inputs(to_device(images, self._device), {}), [self._layer]).maps[self._layer]
        if not bool(maps.isfinite().all()):
            raise refusal(ValueError(
                f"activations of layer {self._layer!r} must be finite, but some are NaN or infinite; look for weights "
                "that are."
            ))  # fmt: skip
        return images, maps.float().cpu()


def names_of(model: nn.Module, layer: str, dissection: Dissection | None) -> dict[int, str]:
    """What the layer's units detect, by a dissection of this network.

    Raises:
        KeyError, ValueError: it is of other layers, of directions, or of other weights.
    """
    if dissection is not None:
        check_same_weights(model, dissection.settings)
    return unit_names(dissection, layer)


def pooled(maps: Tensor, pool: Pool) -> Tensor:
    """[N, U] float64: what a linear classifier sees of maps."""
    return maps.double().sum((2, 3)) if pool == "sum" else maps.double().mean((2, 3))


def _masks(maps: Tensor, chosen: Tensor, images: Tensor, share: float) -> Tensor:
    """[N, k, H, W] bool: where chosen units [N, k] are in the top share of their own maps."""
    grid = Grid.half_pixel((maps.shape[2], maps.shape[3]), (images.shape[2], images.shape[3]))
    shown = upsample(maps.gather(1, chosen[:, :, None, None].expand(-1, -1, *maps.shape[2:])), grid.rows, grid.columns)
    pixels = shown.flatten(2)
    level = int(exact_fraction(share, "share") * pixels.shape[2])
    return shown > pixels.sort(dim=2, descending=True).values[:, :, level, None, None]


def asked_of(pool: Pool, units: int, share: float) -> Asked:
    """What is told of each image.

    Raises:
        ValueError: it cannot be.
    """
    if pool not in get_args(Pool):
        raise refusal(ValueError(f"pool must be one of {get_args(Pool)}, but got {pool!r}."))
    if not 0 < exact_fraction(share, "share") < 1:
        raise refusal(ValueError(f"share must lie between 0 and 1, but is {share!r}."))
    return Asked(pool, integer("units", units), float(share))


def _classifier(weights: Tensor, bias: Tensor | None) -> Classifier:
    if not isinstance(weights, Tensor) or weights.ndim != 2 or not len(weights):
        got = list(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise refusal(ValueError(f"weights must have shape [K, U], a row for each class, but got {got}."))
    bias = torch.zeros(len(weights)) if bias is None else bias
    if bias.shape != (len(weights),):
        raise refusal(ValueError(f"bias must have shape [{len(weights)}], but got {list(bias.shape)}."))
    if not (bool(weights.isfinite().all()) and bool(bias.isfinite().all())):
        raise refusal(ValueError("weights and bias must be finite, but are not."))
    return Classifier(weights.detach().double().cpu(), bias.detach().double().cpu())


def _paired(images: Any, truth: Tensor | Sequence[int], classes: int) -> TensorDataset:
    if not isinstance(images, Tensor):
        raise refusal(ValueError(
            "truth must come with images that are a tensor; others bring it as pairs of (image, class number)."
        ))  # fmt: skip
    known = torch.as_tensor(truth).long().to(images.device)
    if known.shape != (len(images),) or not bool(((known >= 0) & (known < classes)).all()):
        raise refusal(ValueError(f"truth must be {len(images)} class numbers below {classes}."))
    return TensorDataset(images, known)
