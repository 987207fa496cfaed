"""Whether a network's top learns from rotated features as well (Zhou et al. 2018, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from dissect.arguments import integer, refusal, speaks
from dissect.experiments.axis_alignment import random_rotation
from dissect.experiments.axis_alignment_result import RESAMPLES
from dissect.files.checked import Array, fields, require
from dissect.files.results import Result
from dissect.stats.bootstrap import FEWEST, drawn_again, interval_of
from dissect.table import Table

#: Classified at a time.
SHOWN = 512


class RetrainedRow(NamedTuple):
    """A kind of features, over all repeats.

    Attributes:
        features: "as they are", "rotated", or "difference", rotated less as they are.
        repeats: how many tops were trained on them.
        accuracy: their mean on the test images, in class shares from 0 to 1.
        low: the lower end of the 95 % interval of that mean over repeats; None for fewer than 10.
        high: the upper end.
    """

    features: str
    repeats: int
    accuracy: float
    low: float | None
    high: float | None


@dataclass(eq=False)  # tensors have no one truth value
class RetrainedTops(Result):
    """The result of `retrained_tops`.

    Attributes:
        accuracy: [2, R] float64, of each repeat with features as they are, and rotated.

    Example: see `retrained_tops`.
    """

    kind = "retrained tops"
    suffix = ".tops"

    accuracy: Tensor

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        return {"accuracy": self.accuracy}, {}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> RetrainedTops:
        """See `Result`."""
        sizes = fields(what, tensors, {"accuracy": Array(torch.float64, "2 R", 0, 1)})
        require(what, sizes["R"] > 0, "there are repeats")
        return cls(tensors["accuracy"])

    def summary(self) -> Table[RetrainedRow]:
        """A row for each kind of features, and one for their difference within repeats (`RetrainedRow`)."""
        repeats = self.accuracy.shape[1]
        kinds = {
            "as they are": self.accuracy[0],
            "rotated": self.accuracy[1],
            "difference": self.accuracy.diff(dim=0)[0],
        }
        rows = []
        for name, values in kinds.items():
            low = high = None
            if repeats >= FEWEST:
                means = drawn_again(repeats, RESAMPLES, seed=0) @ values / repeats
                low, high = interval_of(means, repeats).tolist()
            rows.append(RetrainedRow(name, repeats, float(values.mean()), low, high))
        return Table(rows)


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
        progress: show a bar.

    Raises:
        ValueError: features and classes of other lengths, other features in both, NaN or infinite ones, or no images.

    Example:
        >>> features, classes = torch.eye(4).repeat(8, 1), torch.arange(4).repeat(8)
        >>> found = dissect.experiments.retrained_tops(
        ...     lambda seed: torch.nn.Linear(4, 4), (features, classes), (features, classes), repeats=2, rate=0.3,
        ...     progress=False)
        >>> [(row.features, row.accuracy) for row in found.summary()]
        [('as they are', 1.0), ('rotated', 1.0), ('difference', 0.0)]
    """
    repeats, epochs, batch_size, seed = (
        integer(name, value, least)
        for name, value, least in (
            ("repeats", repeats, 1), ("epochs", epochs, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)
        )
    )  # fmt: skip
    _check("train", train)
    _check("test", test)
    if train[0].shape[1:] != test[0].shape[1:]:
        shapes = [list(part[0].shape[1:]) for part in (train, test)]
        raise refusal(ValueError(f"train and test must have features of one shape, but have {shapes[0]}, {shapes[1]}."))
    accuracy = torch.zeros(2, repeats, dtype=torch.float64)
    with tqdm(total=2 * repeats, desc="tops", disable=not progress) as bar:
        for repeat in range(repeats):
            turn = random_rotation(train[0].shape[1], seed + repeat).float()
            for which in range(2):
                seen, asked = ((rotated(part[0], turn) if which else part[0]) for part in (train, test))
                chance = torch.Generator().manual_seed(seed + repeat)
                model = _trained(top(seed + repeat), seen, train[1], chance, epochs, batch_size, rate, decay)
                accuracy[which, repeat] = _accuracy(model, asked, test[1])
                bar.update()
    return RetrainedTops(accuracy)


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


def _trained(
    model: nn.Module, features: Tensor, classes: Tensor, chance: torch.Generator, epochs: int, batch_size: int,
    rate: float, decay: float,
) -> nn.Module:  # fmt: skip
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


@torch.no_grad()
def _accuracy(model: nn.Module, features: Tensor, classes: Tensor) -> float:
    right = [(model(part).argmax(1) == own) for part, own in zip(features.split(SHOWN), classes.split(SHOWN))]
    return float(torch.cat(right).double().mean())
