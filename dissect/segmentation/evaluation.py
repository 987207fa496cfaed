"""How well a segmenter does, against true planes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.concepts import Concepts, ordered_categories


@speaks
@dataclass(frozen=True)
class Evaluation:
    """Pixels over a data set, by label of the true vocabulary.

    Attributes:
        concepts: the true vocabulary.
        intersection: [C] int64, where planes and truth say the label.
        predicted: [C] int64, where planes do, among pixels whose truth has some label of the category.
        true: [C] int64, where the truth does.
        num_images: how many there were.
    """

    concepts: Concepts
    intersection: Tensor
    predicted: Tensor
    true: Tensor
    num_images: int

    @property
    def iou(self) -> Tensor:
        """[C] float64, ``I / (predicted + true - I)``; NaN where the truth never says the label."""
        iou = self.intersection.double() / (self.predicted + self.true - self.intersection).double()
        return iou.masked_fill(self.true == 0, torch.nan)

    def mean_iou(self, category: str) -> float:
        """The mean over the labels of a category that the truth says somewhere.

        Raises:
            KeyError: it says none.
        """
        own = torch.tensor([name == category for name in self.concepts.categories]) & (self.true > 0)
        if not own.any():
            raise refusal(KeyError(f"no image has a label of category {category!r}."))
        return float(self.iou[own].mean())

    def table(self) -> dict[str, float]:
        """The mean IoU of each category that the truth has."""
        there = {self.concepts.categories[label] for label in self.true.nonzero().flatten().tolist()}
        return {name: self.mean_iou(name) for name in ordered_categories(self.concepts) if name in there}


@speaks
def evaluate(
    segmenter: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    concepts: Concepts,
    names: Concepts | None = None,
) -> Evaluation:
    """The mean IoU of a segmenter by category, as segmentation networks are evaluated.

    A pixel whose truth has no label of a category counts for no label of it; a label counts once for a pixel, whichever
    plane says it. Labels are matched by name and category; what the segmenter cannot say counts as never said. The
    batches are visited once, and what was interrupted begins anew.

    Args:
        segmenter: images to planes.
        batches: of images [N, 3, H, W] and true planes [N, K, H, W], 0 for "no label", at the size of the segmenter's.
        concepts: the true planes' vocabulary.
        names: the segmenter's; None for its `concepts`.

    Raises:
        TypeError: the segmenter has no vocabulary, and none is given.
        ValueError: no images, planes of another size, or a label outside its vocabulary; says which batch.

    Example:
        >>> from dissect.segmentation import ColorNamer
        >>> namer = ColorNamer()
        >>> images = torch.rand(2, 3, 8, 8)
        >>> evaluate(namer, [(images, namer(images))], concepts=namer.concepts).table()
        {'color': 1.0}
    """
    own = names or getattr(segmenter, "concepts", None)
    if own is None:
        raise refusal(TypeError("names must be given where the segmenter has no concepts, but is None."))
    known = {pair: label for label, pair in enumerate(zip(concepts.names, concepts.categories)) if label}
    matched = torch.tensor([known.get(pair, 0) for pair in zip(own.names, own.categories)])
    category_of = torch.tensor([0, *(ordered_categories(concepts).index(name) + 1 for name in concepts.categories[1:])])
    counts, num_images = torch.zeros(3, len(concepts), dtype=torch.int64), 0
    for index, (images, true) in enumerate(batches):
        said = segmenter(images).long().cpu()
        true = true.long().cpu()
        if said.shape[0] != true.shape[0] or said.shape[2:] != true.shape[2:]:
            raise refusal(
                ValueError(
                    f"true planes of batch {index} must fit the segmenter's, {list(said.shape)}, but have shape "
                    f"{list(true.shape)}."
                )
            )
        for what, planes, length in (("true planes", true, len(concepts)), ("the segmenter's planes", said, len(own))):
            if planes.numel() and not 0 <= int(planes.min()) <= int(planes.max()) < length:
                raise refusal(
                    ValueError(f"{what} of batch {index} must hold labels in [0, {length}), but hold others.")
                )
        num_images += len(true)
        for found, truth in zip(matched[said], true):
            judged = category_of[truth]
            for label in torch.cat([found.unique(), truth.unique()]).unique().tolist():
                if label:
                    here = (found == label).any(0) & (judged == category_of[label]).any(0)
                    there = (truth == label).any(0)
                    counts[:, label] += torch.stack([(here & there).sum(), here.sum(), there.sum()])
    if not num_images:
        raise refusal(ValueError("batches must hold images, but there are none."))
    intersection, predicted, labelled = counts
    return Evaluation(concepts, intersection, predicted, labelled, num_images)
