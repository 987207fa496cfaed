"""Explanations by a linear classifier that is fitted for them: which units make it say what it says (TPAMI, 3.10)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect import extras
from dissect.arguments import refusal, speaks
from dissect.classifiers.visits import check_class_names, class_numbers
from dissect.data import Batches
from dissect.data.batches import attribute_of
from dissect.dissection.result import Dissection
from dissect.experiments.discrimination import PENALTY, check_penalty
from dissect.experiments.explanations import SHARE, MapsOf, Pool, asked_of, explain_predictions, names_of, pooled
from dissect.experiments.explanations_result import Explanations
from dissect.files.checked import Array, Of, fields, require
from dissect.network.layers import find_layers
from dissect.network.layouts import LayoutOption
from dissect.network.modes import tell_training
from dissect.visits.images import Images, identity
from dissect.visits.readout import Readout
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step


@speaks
def explain_by_svm(
    model: nn.Module,
    layer: str,
    train: Dataset[Any] | Iterable[Any],
    images: Dataset[Any] | Iterable[Any],
    *,
    penalty: float = PENALTY,
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
    """Fits a linear classifier to a layer's pooled maps, and explains what it says of other images by the units.

    A linear support vector machine (scikit-learn's `LinearSVC`, one class against the rest, the primal problem) learns
    classes from ``x_n``, the sum of unit n's map over all places; `explain_predictions` ranks units by ``w_n x_n`` for
    the class that it gives an image. (Zhou et al. 2018, section 3.10, Fig. 27; C as in 3.9. Of two classes it has one
    vector of weights, which speaks for the second class, and less it for the first.)

    Args:
        model: the network.
        layer: a layer that gives maps.
        train: pairs of (image, class number), as a Dataset or batches of such, of every class.
        images: the same, of other images, which are explained.
        penalty: C of the support vector machine.
        pool: see `explain_predictions`.
        units: see `explain_predictions`.
        share: see `explain_predictions`.
        dissection: see `explain_predictions`.
        relu: see `explain_predictions`.
        layout: see `dissect.dissect`.
        batch_size: of a Dataset.
        resume: a folder for what an interrupted run needs to go on, see `dissect.dissect`.
        progress: show bars.

    Raises:
        ImportError: scikit-learn is missing (extra `experiments`).
        KeyError, TypeError, ValueError: see `explain_predictions`; images without class numbers, fewer than two
            classes, a class of which there is no training image, data sets that name their classes otherwise, a penalty
            that is not above 0.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1), torch.nn.ReLU()).eval()
        >>> images, classes = torch.rand(12, 3, 8, 8), torch.arange(12) % 3
        >>> found = dissect.experiments.explain_by_svm(
        ...     model, "0", [(images, classes)], [(images, classes)], units=2, progress=False)
        >>> found.scores.shape, found.masks.shape
        (torch.Size([12, 3]), torch.Size([12, 2, 8, 8]))
    """
    extras.require("explain_by_svm", "experiments", "sklearn.svm")
    find_layers(model, [layer])
    tell_training(model)
    check_penalty(penalty)
    asked_of(pool, units, share)
    names_of(model, layer, dissection)  # what cannot be is told before anything is learned
    names, others = (attribute_of(given, "classes") for given in (train, images))
    check_class_names(names, others)
    data = Batches(train, batch_size)
    run = Pooled(model, layer, Readout(relu=relu, layout=layout), pool)
    about: dict[str, Any] = {} if resume is None else identity(model, [data])
    about |= {"options": [layer, pool, relu, batch_size]}
    titled = {"explain_by_svm: training images": data}
    folder = None if resume is None else Path(resume)
    finish(run, Images(titled), resume=folder and folder / "train", about=about, progress=progress)
    weights, bias = _fitted(run.x, run.classes, penalty, names or others)
    return explain_predictions(
        model, layer, images, weights, bias=bias, pool=pool, units=units, share=share, dissection=dissection, relu=relu,
        layout=layout, batch_size=batch_size, resume=folder and folder / "images", progress=progress,
    )  # fmt: skip


class Pooled(Run):
    """What a linear classifier sees of images, and their classes.

    Attributes:
        x: [N, U] float64.
        classes: [N] int64.
    """

    def __init__(self, model: nn.Module, layer: str, readout: Readout, pool: Pool) -> None:
        self._maps, self._pool, self._done = MapsOf(model, layer, readout), pool, False
        self.x, self.classes = torch.empty(0, 0, dtype=torch.float64), torch.empty(0, dtype=torch.int64)

    @property
    def needs(self) -> Visit | None:
        """What the visit under way must see."""
        return None if self._done else Visit("learned from", data="explain_by_svm: training images")

    def compute(self, step: Step) -> tuple[Tensor, Tensor]:
        """What is seen of a batch, and its classes."""
        classes = class_numbers(step.planes).cpu()
        return pooled(self._maps.of(step)[1], self._pool), classes

    def add(self, found: tuple[Tensor, Tensor]) -> None:
        """Keeps what was seen of a batch."""
        x, classes = found
        if len(self.x) and self.x.shape[1] != x.shape[1]:
            raise refusal(ValueError(
                f"units of the layer must be as many as of those before, {self.x.shape[1]}, but are {x.shape[1]}; "
                "resume with the same network."
            ))  # fmt: skip
        self.x = torch.cat([self.x, x]) if len(self.x) else x
        self.classes = torch.cat([self.classes, classes])

    def end_visit(self) -> None:
        """There is one visit."""
        self._done = True

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {"done": self._done, "x": self.x, "classes": self.classes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it holds what cannot be.
        """
        rules = {"done": Of(bool), "x": Array(torch.float64, "N U"), "classes": Array(torch.int64, "N", 0)}
        fields("the run", state, rules)
        require("the run", len(state["x"]) > 0 or not state["done"], "what is done has seen something")
        self._done, self.x, self.classes = state["done"], state["x"], state["classes"]


def _fitted(x: Tensor, classes: Tensor, penalty: float, names: Sequence[str] | None) -> tuple[Tensor, Tensor]:
    """[K, U] and [K] of a support vector machine, a row for each class."""
    from sklearn.svm import LinearSVC

    seen = classes.unique().tolist()
    count = len(names) if names is not None else max(seen) + 1
    if min(seen) < 0 or max(seen) >= count:
        raise refusal(
            ValueError(f"train must have class numbers from 0 to {count - 1}, but has {seen[0]} to {seen[-1]}.")
        )
    if missing := sorted({*range(count)} - {*seen}):
        of = ", ".join(str(number if names is None else names[number]) for number in missing[:5])
        raise refusal(ValueError(
            f"train must have images of every class, but has none of {len(missing)} of {count}: {of}"
            f"{', ...' if len(missing) > 5 else ''}; give more images, or number the classes anew without these."
        ))  # fmt: skip
    if count < 2:
        raise refusal(ValueError("train must have images of two classes at least, but has one."))
    svm = LinearSVC(C=penalty, dual=False, max_iter=10000, random_state=0).fit(x.numpy(), classes.numpy())
    weights, bias = torch.from_numpy(svm.coef_), torch.from_numpy(svm.intercept_)
    if count == 2:
        weights, bias = torch.cat([-weights, weights]), torch.cat([-bias, bias])
    return weights, bias
