"""How many pixels of each class a segmenter sees, and where those of one class are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from dissect import ops
from dissect.arguments import refusal
from dissect.concepts import Concepts, label_of
from dissect.data.planes import label_planes
from dissect.network.modes import check_segmenter

#: A class: a label number, a name, or "category/name".
Concept = str | int
Segmenting = Callable[[Tensor], Tensor]


class Counter:
    """A segmenter and a class of its vocabulary.

    Args:
        segmenter: from images [N, 3, H, W] to planes [N, K, H, W]; its attribute `concepts` names the labels.
        concept: the class.

    Raises:
        KeyError: the segmenter has no such class, or several.
        TypeError: no segmenter, or one that does not name its labels.
        ValueError: a segmenter that says that it takes other images than in [-1, 1] (its `input` or `signed`), is in
            training mode with dropout or batch statistics, or whose weights have no values.
    """

    def __init__(self, segmenter: Segmenting, concept: Concept) -> None:
        names = getattr(segmenter, "concepts", None)
        if not callable(segmenter) or names is None:
            raise refusal(
                TypeError(
                    "segmenter must be a function of images with an attribute concepts, the names of its labels, "
                    f"but got {type(segmenter).__name__}."
                )
            )
        check_segmenter(segmenter, generated=True)
        self.segmenter, self.concepts = segmenter, Concepts.of(names)
        own: Callable[[Concept], int] | None = getattr(segmenter, "label", None)
        self.label = own(concept) if own is not None else label_of(self.concepts, concept)

    @property
    def name(self) -> str:
        """The class as "category/name"."""
        return f"{self.concepts.categories[self.label]}/{self.concepts.names[self.label]}"

    def planes(self, batch: int, images: Tensor) -> Tensor:
        """Planes [N, K, H, W] of a batch of images.

        Raises:
            ValueError: the segmenter gives something else.
        """
        with torch.no_grad():
            planes = self.segmenter(images)
        if not isinstance(planes, Tensor) or planes.is_floating_point():
            got = planes.dtype if isinstance(planes, Tensor) else type(planes).__name__
            raise refusal(ValueError(f"segmenter must give planes of integers, but gave {got}."))
        planes = label_planes(planes, images, batch)
        if planes.ndim != 4 or len(planes) != len(images):
            raise refusal(
                ValueError(
                    f"segmenter must give planes [N, K, H, W] with N={len(images)}, but gave {list(planes.shape)}."
                )
            )
        return planes

    def counts(self, planes: Tensor) -> Tensor:
        """[N, C] int64 on the CPU: pixels that carry each label in some plane; 0 for label 0."""
        return ops.encode_labels(planes, len(self.concepts)).area.cpu()

    def carries(self, planes: Tensor) -> Tensor:
        """[N, H, W] bool: the pixels of the class."""
        return (planes == self.label).any(1)

    def presence(self, planes: Tensor, size: tuple[int, int]) -> Tensor:
        """[N, h, w] float32: the share of each cell's pixels that the class covers."""
        return adaptive_avg_pool2d(self.carries(planes).float(), size)


def check_found(counter: Counter, counts: Tensor) -> None:
    """Refuses a class that no image shows, before any edit is made.

    Args:
        counter: that counted.
        counts: [N, C].

    Raises:
        ValueError: no pixel carries it; says which classes the images show.
    """
    if int(counts[:, counter.label].sum()):
        return
    order = counts.sum(0).argsort(descending=True, stable=True).tolist()
    shown = ", ".join(counter.concepts.names[label] for label in order[:5] if int(counts[:, label].sum()))
    raise refusal(
        ValueError(
            "concept must be a class that the segmenter finds in the images of these z, but it finds no pixel of "
            f"{counter.name!r} in {len(counts)}; it finds {shown or 'nothing'}. Give more z, or another class."
        )
    )
