"""Which labels occur where nobody named them, so that large numbers take no rows of tables."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dissect.arguments import refusal
from dissect.concepts import MANY_LABELS, Concepts
from dissect.files.checked import Array, Whole, fields, require

#: Labels are int32 where they are encoded.
MOST = (1 << 31) - 1


class SeenLabels:
    """The labels of planes without names: small ones as they are, large ones by their place among those that occur.

    Up to the largest label below 10,000 every number is a label, seen or not, so that a column is its number. Beyond,
    where numbers mean instances, panoptic segments or colors, only those that occur are labels: they take the numbers
    that follow, and their names say what they were.

    Example:
        >>> from dissect.dissection.seen import SeenLabels
        >>> seen = SeenLabels()
        >>> seen.see(torch.tensor([[[[0, 2, 26001]]]]), 26001)
        >>> seen.see(torch.tensor([[[[3, 300_000, 26001]]]]), 300_000)
        >>> len(seen), seen.dense(torch.tensor([2, 26001, 300_000]))
        (6, tensor([2, 4, 5]))
    """

    def __init__(self) -> None:
        self._below = 1
        self._others = torch.empty(0, dtype=torch.int64)

    def see(self, planes: Tensor, largest: int) -> None:
        """Takes planes of a batch, whose largest label is known."""
        if largest >= MANY_LABELS:
            found = planes.unique().cpu().long()
            self._others = torch.cat([self._others, found[found >= MANY_LABELS]]).unique()
            largest = int(found[found < MANY_LABELS].max()) if int(found[0]) < MANY_LABELS else 0
        self._below = max(self._below, largest + 1)

    @property
    def compact(self) -> bool:
        """Whether labels take other numbers than their own."""
        return bool(len(self._others))

    def __len__(self) -> int:
        """C, label 0 included."""
        return len(self._labels()) if self.compact else self._below

    def concepts(self) -> Concepts:
        """Named by their numbers.

        Warns:
            UserWarning: numbers go so high that these may be no labels of concepts.
        """
        return Concepts.numbered(self._labels().tolist() if self.compact else self._below)

    def dense(self, planes: Tensor) -> Tensor:
        """The same planes with the numbers in [0, C) that labels take here."""
        if not self.compact:
            return planes
        return torch.searchsorted(self._labels().to(planes.device), planes.long())

    def _labels(self) -> Tensor:
        return torch.cat([torch.arange(self._below), self._others])

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {"below": self._below, "others": self._others.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it holds what cannot be.
        """
        what = "the run's labels"
        fields(what, state, {"below": Whole(1, MANY_LABELS), "others": Array(torch.int64, "L", MANY_LABELS, MOST)})
        others = state["others"]
        require(what, others[1:] > others[:-1], "each is there once")
        self._below, self._others = state["below"], others.clone()


def check_range(where: str, least: int, largest: int, concepts: Concepts | None) -> None:
    """Refuses labels that are none.

    Raises:
        ValueError: they are below 0, too large, or have no concept.
    """
    if largest > MOST:
        raise refusal(ValueError(f"planes must hold labels below 2^31, but hold {largest}."), where)
    if least < 0:
        raise refusal(ValueError(f"planes must hold labels from 0 on, but hold {least}."), where)
    if concepts is not None and largest >= len(concepts):
        raise refusal(
            ValueError(
                f"planes must hold labels below {len(concepts)} (the concepts, and 0 for none), but hold "
                f"{largest}; what is to be ignored (often 255) must be 0."
            ),
            where,
        )
