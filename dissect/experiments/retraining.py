"""Whether a network's top learns from rotated features as well (Zhou et al. 2018, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dissect.arguments import integer, refusal, seed_number, speaks
from dissect.devices import checksum
from dissect.experiments.axis_alignment import random_rotation
from dissect.experiments.retraining_result import RetrainedTops
from dissect.files.checked import Array, fields
from dissect.network.identity import code_of, fingerprint
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step

#: Classified at a time.
SHOWN = 512


@speaks
def retrained_tops(
    top: Callable[[int], nn.Module],
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    repeats: int = 10,
    epochs: int = 20,
    batch_size: int = 64,
    rate: float = 1e-3,
    decay: float = 0.05,
    seed: int = 0,
    resume: str | Path | None = None,
    progress: bool = True,
) -> RetrainedTops:
    """Trains the top of a network anew on features of a layer, and on the same features rotated at random.

    A rotated layer says what the layer says (`rotation_error`); here it is asked whether a top that does not know the
    rotation can learn from it: in the paper 50.3 % of the images are right before, 51.9 % with a top trained anew,
    51.7 % with one trained on rotated features (Zhou et al. 2018, section 3.2; AlexNet's fc6 to fc8 on pool5). Repeat r
    has an initial top, an order of the images and a rotation ``Q`` of its own, uniform in SO(U) and the same at all
    places; both trainings of a repeat begin with the same weights and see the images in the same order. They descend
    the cross-entropy by AdamW, at a rate that falls to 0 as half a cosine.

    Args:
        top: gives the network from the features to logits before its training, of a seed.
        train: features [N, U] or [N, U, h, w], floating, and classes [N] int64.
        test: the same of other images.
        repeats: how many tops of each kind; at least 10 have intervals.
        epochs: how often each image is seen.
        batch_size: images of a step.
        rate: the first.
        decay: of the weights.
        seed: of the repeats: r has seed + r.
        resume: a folder for what an interrupted run needs to go on, see `dissect.dissect`; what a kill loses is the
            training under way, at most.
        progress: show a bar.

    Raises:
        ValueError: features and classes of other lengths, other features in both, NaN or infinite ones, or no images;
            a top that gives no logits [N, K], or fewer than there are classes; a rate that is not positive, a decay
            below 0; a training that does not converge.

    Example:
        >>> features, classes = torch.eye(4).repeat(8, 1), torch.arange(4).repeat(8)
        >>> found = dissect.experiments.retrained_tops(
        ...     lambda seed: torch.nn.Linear(4, 4), (features, classes), (features, classes), repeats=2, rate=0.3,
        ...     progress=False)
        >>> [(row.features, row.accuracy) for row in found.summary()]
        [('as they are', 1.0), ('rotated', 1.0), ('difference', 0.0)]
    """
    repeats, epochs = integer("repeats", repeats), integer("epochs", epochs)
    batch_size = integer("batch_size", batch_size)
    _check("train", train)
    _check("test", test)
    if train[0].shape[1:] != test[0].shape[1:]:
        shapes = [list(part[0].shape[1:]) for part in (train, test)]
        raise refusal(ValueError(f"train and test must have features of one shape, but have {shapes[0]}, {shapes[1]}."))
    train, test = ((features.detach(), classes) for features, classes in (train, test))
    options = RetrainingSettings(epochs, batch_size, *checked_rates(rate, decay), seed_number(seed))
    first = top(seed).eval()
    _check_logits(first, train, test)
    run = Trainings(top, train, test, repeats, options)
    about: dict[str, Any] = {"options": [repeats, *options]}
    if resume is not None:
        about |= {"top": [fingerprint(first), code_of(first)]}
        about |= {"data": [checksum(tensor).tolist() for part in (train, test) for tensor in part]}
    finish(run, Numbers(2 * repeats), resume=resume, about=about, progress=progress)
    return RetrainedTops(
        run.accuracy.view(repeats, 2).T.contiguous(), settings={"repeats": repeats, **options._asdict()}
    )


class RetrainingSettings(NamedTuple):
    """How tops are trained, see `retrained_tops`."""

    epochs: int
    batch_size: int
    rate: float
    decay: float
    seed: int


class Trainings(Run):
    """One training a step: of each repeat that on features as they are, and then that on rotated ones.

    Attributes:
        accuracy: [2 R] float64; -1 of those that have not ended.
    """

    def __init__(
        self, top: Callable[[int], nn.Module], train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], repeats: int,
        options: RetrainingSettings,
    ) -> None:  # fmt: skip
        self._top, self._parts, self._options = top, (train, test), options
        self.accuracy = torch.full((2 * repeats,), -1.0, dtype=torch.float64)

    @property
    def needs(self) -> Visit | None:
        """What the visit under way must see."""
        return Visit("tops", images=False, data="tops") if bool((self.accuracy < 0).any()) else None

    def compute(self, step: Step) -> tuple[int, float]:
        """Trains a top; its number and accuracy."""
        repeat, which = divmod(int(step.numbers[0]), 2)
        (features, classes), (others, answers) = self._parts
        seed = self._options.seed + repeat
        if which:
            turn = random_rotation(features.shape[1], seed).float()
            features, others = rotated(features, turn), rotated(others, turn)
        model = _trained(self._top(seed), features, classes, torch.Generator().manual_seed(seed), self._options)
        return int(step.numbers[0]), _accuracy(model, others, answers)

    def add(self, found: tuple[int, float]) -> None:
        """Keeps the accuracy of a top."""
        number, accuracy = found
        self.accuracy[number] = accuracy

    def end_visit(self) -> None:
        """There is one visit."""

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {"accuracy": self.accuracy}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it holds what cannot be.
        """
        fields("the run", state, {"accuracy": Array(torch.float64, f"{len(self.accuracy)}", -1, 1)})
        self.accuracy = state["accuracy"]


class Numbers:
    """Steps that are numbers alone, see `dissect.visits.run.Steps`.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self._count = count

    def count(self, visit: Visit) -> int:
        """See `Steps`."""
        return self._count

    def visit(self, visit: Visit, start: int) -> Iterator[Step]:
        """See `Steps`."""
        yield from (Step(torch.tensor([number]), None, {}) for number in range(start, self._count))

    def known(self) -> Iterator[None]:
        """See `Steps`: there are no data to compare."""
        return iter(())

    def state_dict(self) -> dict[str, Any]:
        """See `Steps`."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Steps`."""


def checked_rates(rate: float, decay: float) -> tuple[float, float]:
    """The first rate and the decay of a training, as floats.

    Raises:
        ValueError: a rate that is not positive, a decay below 0, or one that is not finite.
    """
    for name, value in (("rate", rate), ("decay", decay)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise refusal(ValueError(f"{name} must be a number from 0 on, but is {value!r}."))
    if not rate:
        raise refusal(ValueError("rate must be above 0, else nothing is learned, but is 0."))
    return float(rate), float(decay)


def rotated(features: Tensor, turn: Tensor) -> Tensor:
    """``Q f(x)`` at every place: [N, U, ...] by [U, U]."""
    return torch.einsum("vu,nu...->nv...", turn, features)


def _check(name: str, part: tuple[Tensor, Tensor]) -> None:
    features, classes = part
    if not bool(features.isfinite().all()):
        bad = features.flatten(1).isfinite().all(1) if features.ndim > 1 else features.isfinite()
        raise refusal(ValueError(
            f"{name} must have finite features, but those of {int((~bad).sum())} of {len(features)} images are NaN or "
            "infinite; leave these out."
        ))  # fmt: skip
    if features.ndim < 2 or not len(features) or classes.shape != features.shape[:1]:
        raise refusal(
            ValueError(
                f"{name} must be features [N, U, ...] and classes [N] of the same images, but are of shapes "
                f"{list(features.shape)} and {list(classes.shape)}."
            )
        )
    if classes.dtype != torch.int64:
        raise refusal(ValueError(f"{name} must have classes of int64, but they are {classes.dtype}; give .long()."))


def _check_logits(top: nn.Module, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> None:
    """Refuses a top that gives no logits of each class."""
    with torch.no_grad():
        logits = top(train[0][:2])
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(train[0][:2]):
        got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise refusal(ValueError(f"top must give logits [N, K], but gives {got} of {len(train[0][:2])} images."))
    for name, (_, classes) in (("train", train), ("test", test)):
        if int(classes.min()) < 0 or int(classes.max()) >= logits.shape[1]:
            raise refusal(ValueError(
                f"{name} must have classes in [0, {logits.shape[1]}), as many as top gives logits, but has them from "
                f"{int(classes.min())} to {int(classes.max())}."
            ))  # fmt: skip


def _trained(
    model: nn.Module, features: Tensor, classes: Tensor, chance: torch.Generator, options: RetrainingSettings
) -> nn.Module:
    epochs, batch_size, rate, decay, _ = options
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=decay)
    steps = -(-len(features) // batch_size)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(chance.initial_seed())  # of dropout
        model.train()
        for _ in range(epochs):
            for index in torch.randperm(len(features), generator=chance).split(batch_size):
                optimizer.zero_grad()
                cross_entropy(model(features[index]), classes[index]).backward()
                optimizer.step()
                falling.step()
    return model.eval()


def _accuracy(model: nn.Module, features: Tensor, classes: Tensor) -> float:
    found = accuracy_of(model, features, classes)
    if found is None:
        raise refusal(ValueError("logits of top must be finite after its training, but are not; give a smaller rate."))
    return found


@torch.no_grad()
def accuracy_of(model: nn.Module, features: Tensor, classes: Tensor) -> float | None:
    """The share of features that a top names right; None where its logits are NaN or infinite somewhere."""
    right = []
    for part, own in zip(features.split(SHOWN), classes.split(SHOWN)):
        logits = model(part)
        if not bool(logits.isfinite().all()):
            return None
        right.append(logits.argmax(1) == own)
    return float(torch.cat(right).double().mean())
