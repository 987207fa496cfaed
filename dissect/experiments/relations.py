"""How a unit's importance to classes relates to what it means (Bau et al. 2020, Fig. 2E; supplement B, Fig. S4, S5)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations as choices
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import integer, refusal, speaks
from dissect.classifiers import UnitImportance
from dissect.classifiers.visits import check_visited_again
from dissect.data import Batches
from dissect.experiments.responses import scores_and_peaks
from dissect.files.checked import Array, Of, fields, require
from dissect.network.layers import find_layers
from dissect.network.modes import check_evaluating
from dissect.stats.classes import mean_ranks
from dissect.table import Table
from dissect.visits.images import Images, identity
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step


class ClassesRow(NamedTuple):
    """Units that are important to the same number of classes.

    Attributes:
        classes: to how many classes; "5+" pools five and more.
        units: how many units these are.
        iou: their mean IoU; None where there are none.
    """

    classes: str
    units: int
    iou: float | None


class BucketRow(NamedTuple):
    """Units of similar mean importance.

    Attributes:
        units: how many units these are.
        importance: their mean importance: balanced accuracy lost without the unit, averaged over the classes.
        iou: their mean IoU.
    """

    units: int
    importance: float
    iou: float


class SignRow(NamedTuple):
    """Correlations of units' peaks with classes' scores.

    Attributes:
        units: "important" (a unit among the k most important of the class) or "other".
        pairs: how many pairs of such a unit and a class there are.
        negative: the share of them whose correlation is below 0.
        correlation: their mean correlation.
    """

    units: str
    pairs: int
    negative: float | None
    correlation: float | None


class Combination(NamedTuple):
    """Three classes told apart by three units, each important to two of them and not to the third.

    Attributes:
        classes: their numbers (a, b, c), rising.
        units: the units that are important to a and b, to b and c, and to a and c.
        weakest: the smallest of the six drops of balanced accuracy, on validation images.
    """

    classes: tuple[int, int, int]
    units: tuple[int, int, int]
    weakest: float


@speaks
def important_pairs(importance: UnitImportance, k: int = 4) -> Tensor:
    """[U, C] bool: whether a unit is among the k most important of a class; never, for a class without images.

    Raises:
        ValueError: k is not in [1, U].
    """
    if not 1 <= k <= importance.num_units:
        raise refusal(ValueError(f"k must be in [1, {importance.num_units}], but got {k}."))
    important = torch.zeros(importance.num_units, len(importance.classes), dtype=torch.bool)
    for number, units in enumerate(importance.top_units(k)):
        important[units[units >= 0], number] = True
    return important


@speaks
def iou_by_classes(importance: UnitImportance, unit_iou: Tensor, k: int = 4, most: int = 5) -> Table[ClassesRow]:
    """Mean IoU of the units by the number of classes for which they are in the top k (Fig. 2E, S4c-f).

    Args:
        importance: of a layer's units to the classes.
        unit_iou: [U], each unit's best IoU.
        k: how many units of a class count as important.
        most: units of this many classes and of more are one row.

    Returns:
        `most` + 1 rows of `ClassesRow`.

    Raises:
        ValueError: unit_iou is not [U].
    """
    _check_iou(importance, unit_iou)
    counts = important_pairs(importance, k).sum(1).clamp(max=most)
    rows = []
    for number in range(most + 1):
        group = unit_iou[counts == number].double()
        rows.append(ClassesRow(f"{number}+" if number == most else f"{number}", len(group), float(group.mean())))
    return Table(rows)


@speaks
def iou_by_importance(importance: UnitImportance, unit_iou: Tensor, buckets: int = 16) -> Table[BucketRow]:
    """Mean IoU of units in buckets of equal size, by rising mean importance on validation images (Fig. S4g).

    Args:
        importance: of a layer's units to the classes.
        unit_iou: [U], each unit's best IoU.
        buckets: how many; their sizes differ by one at most.

    Returns:
        Rows of `BucketRow`.

    Raises:
        ValueError: unit_iou is not [U], or buckets is not in [1, U].
    """
    _check_iou(importance, unit_iou)
    if not 1 <= buckets <= len(unit_iou):
        raise refusal(ValueError(f"buckets must be in [1, {len(unit_iou)}], but got {buckets}."))
    means = mean_importance(importance)
    parts = means.argsort(stable=True).tensor_split(buckets)
    return Table(BucketRow(len(part), float(means[part].mean()), float(unit_iou[part].mean())) for part in parts)


@speaks
def mean_importance(importance: UnitImportance, split: str = "val") -> Tensor:
    """[U] float64: balanced accuracy lost without the unit, averaged over the classes that have images."""
    return importance.drop(split)[:, importance.measured_classes()].mean(1)


@speaks
def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's: Pearson's correlation of the ranks, equal values sharing their mean rank.

    Example:
        >>> round(rank_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 10.0, 100.0])), 6)
        1.0
    """
    return float(correlation(*(mean_ranks(values)[:, None] for values in (first, second))))


@speaks
def peak_correlation(
    model: nn.Module,
    layer: str,
    images: Dataset[Any] | Tensor | Iterable[Any],
    *,
    batch_size: int = 32,
    resume: str | Path | None = None,
    progress: bool = True,
) -> Tensor:
    """Correlation of each unit's peak activation with the softmax score of each class, over images (Fig. S4h).

    Args:
        model: a classifier that gives logits [N, C], in eval mode.
        layer: a layer's name, whose output is [N, U, h, w].
        images: as `dissect.data.Batches` takes them; labels that come with them are not looked at.
        batch_size: for a Dataset or a tensor.
        resume: a folder for what an interrupted run needs to go on, see `dissect.dissect`.
        progress: show a bar.

    Returns:
        [U, C] float64, Pearson's; NaN where a peak or a score never varies.

    Raises:
        ValueError: a network in training mode, output of another shape, no images, or a folder to resume from that
            holds another run.
        KeyError: no such layer.

    Example:
        >>> from dissect.experiments import peak_correlation
        >>> scenes = dissect.tiny.TinyScenes("val", size=32, count=4)
        >>> peak_correlation(dissect.tiny.vgg(), "features.conv5_3", scenes, progress=False).shape
        torch.Size([192, 43])
    """
    find_layers(model, [layer])
    check_evaluating(model)
    batch_size = integer("batch_size", batch_size)
    batches, about = Batches(images, batch_size), dict[str, Any]()
    if resume is not None:
        check_visited_again(batches)
        about = {**identity(model, [batches]), "layer": layer, "batch_size": batch_size}
    run = PeaksAndShares(model, layer)
    finish(run, Images({"images": batches}), resume=resume, about=about, progress=progress)
    return correlation(torch.cat(run.peaks), torch.cat(run.shares))


class PeaksAndShares(Run):
    """Each unit's peaks and each class's softmax scores.

    Attributes:
        peaks: [n, U] float32 of each batch.
        shares: [n, C] float64 of each.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        self._model, self._layer, self._done = model, layer, False
        self.peaks: list[Tensor] = []
        self.shares: list[Tensor] = []

    @property
    def needs(self) -> Visit | None:
        """What the visit under way must see."""
        return None if self._done else Visit("peaks", last=True)

    def compute(self, step: Step) -> tuple[Tensor, Tensor]:
        """Peaks and scores of a batch."""
        scores, peaks = scores_and_peaks(self._model, self._layer, step.shown)
        return peaks, scores.double().softmax(1)

    def add(self, found: tuple[Tensor, Tensor]) -> None:
        """Keeps what was seen of a batch."""
        self.peaks.append(found[0])
        self.shares.append(found[1])

    def end_visit(self) -> None:
        """There is one visit."""
        self._done = True

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        kept = {"peaks": torch.cat(self.peaks), "shares": torch.cat(self.shares)} if self.peaks else {}
        return {"done": self._done, "kept": kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it holds what cannot be.
        """
        fields("the run", state, {"done": Of(bool), "kept": Of(dict)})
        require("the run", bool(state["kept"]) or not state["done"], "what is done has seen something")
        if state["kept"]:
            peaks = Array(torch.float32, "N U", -math.inf, math.inf)
            shares = Array(torch.float64, "N C", 0, 1, nan=True)  # as the network's scores may be
            fields("the run", state["kept"], {"peaks": peaks, "shares": shares})
            self.peaks, self.shares = [state["kept"]["peaks"]], [state["kept"]["shares"]]
        self._done = state["done"]


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """[A, B] float64: Pearson's correlation of each column of [N, A] with each of [N, B]; NaN for a constant one."""
    scaled = []
    for values in (first.double(), second.double()):
        constant = values.amax(0) == values.amin(0)
        centred = values - values.mean(0)
        scaled.append((centred / centred.norm(dim=0)).masked_fill(constant, torch.nan))
    correlation: Tensor = (scaled[0].T @ scaled[1]).clamp(-1, 1)
    return correlation


@speaks
def sign_shares(importance: UnitImportance, correlations: Tensor, k: int = 4) -> Table[SignRow]:
    """How many correlations are negative, among important units and among the others (supplement B).

    Args:
        importance: of a layer's units to the classes.
        correlations: [U, C], see `peak_correlation`; pairs that are NaN are left out.
        k: how many units of a class count as important.

    Returns:
        Two rows of `SignRow`.

    Raises:
        ValueError: correlations is not [U, C].
    """
    important = important_pairs(importance, k)
    if correlations.shape != important.shape:
        raise refusal(
            ValueError(
                f"correlations must have shape [U, C]={list(important.shape)}, of importance, but got "
                f"{list(correlations.shape)}."
            )
        )
    known = ~correlations.isnan()
    known[:, [c for c in range(known.shape[1]) if c not in importance.measured_classes()]] = False
    rows = []
    for name, pairs in (("important", important & known), ("other", ~important & known)):
        values = correlations[pairs]
        rows.append(SignRow(name, len(values), float((values < 0).double().mean()), float(values.mean())))
    return Table(rows)


@speaks
def overlapping_combinations(importance: UnitImportance, k: int = 4) -> list[Combination]:
    """All three classes told apart by three units as a `Combination` says (Fig. S5), the clearest first.

    Of several units that two classes share, and the third does not, the one with the largest smaller drop is taken;
    the order is by the weakest of the six drops on validation images.

    Args:
        importance: of a layer's units to the classes.
        k: how many units of a class count as important.
    """
    important, drop = important_pairs(importance, k), importance.drop("val")
    shared = {
        pair: (important[:, pair[0]] & important[:, pair[1]]).nonzero().flatten().tolist()
        for pair in choices(importance.measured_classes(), 2)
    }
    found = []
    for first, second, third in choices(importance.measured_classes(), 3):
        pairs = ((first, second, third), (second, third, first), (first, third, second))
        if not all(shared[pair[:2]] for pair in pairs):
            continue
        units = []
        for one, other, without in pairs:
            telling = [unit for unit in shared[one, other] if not important[unit, without]]
            units += sorted(telling, key=lambda unit: -float(drop[unit, [one, other]].min()))[:1]
        if len(units) == 3:
            weakest = min(float(drop[unit, list(pair[:2])].min()) for unit, pair in zip(units, pairs))
            found.append(Combination((first, second, third), (units[0], units[1], units[2]), weakest))
    return sorted(found, key=lambda combination: -combination.weakest)


@speaks
def clearest_combinations(
    combinations: Iterable[Combination], count: int = 3, *, least: float = 0.01
) -> list[Combination]:
    """The first few to show, no two of which share two classes.

    Args:
        combinations: the clearest first, as `overlapping_combinations` gives them.
        count: how many at most.
        least: balanced accuracy that each of the six drops must reach.

    Example:
        >>> found = [Combination(classes, (0, 1, 2), 0.1) for classes in ((0, 1, 2), (0, 1, 3), (0, 3, 4))]
        >>> [one.classes for one in clearest_combinations(found)]
        [(0, 1, 2), (0, 3, 4)]
    """
    shown: list[Combination] = []
    for combination in combinations:
        familiar = any(len(set(other.classes) & set(combination.classes)) > 1 for other in shown)
        if len(shown) < count and combination.weakest >= least and not familiar:
            shown.append(combination)
    return shown


def _check_iou(importance: UnitImportance, unit_iou: Tensor) -> None:
    if unit_iou.shape != (importance.num_units,):
        raise refusal(
            ValueError(
                f"unit_iou must have shape [U={importance.num_units}], of importance, but got {list(unit_iou.shape)}."
            )
        )
