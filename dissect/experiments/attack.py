"""What an adversarial attack does to a classifier's units (Bau et al. 2020, "Analyzing Adversarial Attack", Fig. 5)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from dissect.arguments import integer
from dissect.cache import load_tensors, save_tensors, with_suffix
from dissect.checked import Array, Maybe, Number, Of, Text, Whole, fields, require
from dissect.classifiers import UnitImportance
from dissect.classifiers.flow import check_evaluating
from dissect.classifiers.visits import Seen, check_visited_again, class_numbers
from dissect.data import Batch, Batches
from dissect.experiments.carlini_wagner import (
    DEFAULT,
    CarliniWagner,
    adversarial,
    load_foolbox,
    with_noise,
)
from dissect.experiments.peaks import scores_and_peaks
from dissect.interrupts import held_back
from dissect.resume import Progress, code_of, fingerprint
from dissect.table import Table
from dissect.trace import find_layers
from dissect.transfer import device_of

FORMAT = ("attack", 1)
SUFFIX = ".attack"
#: Two-sided 99 % of a normal distribution, which the mean of many images nearly has.
Z99 = 2.576


class GroupRow(NamedTuple):
    """How the peak activations of a group of units change.

    Attributes:
        units: "target" or "source" (the k units most important to that class), or "other" (all the rest).
        cause: "attack", or "noise": random noise of the same L2 norm.
        change: mean absolute change of the peak activation.
        interval: half the width of its 99 % confidence interval.
        rise: mean change with its sign, so below 0 where peaks fall.
        scaled: as `change`, in standard deviations of each unit's peak over the unchanged images.
        scaled_interval: half the width of its 99 % confidence interval.
    """

    units: str
    cause: str
    change: float
    interval: float
    rise: float
    scaled: float
    scaled_interval: float


@dataclass(eq=False)  # tensors have no one truth value
class AttackResult:
    """Peak activations of a layer's U units before and after attacks on N images.

    Attributes:
        layer: the layer's name.
        settings: of the attack.
        seed: of targets and noise.
        misnamed: how many images were left out because the network does not name their class.
        images: [N] int64, numbers of the images in the data set.
        sources: [N] int64, each image's class, which the network names.
        targets: [N] int64, the class that it was attacked to.
        reached: [N] bool, whether the network then names the target.
        norms: [N] float32, L2 norm of the change of the image; 0 where the target was not reached.
        noise_kept: [N] bool, whether the network still names the source under noise of that norm.
        before: [N, U] float32, peak activations of the unchanged images.
        after: [N, U] float32, of the attacked ones; of the unchanged one where the target was not reached.
        noise: [N, U] float32, of the images with noise.
        fingerprint: of the network that was attacked; None is unknown, as in files of before there were any.
    """

    layer: str
    settings: CarliniWagner
    seed: int
    misnamed: int
    images: Tensor
    sources: Tensor
    targets: Tensor
    reached: Tensor
    norms: Tensor
    noise_kept: Tensor
    before: Tensor
    after: Tensor
    noise: Tensor
    fingerprint: str | None = None

    def success_rate(self) -> float:
        """The share of attacks that reached their target; NaN without attacks."""
        return float(self.reached.double().mean())

    def changes(self, importance: UnitImportance, k: int = 4) -> Table:
        """How much the units most important to the target, to the source, and all others change: rows of `GroupRow`.

        Over the n attacks that reached their target. An image counts with the mean over the units of a group; a unit
        among the k of both classes counts for both. An interval is ``2.576 * s / sqrt(n)``, too narrow where n is less
        than about 30. Units whose peak never varies over the unchanged images have no standard deviation and are left
        out of what is scaled (NaN where too few images are left).

        Raises:
            ValueError: an importance of another network, layer or of other units, a class that it knows nothing about,
                k below 1 or so large that no other units may be left (2 k >= U), or fewer than two attacks that reached
                their target.
        """
        won = self.reached
        groups = {name: members[won] for name, members in self._groups(importance, k).items()}
        if int(won.sum()) < 2:
            raise ValueError(
                f"AttackResult: intervals need two attacks that reached their target, but there are {int(won.sum())}."
            )
        spread = self.before.double().std(0)
        rows = []
        for cause, peaks in (("attack", self.after), ("noise", self.noise)):
            change = (peaks - self.before)[won].double()
            for name, members in groups.items():
                rise, _ = _mean_interval(change, members)
                plain = _mean_interval(change.abs(), members)
                scaled = _mean_interval(change.abs() / spread.clamp_min(1e-300), members & (spread > 0))
                rows.append(GroupRow(name, cause, *plain, rise, *scaled))
        return Table(rows)

    def _groups(self, importance: UnitImportance, k: int) -> dict[str, Tensor]:
        """[N, U] bool each: which units belong to a group for an image."""
        units = self.before.shape[1]
        if (importance.layer, importance.num_units) != (self.layer, units):
            raise ValueError(
                f"AttackResult: importance must be of the {units} units of {self.layer!r}, but is of the "
                f"{importance.num_units} units of {importance.layer!r}."
            )
        if None not in (self.fingerprint, importance.fingerprint) and self.fingerprint != importance.fingerprint:
            raise ValueError(
                "AttackResult: importance must be of the network that was attacked, but is of one with other modules, "
                "hooks or weights; measure this one with unit_importance."
            )
        if not 1 <= k <= most_important(units):
            raise ValueError(
                f"AttackResult: k must be in [1, {most_important(units)}], less than half the {units} units, "
                f"but got {k}."
            )
        top, groups = importance.top_units(k), {}
        for name, classes in (("target", self.targets), ("source", self.sources)):
            chosen = top[classes]
            if bool((chosen < 0).any()):
                unknown = importance.classes[int(classes[(chosen < 0).any(1)][0])]
                raise ValueError(f"AttackResult: importance must know every {name} class, but not {unknown!r}.")
            groups[name] = torch.zeros_like(self.before, dtype=torch.bool).scatter_(1, chosen, True)
        groups["other"] = ~(groups["target"] | groups["source"])
        return groups

    def save(self, path: str | Path) -> Path:
        """Writes the result to one file, whole or not at all; ".attack" is added where there is no such suffix."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        meta = {"layer": self.layer, "settings": self.settings._asdict(), "seed": self.seed, "misnamed": self.misnamed,
                "fingerprint": self.fingerprint}  # fmt: skip
        return save_tensors(with_suffix(path, SUFFIX), *FORMAT, tensors, meta)

    @classmethod
    def load(cls, path: str | Path) -> AttackResult:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a damaged file, another kind of file, a newer version, or content that cannot be; names it.
        """
        path = with_suffix(path, SUFFIX)
        tensors, meta = load_tensors(path, *FORMAT)
        fields(str(path), meta, _META)
        fields(f"{path}: settings", meta["settings"], _SETTINGS)
        check_found(str(path), tensors)
        known = {name: meta.get(name) for name in _META} | {name: tensors[name] for name in _FOUND}
        settings = CarliniWagner(**{name: meta["settings"][name] for name in _SETTINGS})
        values: dict[str, Any] = {**known, "settings": settings}
        return cls(**values)


_META = {"layer": Text(), "settings": Of(dict), "seed": Whole(), "misnamed": Whole(), "fingerprint": Maybe(Text())}
_SETTINGS = {
    "binary_search_steps": Whole(1),
    "steps": Whole(1),
    "stepsize": Number(0),
    "initial_const": Number(0),
    "confidence": Number(0),
}
_FOUND = {
    **{name: Array(torch.int64, "N", 0) for name in ("images", "sources", "targets")},
    **{name: Array(torch.bool, "N") for name in ("reached", "noise_kept")},
    "norms": Array(torch.float32, "N", 0, math.inf),
    **{name: Array(torch.float32, "N U", -math.inf, math.inf) for name in ("before", "after", "noise")},
}


def check_found(what: str, tensors: dict[str, Tensor]) -> None:
    """Refuses the tensors of an `AttackResult` that cannot be.

    Raises:
        ValueError: says which.
    """
    fields(what, tensors, _FOUND)
    require(what, tensors["sources"] != tensors["targets"], "no target is the image's own class")
    require(what, len(tensors["images"].unique()) == len(tensors["images"]), "images come once each")


def attack(
    model: nn.Module,
    layer: str,
    images: Dataset | Iterable[Any],
    *,
    targets: Tensor | None = None,
    settings: CarliniWagner = DEFAULT,
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    batch_size: int = 16,
    resume: str | Path | None = None,
    progress: bool = True,
) -> AttackResult:
    """Attacks every image that the network names right, and measures the peaks of a layer's units before and after.

    The peak of unit u in image x is ``max over p of a_u(x, p)``, of the layer's own output. In PNAS 2020 that is of
    conv5_3 after its ReLU, which runs in place: peaks differ only where a whole map is negative. (Name the ReLU.)
    Each image is also compared with itself plus random noise of the same L2 norm, see `with_noise`.

    The published code does not ask for images that the network names right, but for those whose class and whose answer
    both differ from the target.

    Args:
        model: a classifier that gives logits [N, C], in eval mode.
        layer: a layer's name, whose output is [N, U, h, w].
        images: a Dataset of (image, class number), or batches of such pairs.
        targets: [number of images] int64, the class that each is attacked to; None draws one of the other classes for
            each image, by `seed` and the image's number.
        settings: of the attack.
        bounds: the least and the largest value that a pixel can have.
        seed: of targets and noise.
        batch_size: images that are attacked at a time, for a Dataset.
        resume: a folder for what an interrupted run needs to go on, saved every 30 seconds, see `dissect.dissect`.
        progress: show a bar.

    Returns:
        `AttackResult`.

    Raises:
        ImportError: foolbox is missing; it comes with the extra `attack`.
        TypeError, ValueError: a network in training mode, output that is not [N, C], images without classes, classes or
            targets out of range, a target that is the image's own class, pixels out of bounds, no images, a folder that
            holds another run or one over other images; wrong options (told before anything is computed).
        KeyError: no such layer.

    Example:
        >>> from dissect.experiments import CarliniWagner, attack
        >>> model, scenes = dissect.tiny.vgg(), dissect.tiny.TinyScenes("val", size=64, count=2, target="class")
        >>> quick = CarliniWagner(binary_search_steps=1, steps=1)
        >>> result = attack(model, "features.conv5_3", scenes, settings=quick, progress=False)
        >>> len(result.images) + result.misnamed, result.before.shape[1]
        (2, 192)
    """
    check_evaluating(model)
    find_layers(model, [layer])
    batch_size, seed = integer("attack", "batch_size", batch_size), integer("attack", "seed", seed, least=0)
    bounds, targets = _checked_bounds(bounds), _checked_targets(targets)
    _check_settings(settings)
    load_foolbox()
    network = fingerprint(model)
    about = {
        "network": network, "layer": layer, "settings": list(settings), "bounds": list(bounds),
        "seed": seed, "batch size": batch_size, "targets": None if targets is None else targets.tolist(),
    }  # fmt: skip
    batches, run = Batches(images, batch_size), _Run()
    if resume is not None:
        check_visited_again(batches)
        about["code"] = code_of(model)
        about["images"] = batches.identity()
    saved = Progress(resume, about)
    saved.restore(run)
    visit, total = batches.visit(run.batches), batches.count()
    with saved.keeping(run):
        run.same.visit_again(batches, progress)
        for batch in tqdm(visit, "attack", total, initial=run.batches, unit="batch", disable=not progress):
            run.add(batch, _attack_batch(model, layer, batch, targets, settings, bounds, seed))
            saved.save(run)
    if not run.batches:
        raise ValueError("attack: images must hold at least one batch, but are empty.")
    run.same.end(run.batches)
    saved.save(run, now=True)
    found: dict[str, Any] = run.tensors()
    return AttackResult(layer, settings, seed, run.seen - len(found["images"]), **found, fingerprint=network)


def _checked_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    try:
        least, largest = (float(bound) for bound in bounds)
    except (TypeError, ValueError):
        raise ValueError(f"attack: bounds must be two numbers, but are {bounds!r}.") from None
    if not -math.inf < least < largest < math.inf:
        raise ValueError(f"attack: bounds must be two finite numbers, the smaller one first, but are {bounds!r}.")
    return least, largest


def _checked_targets(targets: Tensor | None) -> Tensor | None:
    if targets is None:
        return None
    found = torch.as_tensor(targets)
    if found.ndim != 1 or found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise ValueError(
            f"attack: targets must be integers [number of images], but are {found.dtype} {list(found.shape)}."
        )
    return found


def _check_settings(settings: CarliniWagner) -> None:
    for name in ("binary_search_steps", "steps"):
        integer("attack", f"settings.{name}", getattr(settings, name))
    for name, least in (("stepsize", "above 0"), ("initial_const", "above 0"), ("confidence", "0 or more")):
        value = getattr(settings, name)
        number = float(value) if isinstance(value, Real) else math.nan
        if not 0 <= number < math.inf or (number == 0 and least == "above 0"):
            raise ValueError(f"attack: settings.{name} must be a finite number, {least}, but is {value!r}.")


def _attack_batch(
    model: nn.Module, layer: str, batch: Batch, targets: Tensor | None, settings: CarliniWagner,
    bounds: tuple[float, float], seed: int,
) -> dict[str, Tensor]:  # fmt: skip
    """The tensors of an `AttackResult` for those images of a batch that the network names right."""
    device = device_of(model, batch.images.device)
    images, labels = batch.images.to(device), class_numbers(batch).cpu()
    scores, before = scores_and_peaks("attack", model, layer, images)
    targets = _targets(targets, batch.numbers, labels, scores.shape[1], seed)
    right = scores.argmax(1) == labels
    images, numbers, sources, targets = images[right.to(device)], batch.numbers[right], labels[right], targets[right]
    if not len(images):  # many networks cannot be called without an image
        none, nothing = before[:0], torch.zeros(0)
        return {
            "images": numbers, "sources": sources, "targets": targets, "reached": nothing.bool(), "norms": nothing,
            "noise_kept": nothing.bool(), "before": none, "after": none, "noise": none,
        }  # fmt: skip
    found, reached = adversarial(model, images, targets.to(device), settings, bounds)
    norms = (found - images).flatten(1).norm(dim=1)
    noisy = with_noise(images, norms, numbers, seed, bounds)
    noise_scores, noise = scores_and_peaks("attack", model, layer, noisy)
    return {
        "images": numbers,
        "sources": sources,
        "targets": targets,
        "reached": reached.cpu(),
        "norms": norms.cpu(),
        "noise_kept": noise_scores.argmax(1) == sources,
        "before": before[right],
        "after": scores_and_peaks("attack", model, layer, found)[1],
        "noise": noise,
    }


def _targets(given: Tensor | None, numbers: Tensor, labels: Tensor, classes: int, seed: int) -> Tensor:
    """[N] int64, the class that each image is attacked to."""
    if bool(((labels < 0) | (labels >= classes)).any()):
        raise ValueError(f"attack: classes must be in [0, {classes}), the model's, but got {labels.tolist()}.")
    if given is None:
        draws = [int(np.random.default_rng([number, seed, 1]).integers(classes - 1)) for number in numbers.tolist()]
        other = torch.tensor(draws, dtype=torch.int64)
        return other + (other >= labels)
    if len(given) <= int(numbers.max()):
        raise ValueError(f"attack: targets must have one entry per image, but there are {len(given)}.")
    targets = given.long().cpu()[numbers]
    wrong = (targets < 0) | (targets >= classes) | (targets == labels)
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        raise ValueError(
            f"attack: targets must be in [0, {classes}) and not the image's own class, but that of image "
            f"{int(numbers[at])}, of class {int(labels[at])}, is {int(targets[at])}."
        )
    return targets


class _Run:
    """What an attack has found so far."""

    def __init__(self) -> None:
        self.batches = self.seen = 0
        self.same = Seen("attack: images")
        self._parts: list[dict[str, Tensor]] = []

    def add(self, batch: Batch, part: dict[str, Tensor]) -> None:
        with held_back():
            self.same.check(self.batches, batch)
            self.batches += 1
            self.seen += len(batch.numbers)
            self._parts.append(part)

    def tensors(self) -> dict[str, Tensor]:
        """What was found, of all images."""
        return {name: torch.cat([part[name] for part in self._parts]) for name in self._parts[0]}

    def state_dict(self) -> dict[str, Any]:
        found = self.tensors() if self._parts else {}
        return {"batches": self.batches, "seen": self.seen, "same": self.same.state_dict(), "found": found}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        fields("attack: the state", state, {"batches": Whole(), "seen": Whole(), "found": Of(dict)})
        if state["found"]:
            check_found("attack: the state", state["found"])
        self.batches, self.seen = state["batches"], state["seen"]
        self.same.load_state_dict(state["same"])
        self._parts = [state["found"]] if state["found"] else []


def most_important(units: int) -> int:
    """The largest k with which some unit is among the k most important ones of neither of two classes."""
    return (units - 1) // 2


def _mean_interval(values: Tensor, members: Tensor) -> tuple[float, float]:
    """Mean over images of the mean over their members [n, U], if any, and half the width of its 99 % interval."""
    some = members.any(1)
    means = (values * members)[some].sum(1) / members[some].sum(1)
    deviation = float(means.std()) if len(means) > 1 else math.nan
    return float(means.mean()), Z99 * deviation / max(1, len(means)) ** 0.5
