"""How far place alone goes: the IoU of the best mask that is the same in every image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dissect.arguments import speaks
from dissect.files.checked import Array, fields
from dissect.ops.encode_labels import EncodedLabels
from dissect.stats.state import State

#: Rows and columns of places at most, and bytes of their counts: beyond them there are fewer places.
SIDE, BUDGET = 32, 1 << 26


@speaks
class Places(State):
    """How often each label lies at each place, over a data set.

    If m places of the n in which label c lies most often, N_c images carry its category (or N images in all), and it
    lies at place p in ``n_c(p)`` images, a mask of these m places has an IoU of ``S / (m N_c + sum_p n_c(p) - S)``
    where S is the sum of their counts; no mask of m places has a higher one. `iou` is the highest over m. Places are an
    even sample of at most 32 x 32 pixels.

    Args:
        num_labels: C, label 0 included.
        categories: [C] the category of each label, where a union is over the images that carry its category.

    Example:
        >>> places = Places(2)
        >>> places.add(torch.tensor([[[[1, 0], [0, 0]]], [[[1, 1], [0, 0]]]]), torch.tensor([[0, 1], [0, 2]]))
        >>> places.iou(torch.tensor([1]))  # of two places: 3 pixels of 4; of one place: 2 of 3
        tensor([0.7500], dtype=torch.float64)
    """

    def __init__(self, num_labels: int, categories: tuple[str, ...] | None = None) -> None:
        kinds = {name: at for at, name in enumerate(sorted(set(categories or ("",))))}
        self._all = categories is None
        self._kind = torch.tensor([kinds[name] for name in categories or [""] * num_labels])
        self._images = torch.zeros(len(kinds), dtype=torch.int64)
        self._counts = torch.zeros(num_labels, 0, dtype=torch.int64)
        self._side = max(1, min(SIDE, int((BUDGET / 8 / num_labels) ** 0.5)))

    def add(self, planes: Tensor | EncodedLabels, label_area: Tensor) -> None:
        """Adds a batch.

        Args:
            planes: [N, K, H, W] labels, or the same encoded.
            label_area: [N, C] int64, as `dissect.ops.iou_counts` gives it.
        """
        if isinstance(planes, EncodedLabels):
            places = planes.at(*(spread(size, self._side) for size in planes.size)).flatten(2).long()
        else:
            rows, columns = (spread(size, self._side).to(planes.device) for size in planes.shape[2:])
            places = planes[:, :, rows][..., columns].flatten(2).long()
        number = places.shape[2]
        if not self._counts.shape[1]:
            self._counts = self._counts.new_zeros(len(self._counts), number)
        self._counts, self._images, self._kind = (
            part.to(places.device) for part in (self._counts, self._images, self._kind)
        )
        for at in range(places.shape[1]):
            again = (places[:, :at] == places[:, at : at + 1]).any(1)  # said by an earlier plane
            label = places[:, at].masked_fill(again, 0)
            where = (label * number + torch.arange(number, device=label.device)).flatten()
            self._counts.view(-1).index_add_(0, where, torch.ones_like(where))
        carries = torch.zeros(len(planes), len(self._images), dtype=torch.int64, device=places.device)
        carries.index_add_(1, self._kind, (label_area > 0).long())
        self._images += len(planes) if self._all else (carries > 0).sum(0)

    def merge(self, other: Places) -> None:
        """Adds what another state counted in other images, of the same labels and places."""
        self._counts = self._counts + other._counts if self._counts.shape[1] else other._counts.clone()
        self._images = self._images + other._images

    def iou(self, labels: Tensor) -> Tensor:
        """[L] float64 of labels [L]; 0 for label 0 and labels that were not seen."""
        wanted, back = labels.cpu().unique(return_inverse=True)
        counts = self._counts.cpu()[wanted].sort(1, descending=True).values
        if not counts.shape[1]:
            return torch.zeros(len(labels), dtype=torch.float64)
        inside, images = counts.cumsum(1), self._images.cpu()[self._kind.cpu()[wanted]]
        area = images[:, None] * torch.arange(1, counts.shape[1] + 1) + counts.sum(1, keepdim=True) - inside
        found = (inside.double() / area.clamp(min=1).double()).amax(1)
        return torch.where(wanted > 0, found, 0.0)[back]

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors and JSON values."""
        return {"counts": self._counts.clone(), "images": self._images.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it is of other labels, or holds what cannot be.
        """
        rules = {"counts": Array(torch.int64, "C P", 0, 1 << 53), "images": Array(torch.int64, "G", 0, 1 << 53)}
        fields("Places: the state", state, rules, {"C": len(self._counts), "G": len(self._images)})
        self._counts, self._images = state["counts"].clone(), state["images"].clone()


def spread(size: int, most: int) -> Tensor:
    """The middles of at most so many equal parts of an axis."""
    count = min(size, most)
    return (torch.arange(count) * 2 + 1) * size // (2 * max(1, count))
