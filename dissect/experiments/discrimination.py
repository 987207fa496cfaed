"""Discrimination against interpretability: how well a network's features serve another task (Zhou et al. 2018, 3.9)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torch.utils.data import Dataset

from dissect import extras
from dissect.arguments import integer, refusal, speaks
from dissect.data import Batches
from dissect.devices import device_of, to_device
from dissect.dissection.comparison import compare
from dissect.dissection.result import Dissection
from dissect.experiments.discrimination_result import Discrimination
from dissect.files.checked import Array, Of, Whole, fields, require
from dissect.network.identity import check_same_weights
from dissect.network.layers import find_layers
from dissect.network.layouts import LayoutOption
from dissect.network.modes import check_evaluating
from dissect.visits.images import Images, identity
from dissect.visits.passes import Inputs, Passes
from dissect.visits.readout import Readout
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step

#: The paper's: of the linear support vector machine.
PENALTY = 0.001
#: The data sets of a task, in the order of their visits.
PARTS = ("train", "test")


@speaks
def discrimination(
    networks: Mapping[str, nn.Module | Callable[[], nn.Module]],
    dissections: Mapping[str, Dissection | str | Path],
    train: Dataset[Any] | Iterable[Any],
    test: Dataset[Any] | Iterable[Any],
    *,
    trained_for: Iterable[str] = (),
    category: str = "object",
    penalty: float = PENALTY,
    cells: int | None = None,
    scaled: bool = False,
    relu: bool = True,
    layout: LayoutOption | None = None,
    batch_size: int = 32,
    resume: str | Path | None = None,
    progress: bool = True,
) -> Discrimination:
    """How well a linear classifier does with each network's features, beside how many concepts its units detect.

    A linear support vector machine (scikit-learn's `LinearSVC`, one against the rest) learns a task from the maps of
    the dissected layer, usually the last convolution, all of its cells as one vector, and its accuracy is averaged over
    classes. Unique detectors are counted by `dissect.compare`. (Zhou et al. 2018, section 3.9, Fig. 25 and 26. A small
    `penalty` C holds large weights back, so features of a small scale do worse with it; the paper says nothing of the
    features' scale, and `scaled` takes it out.)

    Args:
        networks: by name; each a module in evaluation mode, or a function that loads one when its turn comes.
        dissections: of the same names, each of one layer: results, or their files.
        train: pairs (image, class number) as a Dataset, or an iterable of batches of such.
        test: the same, of other images.
        trained_for: the names of networks that were trained for this very task; `Discrimination.correlations` counts
            the others apart.
        category: whose concepts are counted.
        penalty: C of the support vector machine.
        cells: average maps to so many rows and columns before; None leaves them whole.
        scaled: divide each network's features by the mean Euclidean norm of its training images'.
        relu: read the layer after its ReLU.
        layout: see `dissect.dissect`.
        batch_size: see `dissect.dissect`.
        resume: a folder in which each network has one of its name for what an interrupted run needs to go on, so that
            others can be added later.
        progress: show bars.

    Raises:
        ImportError: scikit-learn is missing (extra `experiments`).
        TypeError, ValueError: fewer than two networks, names that differ, a dissection of several layers, of
            directions or of other weights than the network of its name, dissections that do not compare (see
            `dissect.compare`), a network in training mode; images without class numbers; a class that only the test
            images have.

    Example: see `Discrimination`.
    """
    extras.require("discrimination", "experiments", "sklearn.svm")
    names = list(networks)
    own = [trained_for] if isinstance(trained_for, str) else list(trained_for)
    _check_given(names, [*dissections], own, penalty)
    cells = None if cells is None else integer("cells", cells)
    found = compare({name: dissections[name] for name in names})
    layers = [_layer(name, found.dissections[name]) for name in names]
    if category not in found.categories:
        raise refusal(ValueError(f"category must be one of {found.categories}, but is {category!r}."))
    counted = [row.concepts for row in found.by_category() if row.category == category]
    data = {"train": Batches(train, batch_size), "test": Batches(test, batch_size)}
    titled = {f"discrimination: {part}": batches for part, batches in data.items()}
    predictions, truth, sizes = [], torch.empty(0), {}
    for name in names:  # before any work; those that are loaded in their turn are looked at then
        _check_own(name, networks[name], found.dissections[name])
    for name, layer in zip(names, layers):
        given = networks[name]
        model = given if isinstance(given, nn.Module) else _check_own(name, given(), found.dissections[name])
        run = FeaturesRun(model, layer, cells, Readout(relu=relu, layout=layout))
        folder = None if resume is None else Path(resume) / quote(name, safe="")
        about = {} if resume is None else identity(model, data.values())
        about |= {"options": [layer, cells, relu, batch_size]}
        finish(run, Images(titled), resume=folder, about=about, progress=progress)
        _check_classes(run.classes)
        predictions.append(linear_predictions(run.features["train"], run.classes["train"], run.features["test"],
                                              penalty=penalty, scaled=scaled))  # fmt: skip
        truth, sizes = run.classes["test"], {part: len(run.classes[part]) for part in PARTS}
    settings = {"category": category, "penalty": float(penalty), "cells": cells, "scaled": bool(scaled), "relu": relu,
                "num_train": sizes["train"], "detector_iou": found.layers[0].cutoff}  # fmt: skip
    units = [found.dissections[name][layer].num_units for name, layer in zip(names, layers)]
    return Discrimination(names, layers, own, units, counted, torch.stack(predictions), truth, settings)


def _check_given(names: list[str], dissected: list[str], own: list[str], penalty: float) -> None:
    if len(names) < 2 or {*names} != {*dissected}:
        raise refusal(ValueError(
            f"networks and dissections must have the same names, at least two, but are {names} and {dissected}."
        ))  # fmt: skip
    if not {*own} <= {*names}:
        raise refusal(ValueError(f"trained_for must name some of {names}, but names {sorted({*own} - {*names})}."))
    check_penalty(penalty)


def check_penalty(penalty: float) -> None:
    """Refuses a C that no support vector machine has.

    Raises:
        ValueError: it is not above 0, or not finite.
    """
    if not 0 < penalty < math.inf:
        raise refusal(ValueError(f"penalty must be a number above 0, but is {penalty!r}."))


def _check_own(name: str, network: Any, dissection: Dissection) -> Any:
    """The network, unless it is another than the one that was dissected under its name."""
    if isinstance(network, nn.Module):
        check_same_weights(network, dissection.settings, f"networks[{name!r}]", f"dissection {name!r}")
    return network


def _check_classes(classes: Mapping[str, Tensor]) -> None:
    if len(classes["train"].unique()) < 2:
        raise refusal(ValueError(
            f"train must show two classes at least, but shows {classes['train'].unique().tolist()}; give more images."
        ))  # fmt: skip
    missing = sorted({*classes["test"].tolist()} - {*classes["train"].tolist()})
    if missing:
        raise refusal(ValueError(f"train must show every class that test shows, but not {missing[:5]}."))


@speaks
def linear_predictions(
    features: Tensor, classes: Tensor, others: Tensor, *, penalty: float = PENALTY, scaled: bool = False
) -> Tensor:
    """[T] int64: what scikit-learn's `LinearSVC`, taught by some features, says of others.

    Args:
        features: [N, D].
        classes: [N] int64, at least two different ones.
        others: [T, D].
        penalty: C.
        scaled: divide both by the mean Euclidean norm of `features`' rows.

    Raises:
        ImportError: scikit-learn is missing (extra `experiments`).
        ValueError: features of other lengths, NaN or infinite ones; classes of another number, fewer than two; a
            penalty that is not above 0.

    Example:
        >>> features, classes = torch.eye(4).repeat(5, 1), torch.arange(4).repeat(5)
        >>> dissect.experiments.linear_predictions(features, classes, torch.eye(4), penalty=1.0).tolist()
        [0, 1, 2, 3]
    """
    extras.require("linear_predictions", "experiments", "sklearn.svm")
    from sklearn.svm import LinearSVC

    check_penalty(penalty)
    for name, part in (("features", features), ("others", others)):
        if part.ndim != 2 or part.shape[1:] != features.shape[1:] or not bool(part.isfinite().all()):
            raise refusal(ValueError(
                f"{name} must be finite numbers [N, D], of one D in both, but are of shape {list(part.shape)} "
                f"beside {list(features.shape)}, or NaN or infinite."
            ))  # fmt: skip
    if classes.shape != features.shape[:1]:
        raise refusal(ValueError(f"classes must be [N={len(features)}], but are {list(classes.shape)}."))
    if len(classes.unique()) < 2:
        raise refusal(ValueError(f"classes must be two or more, but are {classes.unique().tolist()}."))
    scale = float(features.double().norm(dim=1).mean()) if scaled else 1.0
    learned, asked = (part.double().numpy() / (scale or 1.0) for part in (features, others))
    machine = LinearSVC(C=penalty, random_state=0).fit(learned, classes.numpy())
    return torch.from_numpy(machine.predict(asked)).long()


class FeaturesRun(Run):
    """A layer's maps of the training images, and then of the test images, a vector each; and their classes.

    Args:
        model: the network.
        layer: the layer.
        cells: see `discrimination`.
        readout: how its output becomes maps.
        function: that asks, as the data sets' titles begin.
        vectors: whether the layer may give vectors.
    """

    def __init__(
        self, model: nn.Module, layer: str, cells: int | None, readout: Readout, function: str = "discrimination", *,
        vectors: bool = False,
    ) -> None:  # fmt: skip
        check_evaluating(model)
        find_layers(model, [layer])
        self._layer, self._cells, self._device = layer, cells, device_of(model)
        self._passes, self._at = Passes(model, [layer], readout), 0
        self._function, self._vectors = function, vectors
        self.features = {part: torch.empty(0, 0) for part in PARTS}
        self.classes = {part: torch.empty(0, dtype=torch.int64) for part in PARTS}

    @property
    def needs(self) -> Visit | None:
        """What the visit under way must see."""
        if self._at == len(PARTS):
            return None
        part = PARTS[self._at]
        return Visit(f"features of the {part} images", data=f"{self._function}: {part}")

    def compute(self, step: Step) -> tuple[Tensor, Tensor]:
        """The features and the classes of a batch."""
        part = PARTS[self._at]
        if step.images is None or not isinstance(step.planes, Tensor) or step.planes.ndim != 1:
            raise refusal(ValueError(f"{part} must be of pairs (image, class number), but images come without."))
        with torch.no_grad():
            inputs = Inputs(to_device(step.images, self._device), {})
            maps = self._passes.run(inputs, [self._layer], vectors=self._vectors).maps[self._layer].float()
        if self._cells is not None:
            maps = adaptive_avg_pool2d(maps, self._cells)
        return maps.flatten(1).cpu(), step.planes.long().cpu()

    def add(self, found: tuple[Tensor, Tensor]) -> None:
        """Keeps what a batch gave."""
        features, classes = found
        part = PARTS[self._at]
        for kept in self.features.values():
            if len(kept) and kept.shape[1] != features.shape[1]:
                raise refusal(
                    ValueError(
                        f"features must be as many of all images, but are {features.shape[1]} of some of {part} and "
                        f"{kept.shape[1]} of those before; give images of one size, and resume with the same network."
                    )
                )
        known = self.features[part]
        self.features[part] = torch.cat([known, features]) if len(known) else features
        self.classes[part] = torch.cat([self.classes[part], classes])

    def end_visit(self) -> None:
        """Goes on to the test images."""
        self._at += 1

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        parts = {part: {"features": self.features[part], "classes": self.classes[part]} for part in PARTS}
        return {"at": self._at, **parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict` of the same network and images.

        Raises:
            ValueError: it holds what cannot be.
        """
        fields("the run", state, {"at": Whole(0, len(PARTS)), **dict.fromkeys(PARTS, Of(dict))})
        rules = {"features": Array(torch.float32, "N D"), "classes": Array(torch.int64, "N")}
        sizes = {part: fields("the run", state[part], rules) for part in PARTS}
        widths = {size["D"] for size in sizes.values() if size["N"]}
        require("the run", len(widths) < 2, "features of both parts are of one length")
        require("the run", not sizes["test"]["N"] or state["at"] > 0, "test images come after the others")
        self._at = state["at"]
        for part in PARTS:
            self.features[part], self.classes[part] = state[part]["features"], state[part]["classes"]


def _layer(name: str, found: Dissection) -> str:
    """The one layer of a dissection."""
    if len(found.layers) != 1:
        raise refusal(
            ValueError(f"dissections must be of one layer each, but that of {name!r} has {list(found.layers)}.")
        )
    layer = next(iter(found))
    found.of_units(layer)
    return layer
