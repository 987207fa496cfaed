"""Single-class accuracies of every class at once, from one set of predictions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.chosen import half_of
from dissect.files.checked import Array, Whole, fields, require
from dissect.stats.state import State

#: Sums of logits are integers in these steps, so that any order of the images gives the same bits.
LOGIT_STEP = 2.0**-20
#: Above this a logit's sum could overflow.
LOGIT_LIMIT = 2.0**22


@speaks
class ClassTally(State):
    """Predictions of S variants of a network, counted so that each class's two-way accuracies can be read.

    A network's prediction is the class of its highest score (ties as torch.argmax has them). For class c, with T its
    images among N, P the images predicted as c and H those of both (hits)::

        recall              H / T
        precision           H / P                   0 where nothing is predicted as c
        true_negative_rate  (N - T - P + H) / (N - T)
        accuracy            (N - T - P + 2 H) / N
        balanced_accuracy   (recall + true_negative_rate) / 2

    The last is "single-class accuracy" in Bau et al. 2020, "Role of Units in a Scene Classifier": chance is 0.5.
    A class without images has NaN for everything that would divide by their number. Counts are integers.

    Images fall into two halves by a hash of their numbers, and every reader can read one half, for `split_half`.

    Args:
        num_sets: S.
        num_classes: C.

    Raises:
        ValueError: S below 1 or C below 2.

    Example:
        >>> tally = ClassTally(1, 3)
        >>> scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [3.0, 0.0, 1.0]])
        >>> tally.add(scores, torch.tensor([0, 1, 2]), torch.arange(3))
        >>> tally.recall()[0].tolist(), tally.balanced_accuracy()[0].tolist(), tally.all_class_accuracy().tolist()
        ([1.0, 1.0, 0.0], [0.75, 1.0, 0.5], [0.6666666666666666])
    """

    def __init__(self, num_sets: int, num_classes: int) -> None:
        if num_sets < 1 or num_classes < 2:
            raise refusal(
                ValueError(
                    f"num_sets must be at least 1 and num_classes at least 2, but got {num_sets} and {num_classes}."
                )
            )
        self.num_sets, self.num_classes = num_sets, num_classes
        self._hits, self._predicted, self._logits = (
            torch.zeros(2, num_sets, num_classes, dtype=torch.int64) for _ in "hpl"
        )
        self._images = torch.zeros(2, num_classes, dtype=torch.int64)

    def add(self, scores: Tensor, labels: Tensor, numbers: Tensor) -> None:
        """Adds a batch.

        Args:
            scores: [S, N, C] or, where S is 1, [N, C]: logits.
            labels: [N] int64, each image's class.
            numbers: [N] int64, each image's number in the data set; each image is added once.

        Raises:
            ValueError: other shapes, a label outside [0, C), or scores that are not finite or above 2^22.
        """
        scores, labels = check_scores(scores, labels, self.num_classes, self.num_sets)
        halves = half_of(numbers)
        predicted = scores.argmax(2).cpu()
        own = (
            (
                scores.gather(2, labels.to(scores.device).expand(self.num_sets, -1)[..., None])[..., 0].double()
                / LOGIT_STEP
            )
            .round()
            .long()
            .cpu()
        )
        for half in (0, 1):
            here = halves == half
            classes, guesses = labels[here], predicted[:, here]
            self._images[half] += classes.bincount(minlength=self.num_classes)
            self._predicted[half].scatter_add_(1, guesses, torch.ones_like(guesses))
            classes = classes.expand_as(guesses)
            self._hits[half].scatter_add_(1, classes, (guesses == classes).long())
            self._logits[half].scatter_add_(1, classes, own[:, here])

    def merge(self, other: ClassTally) -> None:
        """Adds what another tally counted in other images.

        Raises:
            ValueError: another S or C.
        """
        self._check_shape(other.num_sets, other.num_classes)
        for name in _COUNTS:
            getattr(self, name).add_(getattr(other, name))

    def images(self, half: int | None = None) -> Tensor:
        """[C] int64: images of each class."""
        return _of(self._images, half)

    def recall(self, half: int | None = None) -> Tensor:
        """[S, C] float64: the share of a class's images that are predicted as it."""
        return _of(self._hits, half).double() / self.images(half).double()

    def precision(self, half: int | None = None) -> Tensor:
        """[S, C] float64: the share of the images predicted as a class that are of it; 0 where there are none."""
        return _of(self._hits, half).double() / _of(self._predicted, half).double().clamp(min=1)

    def true_negative_rate(self, half: int | None = None) -> Tensor:
        """[S, C] float64: the share of other classes' images that are not predicted as the class."""
        others = (self.images(half).sum() - self.images(half)).double()
        return 1 - (_of(self._predicted, half) - _of(self._hits, half)).double() / others

    def accuracy(self, half: int | None = None) -> Tensor:
        """[S, C] float64: the share of all images that are rightly told to be of the class or not."""
        wrong = self.images(half) + _of(self._predicted, half) - 2 * _of(self._hits, half)
        return 1 - wrong.double() / self.images(half).sum().double()

    def balanced_accuracy(self, half: int | None = None) -> Tensor:
        """[S, C] float64: (recall + true negative rate) / 2, "single-class accuracy"."""
        return (self.recall(half) + self.true_negative_rate(half)) / 2

    def all_class_accuracy(self, half: int | None = None) -> Tensor:
        """[S] float64: the share of all images whose prediction is their class."""
        return _of(self._hits, half).sum(1).double() / self.images(half).sum().double()

    def mean_logit(self, half: int | None = None) -> Tensor:
        """[S, C] float64: the mean logit of a class over its own images, from logits in steps of 2^-20."""
        return _of(self._logits, half).double() * LOGIT_STEP / self.images(half).double()

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors and JSON values."""
        counts = {name.removeprefix("_"): getattr(self, name).clone() for name in _COUNTS}
        return {"num_sets": self.num_sets, "num_classes": self.num_classes, **counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it is of another S or C, or holds what cannot be.
        """
        what = "ClassTally: the state"
        fields(what, state, {"num_sets": Whole(1), "num_classes": Whole(2)})
        self._check_shape(state["num_sets"], state["num_classes"])
        fields(what, state, _STATE, {"S": self.num_sets, "C": self.num_classes})
        hits, predicted, images = state["hits"], state["predicted"], state["images"]
        require(what, hits <= predicted.minimum(images[:, None]), "no hits exceed a class's images or predictions")
        require(what, predicted.sum(2) <= images.sum(1)[:, None], "no image is predicted twice")
        for name in _COUNTS:
            setattr(self, name, state[name.removeprefix("_")].clone())

    def _check_shape(self, num_sets: int, num_classes: int) -> None:
        if (num_sets, num_classes) != (self.num_sets, self.num_classes):
            raise refusal(
                ValueError(
                    f"num_sets and num_classes must be {self.num_sets} and {self.num_classes}, "
                    f"but are {num_sets} and {num_classes}."
                )
            )


_COUNTS = ("_hits", "_predicted", "_images", "_logits")

_STATE = {
    "hits": Array(torch.int64, "2 S C", 0, 1 << 53),
    "predicted": Array(torch.int64, "2 S C", 0, 1 << 53),
    "images": Array(torch.int64, "2 C", 0, 1 << 53),
    "logits": Array(torch.int64, "2 S C"),
}


def _of(counts: Tensor, half: int | None) -> Tensor:
    return counts.sum(0) if half is None else counts[half]


def check_scores(scores: Tensor, labels: Tensor, num_classes: int, num_sets: int = 1) -> tuple[Tensor, Tensor]:
    """Scores [S, N, C] and labels [N] int64 on the CPU.

    Raises:
        ValueError: see `ClassTally.add`.
    """
    if isinstance(scores, Tensor) and num_sets == 1 and scores.ndim == 2:
        scores = scores[None]
    if not isinstance(scores, Tensor) or scores.shape != (num_sets, len(labels), num_classes):
        got = list(scores.shape)[-2:] if isinstance(scores, Tensor) else type(scores).__name__
        raise refusal(
            ValueError(
                f"predictions must have shape [N, classes] with N={len(labels)}, classes={num_classes}, but got {got}."
            )
        )
    if not bool((scores.abs() <= LOGIT_LIMIT).all()):
        raise refusal(ValueError("predictions must be finite and at most 2^22 in magnitude, but some are not."))
    labels = labels.long().cpu()
    if labels.ndim != 1 or (len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes):
        raise refusal(
            ValueError(
                f"labels must be a vector of classes in [0, {num_classes}), but have shape {list(labels.shape)} and go "
                f"from {int(labels.min())} to {int(labels.max())}."
            )
        )
    return scores, labels


@speaks
def one_vs_rest_auc(scores: Tensor, labels: Tensor) -> Tensor:
    """Area under the ROC curve of each class against all others, by its own score.

    ``auc[c] = P(score_c of an image of c > score_c of another) + P(equal) / 2``, the Mann-Whitney statistic: with R the
    sum of the ranks of the T images of c among all N (equal scores share their mean rank), ``(R - T (T + 1) / 2) /
    (T (N - T))``. Exact, ties included. With logits, unlike a balanced accuracy by argmax
    it does not rise when rival classes are damaged.

    Args:
        scores: [N, C] logits.
        labels: [N] int64, each image's class.

    Returns:
        [C] float64; NaN for a class without images, or that all images belong to.

    Raises:
        ValueError: other shapes, a label outside [0, C), or scores that are not finite.

    Example:
        >>> scores = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.4, 0.6], [0.1, 0.9]])
        >>> one_vs_rest_auc(scores, torch.tensor([0, 0, 1, 1])).tolist()
        [0.875, 0.875]
    """
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        got = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise refusal(ValueError(f"predictions must have shape [N, classes], but got {got}."))
    scores, labels = check_scores(scores, labels, scores.shape[1])
    areas = [rank_area(column, labels == number) for number, column in enumerate(scores[0].cpu().T)]
    return torch.tensor(areas, dtype=torch.float64)


def rank_area(scores: Tensor, own: Tensor) -> float:
    """Area under the ROC curve of scores [N] for the images own [N], see `one_vs_rest_auc`."""
    images = int(own.sum())
    pairs = images * (len(own) - images)
    return (float(mean_ranks(scores)[own].sum()) - images * (images + 1) / 2) / pairs if pairs else float("nan")


def mean_ranks(values: Tensor) -> Tensor:
    """[N] float64: ranks from 1, equal values sharing their mean rank; halves of integers, whose sums are exact."""
    _, rank, count = values.unique(return_inverse=True, return_counts=True)
    ranks: Tensor = (count.cumsum(0).double() - (count.double() - 1) / 2)[rank]
    return ranks
