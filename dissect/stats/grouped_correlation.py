"""How sure the correlations of two layers' units are: their sums by group of images, which are drawn again."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.chosen import group_of
from dissect.devices import to_device
from dissect.files.checked import Array, Whole, fields, require
from dissect.stats.bootstrap import FEWEST, drawn_again
from dissect.stats.map_correlation import correlation_of, places_of
from dissect.stats.state import State, image_numbers

#: Groups of images whose sums are kept apart, at most and at least, and the bytes that they may take.
MOST_GROUPS, FEWEST_GROUPS, BUDGET = 128, 16, 4 << 30
_SUMS = ("_x", "_y", "_xx", "_yy", "_xy")


class Resampled(NamedTuple):
    """Of B draws of the images.

    Attributes:
        correlation: [B, U] float64, of each unit with its partner, the one of all images.
        mutual: [U] int64, in how many draws both are each other's best.
    """

    correlation: Tensor
    mutual: Tensor


@speaks
class GroupedCorrelation(State):
    """`MapCorrelation` with its sums kept apart by group of images, so that images can be drawn again.

    An image's group follows from its number (`dissect.chosen.group_of`); 128 groups of 128 images are nearly one each.
    One batched matrix product per batch, of the places of every image, in float64. The sums take
    ``8 G (U V + 2 U + 2 V + 1)`` bytes: G is the largest power of two up to 128 that fits, and no less than 16.

    Args:
        budget: bytes for the sums.

    Example:
        >>> state = dissect.stats.GroupedCorrelation()
        >>> x = torch.rand(12, 2, 4, 4)
        >>> state.add(x, x.flip(1), torch.arange(12))
        >>> state.correlation().argmax(1).tolist(), state.resampled(50, seed=0).mutual.tolist()
        ([1, 0], [50, 50])
    """

    tensors = ("_samples", *_SUMS)

    def __init__(self, *, budget: int = BUDGET) -> None:
        self.budget = budget
        self._samples = torch.zeros(0, dtype=torch.int64)
        self._x, self._y, self._xx, self._yy = (torch.zeros(0, 0, dtype=torch.float64) for _ in range(4))
        self._xy = torch.zeros(0, 0, 0, dtype=torch.float64)

    @property
    def groups(self) -> int:
        """G, 0 before the first batch."""
        return len(self._samples)

    def add(self, x: Tensor, y: Tensor, images: Tensor) -> None:
        """Adds a batch.

        Args:
            x: [N, U, h, w] maps, floats.
            y: [N, V, h', w'] maps of the same images.
            images: [N] int64, the images' numbers.

        Raises:
            TypeError, ValueError: as `MapCorrelation.add`; numbers that are none; sums that exceed the budget.
        """
        left, right = places_of("GroupedCorrelation", x, y, tuple(self._xy.shape[1:]) if self.groups else None)
        images = image_numbers("GroupedCorrelation", images, x)
        if not self.groups:
            self._begin(x.shape[1], y.shape[1])
        self._move(x.device)
        group = to_device(group_of(images, self.groups), x.device)
        self._samples.index_add_(0, group, torch.full_like(group, left.shape[2]))
        parts = left.sum(2), right.sum(2), left.square().sum(2), right.square().sum(2), left @ right.transpose(1, 2)
        for name, part in zip(_SUMS, parts):
            getattr(self, name).index_add_(0, group, part)

    def _begin(self, units: int, others: int) -> None:
        size = 8 * (units * others + 2 * units + 2 * others + 1)
        groups = min(MOST_GROUPS, 1 << max(0, (self.budget // size).bit_length() - 1))
        if groups < FEWEST_GROUPS:
            raise refusal(
                ValueError(
                    f"budget must hold the sums of {FEWEST_GROUPS} groups of images, of {units} units with {others}, "
                    f"{FEWEST_GROUPS * size} bytes, but is {self.budget}; take fewer units, or no intervals."
                )
            )
        self._samples = torch.zeros(groups, dtype=torch.int64)
        self._x, self._xx = torch.zeros(2, groups, units, dtype=torch.float64)
        self._y, self._yy = torch.zeros(2, groups, others, dtype=torch.float64)
        self._xy = torch.zeros(groups, units, others, dtype=torch.float64)

    def merge(self, other: GroupedCorrelation) -> None:
        """Adds what another state found in other images.

        Raises:
            ValueError: other numbers of units or groups.
        """
        if not other.groups:
            return
        if self.groups:
            self._agree({"units": self._xy.shape[1:] == other._xy.shape[1:], "groups": self.groups == other.groups})
        for name in self.tensors:
            value = getattr(other, name)
            setattr(self, name, getattr(self, name).to(value.device) + value if self.groups else value.clone())

    def correlation(self, weights: Tensor | None = None) -> Tensor:
        """[U, V] float64, in [-1, 1]; 0 where a unit is constant.

        Args:
            weights: [G] float64, how often each group is drawn; once by default.
        """
        if weights is None:
            return correlation_of(int(self._samples.sum()), *(getattr(self, name).sum(0) for name in _SUMS))
        samples = int(weights @ self._samples.double())
        return correlation_of(samples, *(torch.tensordot(weights, getattr(self, name), 1) for name in _SUMS))

    def resampled(self, resamples: int, seed: int) -> Resampled | None:
        """Groups of images drawn again with replacement; None where fewer than 10 groups have images.

        Partners are those of all images, so that a draw says how much a correlation moves, not which it picks.

        Args:
            resamples: B, how many draws.
            seed: of the draws.
        """
        there = self._samples > 0
        if int(there.sum()) < FEWEST or not resamples:
            return None
        best = self._best(self.correlation())[0]
        values = torch.empty(resamples, len(best), dtype=torch.float64, device=best.device)
        mutual = torch.zeros(len(best), dtype=torch.int64, device=best.device)
        weights = torch.zeros(self.groups, dtype=torch.float64, device=best.device)
        for draw, times in enumerate(drawn_again(int(there.sum()), resamples, seed)):
            weights[there] = times.to(best.device)
            found = self.correlation(weights)
            values[draw] = found.gather(1, best[:, None])[:, 0]
            own, back = self._best(found)
            mutual += (own == best) & (back[best] == torch.arange(len(best), device=best.device)) & (found != 0).any(1)
        return Resampled(values.cpu(), mutual.cpu())

    @staticmethod
    def _best(matrix: Tensor) -> tuple[Tensor, Tensor]:
        """[U] and [V]: each unit's best other, the first of several."""
        # numpy's argmax documents that it returns the first maximum; torch's does not.
        values = matrix.cpu().numpy()
        first, second = (torch.from_numpy(values.argmax(axis)).to(matrix.device) for axis in (1, 0))
        return first, second

    def state_dict(self) -> dict[str, Any]:
        """See `State`."""
        return {name[1:]: getattr(self, name).clone() for name in self.tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it holds what cannot be.
        """
        what, real = "GroupedCorrelation: the state", torch.float64
        squares = {"xx": Array(real, "G U", 0, float("inf")), "yy": Array(real, "G V", 0, float("inf"))}
        rules = {"samples": Array(torch.int64, "G", 0), "x": Array(real, "G U"), "y": Array(real, "G V"), **squares}
        sizes = fields(what, state, rules | {"xy": Array(real, "G U V")})
        fields(what, {"groups": sizes["G"]}, {"groups": Whole(0, MOST_GROUPS)})
        whole = sizes["G"] == 0 or (sizes["G"] >= FEWEST_GROUPS and sizes["G"] & (sizes["G"] - 1) == 0)
        require(what, whole, "its groups are a power of two")
        require(what, (sizes["G"] > 0) == (sizes["U"] * sizes["V"] > 0), "it has units where it has groups")
        require(what, all(state[name].isfinite().all() for name in ("x", "y", "xx", "yy", "xy")), "sums are finite")
        for name in self.tensors:
            setattr(self, name, state[name[1:]].clone())
