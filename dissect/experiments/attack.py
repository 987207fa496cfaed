"""What an adversarial attack does to a classifier's units (Bau et al. 2020, "Analyzing Adversarial Attack", Fig. 5)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import integer, refusal, seed_number, speaks
from dissect.classifiers.visits import check_visited_again, class_numbers
from dissect.data import Batches
from dissect.devices import device_of
from dissect.experiments.attack_result import CANDIDATES, AttackResult, GroupRow, check_found, most_important
from dissect.experiments.carlini_wagner import (
    DEFAULT,
    CarliniWagner,
    adversarial,
    load_foolbox,
    with_noise,
)
from dissect.experiments.responses import scores_and_peaks
from dissect.files.checked import Of, Whole, fields
from dissect.network.identity import code_of, fingerprint
from dissect.network.modes import check_evaluating
from dissect.network.trace import find_layers
from dissect.visits.images import Images
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step

__all__ = ["AttackResult", "GroupRow", "attack", "attacked_again", "most_important"]


@speaks
def attack(
    model: nn.Module,
    layer: str,
    images: Dataset[Any] | Iterable[Any],
    *,
    targets: Tensor | None = None,
    candidates: str = "correct",
    settings: CarliniWagner = DEFAULT,
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    batch_size: int = 16,
    resume: str | Path | None = None,
    progress: bool = True,
) -> AttackResult:
    """Attacks images, by default all that the network names right, and measures the peaks of a layer's units.

    The peak of unit u in image x is ``max over p of a_u(x, p)``, of the layer's own output. In PNAS 2020 that is of
    conv5_3 after its ReLU, which runs in place: peaks differ only where a whole map is negative. (Name the ReLU.)
    Each image is also compared with itself plus random noise of the same L2 norm, see `with_noise`.

    Args:
        model: a classifier that gives logits [N, C], in eval mode.
        layer: a layer's name, whose output is [N, U, h, w].
        images: a Dataset of (image, class number), or batches of such pairs.
        targets: [number of images] int64, the class that each is attacked to; None draws one of the other classes for
            each image, by `seed` and the image's number.
        candidates: which images are attacked. "correct": those that the network names right. "non_target", as in the
            published code: those whose class and whose answer both differ from the target, right or wrong; so
            ``targets`` may be the same class for all images, and those of that class are left out.
        settings: of the attack.
        bounds: the least and the largest value that a pixel can have.
        seed: of targets and noise.
        batch_size: images that are attacked at a time, for a Dataset.
        resume: a folder for what an interrupted run needs to go on, saved every 30 seconds, see `dissect.dissect`.
        progress: show a bar.

    Returns:
        `AttackResult`.

    Raises:
        ImportError: foolbox is missing; it comes with the extra `experiments`.
        TypeError, ValueError: a network in training mode, output that is not [N, C], images without classes, classes or
            targets out of range, a target that is the own class of an image named right, pixels out of bounds, no
            images, a folder that holds another run or one over other images; wrong options (told before any work).
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
    batch_size, seed = integer("batch_size", batch_size), seed_number(seed)
    bounds, targets = _checked_bounds(bounds), _checked_targets(targets)
    _check_settings(settings)
    if candidates not in CANDIDATES:
        raise refusal(ValueError(f"candidates must be one of {CANDIDATES}, but is {candidates!r}."))
    load_foolbox()
    network = fingerprint(model)
    about = {
        "network": network, "layer": layer, "bounds": list(bounds),
        # Part of what folders of before hold too, which then are of "correct".
        "settings": [*settings, *([] if candidates == "correct" else [candidates])],
        "seed": seed, "batch size": batch_size, "targets": None if targets is None else targets.tolist(),
    }  # fmt: skip
    batches = Batches(images, batch_size)
    if resume is not None:
        check_visited_again(batches)
        about["code"] = code_of(model)
        about["images"] = batches.identity()
    run = _AttackRun(model, layer, targets, candidates, settings, bounds, seed)
    finish(run, Images({"attack: images": batches}), resume=resume, about=about, progress=progress)
    found: dict[str, Any] = run.tensors()
    left_out = run.seen - len(found["images"])
    return AttackResult(layer, settings, seed, left_out, **found, fingerprint=network, candidates=candidates)


@speaks
def attacked_again(
    model: nn.Module,
    images: Dataset[Any],
    result: AttackResult,
    at: int,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    batch_size: int = 16,
) -> tuple[Tensor, Tensor]:
    """An image and what its attack made of it, which a result does not keep.

    It is attacked within its batch again, since rounding decides where so many steps lead: give the model, the data
    set, bounds and batch size of the attack.

    Args:
        model: that was attacked.
        images: the data set of (image, class number).
        result: of `attack`.
        at: the image's place in the result.
        bounds: of the attack.
        batch_size: of the attack.

    Returns:
        Two images [3, H, W].

    Raises:
        ImportError: see `attack`.
        IndexError: the result has no such place.
    """
    rows = (result.images // batch_size == result.images[at] // batch_size).nonzero().flatten()
    batch = torch.stack([images[number][0] for number in result.images[rows].tolist()])
    found, _ = adversarial(model, batch, result.targets[rows], result.settings, bounds)
    place = int((rows == at % len(result.images)).nonzero())
    return batch[place], found[place]


def _checked_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    try:
        least, largest = (float(bound) for bound in bounds)
    except (TypeError, ValueError):
        raise refusal(ValueError(f"bounds must be two numbers, but are {bounds!r}.")) from None
    if not -math.inf < least < largest < math.inf:
        raise refusal(ValueError(f"bounds must be two finite numbers, the smaller one first, but are {bounds!r}."))
    return least, largest


def _checked_targets(targets: Tensor | None) -> Tensor | None:
    if targets is None:
        return None
    found = torch.as_tensor(targets)
    if found.ndim != 1 or found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise refusal(
            ValueError(f"targets must be integers [number of images], but are {found.dtype} {list(found.shape)}.")
        )
    return found


def _check_settings(settings: CarliniWagner) -> None:
    for name in ("binary_search_steps", "steps"):
        integer(f"settings.{name}", getattr(settings, name))
    for name, least in (("stepsize", "above 0"), ("initial_const", "above 0"), ("confidence", "0 or more")):
        value = getattr(settings, name)
        number = float(value) if isinstance(value, Real) else math.nan
        if not 0 <= number < math.inf or (number == 0 and least == "above 0"):
            raise refusal(ValueError(f"settings.{name} must be a finite number, {least}, but is {value!r}."))


def _attack_batch(
    model: nn.Module, layer: str, batch: Step, targets: Tensor | None, candidates: str, settings: CarliniWagner,
    bounds: tuple[float, float], seed: int,
) -> dict[str, Tensor]:  # fmt: skip
    """The tensors of an `AttackResult` for those images of a batch that are candidates."""
    device = device_of(model, batch.shown.device)
    images, labels = batch.shown.to(device), class_numbers(batch.planes).cpu()
    scores, before = scores_and_peaks(model, layer, images)
    answers = scores.argmax(1)
    targets = _targets(targets, batch.numbers, labels, scores.shape[1], seed, candidates)
    chosen = answers == labels if candidates == "correct" else (labels != targets) & (answers != targets)
    images, numbers, sources, targets = (
        part[chosen.to(part.device)] for part in (images, batch.numbers, labels, targets)
    )
    if not len(images):  # many networks cannot be called without an image
        none, nothing = before[:0], torch.zeros(0)
        return {
            "images": numbers, "sources": sources, "targets": targets, "reached": nothing.bool(), "norms": nothing,
            "noise_kept": nothing.bool(), "before": none, "after": none, "noise": none,
        }  # fmt: skip
    found, reached = adversarial(model, images, targets.to(device), settings, bounds)
    norms = (found - images).flatten(1).norm(dim=1)
    noisy = with_noise(images, norms, numbers, seed, bounds)
    noise_scores, noise = scores_and_peaks(model, layer, noisy)
    return {
        "images": numbers,
        "sources": sources,
        "targets": targets,
        "reached": reached.cpu(),
        "norms": norms.cpu(),
        "noise_kept": noise_scores.argmax(1) == answers[chosen],
        "before": before[chosen],
        "after": scores_and_peaks(model, layer, found)[1],
        "noise": noise,
    }


def _targets(given: Tensor | None, numbers: Tensor, labels: Tensor, classes: int, seed: int, candidates: str) -> Tensor:
    """[N] int64, the class that each image is attacked to."""
    if bool(((labels < 0) | (labels >= classes)).any()):
        raise refusal(ValueError(f"classes must be in [0, {classes}), the model's, but got {labels.tolist()}."))
    if given is None:
        draws = [int(np.random.default_rng([number, seed, 1]).integers(classes - 1)) for number in numbers.tolist()]
        other = torch.tensor(draws, dtype=torch.int64)
        return other + (other >= labels)
    if len(given) <= int(numbers.max()):
        raise refusal(ValueError(f"targets must have one entry per image, but there are {len(given)}."))
    targets = given.long().cpu()[numbers]
    own = (targets == labels) & (candidates == "correct")
    wrong = (targets < 0) | (targets >= classes) | own
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        hint = '; candidates="non_target" leaves such images out' if own[at] else ""
        raise refusal(
            ValueError(
                f"targets must be in [0, {classes}) and not the image's own class, but that of image "
                f"{int(numbers[at])}, of class {int(labels[at])}, is {int(targets[at])}{hint}."
            )
        )
    return targets


class _AttackRun(Run):
    """What an attack has found so far; its arguments are those of `_attack_batch`."""

    def __init__(self, model: nn.Module, layer: str, *options: Any) -> None:
        self._arguments = model, layer, options
        self.seen, self._done = 0, False
        self._parts: list[dict[str, Tensor]] = []

    @property
    def needs(self) -> Visit | None:
        return None if self._done else Visit("attack", data="attack: images")

    def compute(self, step: Step) -> tuple[int, dict[str, Tensor]]:
        model, layer, options = self._arguments
        return len(step.numbers), _attack_batch(model, layer, step, *options)

    def add(self, found: tuple[int, dict[str, Tensor]]) -> None:
        self.seen += found[0]
        self._parts.append(found[1])

    def end_visit(self) -> None:
        self._done = True

    def tensors(self) -> dict[str, Tensor]:
        """What was found, of all images."""
        return {name: torch.cat([part[name] for part in self._parts]) for name in self._parts[0]}

    def state_dict(self) -> dict[str, Any]:
        found = self.tensors() if self._parts else {}
        return {"seen": self.seen, "done": self._done, "found": found}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        fields("attack: the state", state, {"seen": Whole(), "done": Of(bool), "found": Of(dict)})
        if state["found"]:
            check_found("attack: the state", state["found"])
        self.seen, self._done = state["seen"], state["done"]
        self._parts = [state["found"]] if state["found"] else []
