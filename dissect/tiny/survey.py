"""What a sample of the scenes shows: coverage and overlap of the concepts, and what a class can be told from.

A data set teaches a network to see objects only if nothing simpler gives the classes away. `survey` looks at scenes
once; `limits` states what they must keep to, each as a figure beside its bound.

Example:
    >>> seen = survey(TinyScenes("val", size=32, count=20))
    >>> tuple(seen.histograms.shape), tuple(seen.thumbnails.shape)
    ((20, 512), (20, 768))
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from dissect.arguments import refusal, speaks
from dissect.extras import require
from dissect.table import Table
from dissect.tiny.dataset import TinyScenes
from dissect.tiny.world import vocabulary

_BINS = 8
_THUMBNAIL = 16
_PENALTIES = (0.1, 0.01, 0.001, 0.0001)


@dataclass(frozen=True)
class Survey:
    """What N scenes show; C concepts, label 0 included.

    Attributes:
        scenes: the data set.
        numbers: class of each image, int64 [N].
        histograms: share of the pixels in each of 8x8x8 bins of RGB, float32 [N, 512].
        thumbnails: the image averaged to 16x16 cells, float32 [N, 768] in [0, 255].
        areas: pixels that carry each concept, int64 [N, C].
        shared: pixels that carry both of two concepts, over all images, int64 [C, C].
        guises: images in which one concept (row) comes in another (column): a third of what is seen of it carries
            that one, or a tenth if that one is a material; int64 [C, C].
        seconds: processor time of drawing all images.
    """

    scenes: TinyScenes
    numbers: np.ndarray
    histograms: np.ndarray
    thumbnails: np.ndarray
    areas: np.ndarray
    shared: np.ndarray
    guises: np.ndarray
    seconds: float

    def labels(self, category: str) -> np.ndarray:
        """The label numbers of a category."""
        return np.flatnonzero(np.array(self.scenes.concepts.categories) == category)

    def named(self, label: int) -> str:
        """The name of a label."""
        return self.scenes.concepts.names[label]


@speaks
def survey(scenes: TinyScenes, progress: bool = False) -> Survey:
    """Looks at every scene once.

    Args:
        scenes: at least one; their size must be a multiple of 16.
        progress: show a bar.

    Raises:
        ValueError: the size is no multiple of 16, or there are no scenes.
    """
    if scenes.size % _THUMBNAIL or not len(scenes):
        raise refusal(
            ValueError(
                f"scenes must have a size that is a multiple of {_THUMBNAIL} and at least one item, "
                f"but got size {scenes.size} and {len(scenes)} items."
            )
        )
    count, labels = len(scenes), len(scenes.concepts)
    histograms = np.empty((count, _BINS**3), dtype=np.float32)
    thumbnails = np.empty((count, 3 * _THUMBNAIL**2), dtype=np.float32)
    areas = np.zeros((count, labels), dtype=np.int64)
    shared, guises = np.zeros((2, labels, labels), dtype=np.int64)
    parts = np.where(np.array(scenes.concepts.categories) == "material", 10, 3)
    seconds = 0.0
    for index in tqdm(range(count), desc=f"survey of {scenes.split}", disable=None if progress else True):
        started = time.thread_time()
        image, planes = scenes.raw(index)
        seconds += time.thread_time() - started
        histograms[index] = _histogram(image)
        cells = image.reshape(3, _THUMBNAIL, scenes.size // _THUMBNAIL, _THUMBNAIL, -1)
        thumbnails[index] = cells.mean((2, 4), dtype=np.float32).ravel()
        present, pixels = _shared(planes)
        areas[index, present] = pixels.diagonal()
        shared[np.ix_(present, present)] += pixels
        guises[np.ix_(present, present)] += parts[present] * pixels >= pixels.diagonal()[:, None]
    numbers = np.array([scenes.scene(index) for index in range(count)])
    return Survey(scenes, numbers, histograms, thumbnails, areas, shared, guises, seconds)


def _histogram(image: np.ndarray) -> np.ndarray:
    red, green, blue = (image // (256 // _BINS)).astype(np.int64)
    bins = (red * _BINS + green) * _BINS + blue
    shares: np.ndarray = np.bincount(bins.ravel(), minlength=_BINS**3) / bins.size
    return shares


def _shared(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The labels that are present, and the pixels that each two of them share.

    Neighbours in a row mostly carry the same labels: a run of such pixels is counted as one, times its length.
    """
    flat = planes.reshape(len(planes), -1)
    starts = np.flatnonzero(np.append(True, (flat[:, 1:] != flat[:, :-1]).any(0)))
    lengths = np.diff(starts, append=flat.shape[1]).astype(np.float32)
    present, rows = np.unique(flat[:, starts], return_inverse=True)
    masks = np.zeros((len(present), len(starts)), dtype=np.float32)
    masks[rows.reshape(len(planes), -1), np.arange(len(starts))] = 1
    known = present > 0
    masks = masks[known]
    return present[known], (masks * lengths @ masks.T).astype(np.int64)


def logistic_accuracy(
    train_inputs: np.ndarray, train_classes: np.ndarray, val_inputs: np.ndarray, val_classes: np.ndarray
) -> float:
    """The validation accuracy of a multinomial logistic regression, trained until it converges (scikit-learn's).

    Minimises the mean cross entropy + penalty / 2 * (sum of squared weights) with L-BFGS. Inputs are standardised. The
    penalty, one of 0.1, 0.01, 0.001 and 0.0001, is the one with the highest accuracy on the last fifth of the training
    set when trained on the rest.

    Args:
        train_inputs: [N, D].
        train_classes: int64 [N].
        val_inputs: [M, D].
        val_classes: int64 [M].

    Raises:
        ImportError: scikit-learn is missing; it comes with the extra `experiments`.

    Example:
        >>> inputs, classes = np.arange(40.0)[:, None], np.arange(40) // 20
        >>> logistic_accuracy(inputs, classes, inputs[[0, -1]], classes[[0, -1]])
        1.0
    """
    require("logistic_accuracy", "experiments", "sklearn.linear_model")
    from sklearn.dummy import DummyClassifier as Dummy
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def fitted(penalty: float, count: int) -> Any:
        inputs, classes = train_inputs[:count], train_classes[:count]
        # A regression refuses to learn that there is one class only.
        model = LogisticRegression(C=1 / (penalty * count), max_iter=2000, tol=1e-3) if np.ptp(classes) else Dummy()
        return make_pipeline(StandardScaler(), model).fit(inputs, classes)

    kept = len(train_inputs) * 4 // 5
    held_out = [fitted(penalty, kept).score(train_inputs[kept:], train_classes[kept:]) for penalty in _PENALTIES]
    best = _PENALTIES[int(np.argmax(held_out))]
    return float(fitted(best, len(train_inputs)).score(val_inputs, val_classes))


class Coverage(NamedTuple):
    """Shares of all pixels and of the images that carry a concept, and the largest IoU that a unit can have with it."""

    concept: str
    category: str
    pixels: float
    images: float
    attainable: float


def coverage(seen: Survey, top_fraction: float = 0.01) -> Table[Coverage]:
    """How much of the images each concept covers: a table of `Coverage`, by label number.

    A unit that fires on a share q of the pixels has an IoU of at most min(q, f) / max(q, f) with a concept that covers
    a share f.

    Args:
        seen: the sample.
        top_fraction: q, positive.
    """
    concepts = seen.scenes.concepts
    pixels = seen.areas.mean(0) / seen.scenes.size**2
    images = (seen.areas > 0).mean(0)
    attainable = np.minimum(pixels, top_fraction) / np.maximum(pixels, top_fraction)
    return Table(
        Coverage(
            concepts.names[label], concepts.categories[label],
            float(pixels[label]), float(images[label]), float(attainable[label]),
        )
        for label in range(1, len(concepts))
    )  # fmt: skip


class Limit(NamedTuple):
    """What the scenes must keep to: a figure, its bound ("<= 0.45"), whether it is met, and the worst cases."""

    figure: str
    value: float
    bound: str
    met: bool
    worst: str


@speaks
def limits(train: Survey, val: Survey) -> Table[Limit]:
    """The limits of the scenes: a table of `Limit`.

    No simple view of an image tells its class, the objects do, and no object does alone; concepts do not coincide,
    and neither do objects and what they are made of. What is exempt says so in the vocabulary: `NEAR_TWINS`, pairs of
    (category, name) whose masks may coincide; `FEW_COLORS` and `FEW_MATERIALS`, names of objects that come in fewer
    than three.

    Args:
        train: the sample that the regressions learn from.
        val: the sample that everything is measured on.

    Raises:
        ValueError: a sample does not show each class.
    """
    for name, seen in (("train", train), ("val", val)):
        shown, classes = len(np.unique(seen.numbers)), len(seen.scenes.classes)
        if shown < classes:
            raise refusal(ValueError(f"{name} must show each of the {classes} classes, but shows {shown}."))
    return Table([*_short_cuts(train, val), _single_object(val), _overlap(val), *_variety(val), *_sizes(val)])


def _limit(figure: str, value: float, bound: str, worst: str = "") -> Limit:
    sign, number = bound.split()
    met = value <= float(number) if sign == "<=" else value >= float(number)
    return Limit(figure, value, bound, met, worst)


def _short_cuts(train: Survey, val: Survey) -> list[Limit]:
    views: tuple[tuple[str, str, Callable[[Survey], np.ndarray]], ...] = (
        ("colour histogram, 8x8x8 bins", "<= 0.45", lambda seen: seen.histograms),
        (
            "colour names, shares of 11",
            "<= 0.45",
            lambda seen: seen.areas[:, seen.labels("color")] / seen.scenes.size**2,
        ),
        ("thumbnail, 16x16", "<= 0.45", lambda seen: seen.thumbnails),
        ("objects, presence", ">= 0.95", lambda seen: (seen.areas[:, seen.labels("object")] > 0).astype(np.float32)),
    )
    return [
        _limit(
            f"logistic regression on {name}: accuracy",
            logistic_accuracy(view(train), train.numbers, view(val), val.numbers),
            bound,
        )
        for name, bound, view in views
    ]  # fmt: skip


def _single_object(val: Survey) -> Limit:
    objects = val.labels("object")
    present = val.areas[:, objects] > 0
    of_class = val.numbers[:, None] == np.arange(len(val.scenes.classes))
    hit = of_class.T.astype(float) @ present / of_class.sum(0)[:, None]
    false = (~of_class).T.astype(float) @ present / (~of_class).sum(0)[:, None]
    balanced = 0.5 + np.abs(hit - false) / 2
    worst = [
        f"{val.scenes.classes[number]} by {val.named(objects[at])} {balanced[number, at]:.2f}"
        for number, at in _largest(balanced)
        if balanced[number, at] > 0.85
    ]
    return _limit("one object's presence, best balanced accuracy", float(balanced.max()), "<= 0.85", _listed(worst))


def _largest(values: np.ndarray) -> list[tuple[int, ...]]:
    """The indices of all values, the largest first."""
    order = np.argsort(-values, axis=None, kind="stable")
    return list(zip(*(axis.tolist() for axis in np.unravel_index(order, values.shape))))


def _listed(texts: list[str], most: int = 12) -> str:
    return ", ".join(texts[:most]) + (f", and {len(texts) - most} more" if len(texts) > most else "")


def intersection_over_union(seen: Survey) -> np.ndarray:
    """The IoU of each two concepts' masks over all images, float64 [C, C]; 0 where neither appears."""
    areas = seen.shared.diagonal()
    union = areas[:, None] + areas - seen.shared
    overlap: np.ndarray = seen.shared / np.maximum(union, 1)
    return overlap


def _overlap(val: Survey) -> Limit:
    concepts = val.scenes.concepts
    keys = list(zip(concepts.categories, concepts.names))
    iou = np.triu(intersection_over_union(val), 1)
    for first, second in vocabulary.NEAR_TWINS:
        pair = sorted((keys.index(first), keys.index(second)))
        iou[pair[0], pair[1]] = 0
    worst = [
        f"{keys[a][0]} {keys[a][1]} / {keys[b][0]} {keys[b][1]} {iou[a, b]:.2f}"
        for a, b in _largest(iou)[:100]
        if iou[a, b] > 0.7
    ]
    return _limit("two concepts' masks, largest IoU", float(iou.max()), "<= 0.7", _listed(worst))


def _variety(val: Survey) -> list[Limit]:
    """A guise counts if an object comes in it in at least two and at least 2 % of the images that show it."""
    shown = (val.areas > 0).sum(0)
    comes_in = (val.guises >= np.maximum(2, 0.02 * shown)[:, None])[val.labels("object")]
    names = np.array([val.named(label) for label in val.labels("object")])
    rows = []
    for category, exempt in (("color", vocabulary.FEW_COLORS), ("material", vocabulary.FEW_MATERIALS)):
        bound = ~np.isin(names, exempt)
        kinds = comes_in[:, val.labels(category)].sum(1)
        worst = [f"{name} {count}" for name, count in zip(names[bound], kinds[bound]) if count < 3]
        rows.append(_limit(f"{category}s of an object, fewest", int(kinds[bound].min()), ">= 3", _listed(worst, 40)))
    objects = comes_in[:, val.labels("color")].sum(0)
    worst = [val.named(label) for label, count in zip(val.labels("color"), objects) if count < 3]
    return [*rows, _limit("objects of a color, fewest", int(objects.min()), ">= 3", _listed(worst))]


def _sizes(val: Survey) -> list[Limit]:
    rows = coverage(val)
    unusual = [row for row in rows if not (0.001 <= row.pixels <= 0.05 and row.images >= 0.01)]
    worst = [f"{row.category} {row.concept} {row.pixels:.2%} of pixels in {row.images:.1%}" for row in unusual]
    usual = len(rows) - len(unusual)
    return [
        _limit("concepts on 0.1 to 5 % of pixels, in 1 % of images", usual, ">= 90", _listed(worst, 80)),
        _limit("classes", len(val.scenes.classes), ">= 40"),
        _limit("objects", len(val.labels("object")), ">= 35"),
        _limit("concepts", len(val.scenes.concepts) - 1, ">= 120"),
        _limit("images per second of one core", len(val.numbers) / val.seconds, ">= 100"),
    ]
