"""How the maps of two layers go together over the same images: the correlation of every unit with every other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.files.checked import Array, Whole, fields, require
from dissect.grid import Grid
from dissect.ops import checks
from dissect.reference import upsample
from dissect.stats.state import State

_SUMS = ("_x", "_y", "_xx", "_yy", "_xy")


@speaks
class MapCorrelation(State):
    """Pearson's correlation of U units' maps with V others', over all places of all images.

    Maps are upsampled to the larger of both sizes, by the sampling rule of all of the library (half-pixel, edge). Sums
    and products are float64, one matrix product per batch; as of all sums of floats, their last bits depend on how the
    images were split.

    Example:
        >>> state = dissect.stats.MapCorrelation()
        >>> x = torch.rand(4, 2, 4, 4)
        >>> state.add(x, torch.stack([-x[:, 1], x[:, 0] ** 2, x[:, 0] * 0], 1))
        >>> found = state.correlation()
        >>> found.shape, round(found[1, 0].item(), 6), found[0, 2].item()
        (torch.Size([2, 3]), -1.0, 0.0)
    """

    tensors = _SUMS

    def __init__(self) -> None:
        self.samples = 0
        self._x, self._y, self._xx, self._yy = (torch.zeros(0, dtype=torch.float64) for _ in range(4))
        self._xy = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Adds a batch.

        Args:
            x: [N, U, h, w] maps, floats.
            y: [N, V, h', w'] maps of the same images.

        Raises:
            TypeError, ValueError: no maps, other numbers of images or units, values that are not finite.
        """
        left, right = (
            maps.transpose(0, 1).flatten(1)
            for maps in places_of("MapCorrelation", x, y, tuple(self._xy.shape) if self.samples else None)
        )
        parts = left.sum(1), right.sum(1), (left * left).sum(1), (right * right).sum(1), left @ right.T
        if self.samples:
            self._move(x.device)
            parts = tuple(getattr(self, name) + part for name, part in zip(_SUMS, parts))
        for name, part in zip(_SUMS, parts):
            setattr(self, name, part)
        self.samples += left.shape[1]

    def merge(self, other: MapCorrelation) -> None:
        """Adds what another state found in other images.

        Raises:
            ValueError: other numbers of units.
        """
        if not other.samples:
            return
        if self.samples:
            self._agree({"units": self._xy.shape == other._xy.shape})
        for name in _SUMS:
            value = getattr(other, name)
            setattr(self, name, getattr(self, name).to(value.device) + value if self.samples else value.clone())
        self.samples += other.samples

    def correlation(self) -> Tensor:
        """[U, V] float64, in [-1, 1]; 0 where a unit is constant."""
        return correlation_of(self.samples, *(getattr(self, name) for name in _SUMS))

    def state_dict(self) -> dict[str, Any]:
        """See `State`."""
        return {"samples": self.samples, **{name[1:]: getattr(self, name).clone() for name in _SUMS}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it holds what cannot be.
        """
        what, real = "MapCorrelation: the state", torch.float64
        squares = {"xx": Array(real, "U", 0, float("inf")), "yy": Array(real, "V", 0, float("inf"))}
        rules = {"samples": Whole(), "x": Array(real, "U"), "y": Array(real, "V"), **squares, "xy": Array(real, "U V")}
        sizes = fields(what, state, rules)
        require(what, (state["samples"] > 0) == (sizes["U"] * sizes["V"] > 0), "it has units where it has samples")
        for name in ("x", "y", "xy"):
            require(what, state[name].isfinite().all(), "sums are finite")
        self.samples = state["samples"]
        for name in _SUMS:
            setattr(self, name, state[name[1:]].clone())


def places_of(state: str, x: Tensor, y: Tensor, units: tuple[int, ...] | None) -> tuple[Tensor, Tensor]:
    """Maps of the same images, [N, U, P] and [N, V, P] float64 at the P places of the larger of both.

    Args:
        state: whose they are, for messages.
        x: [N, U, h, w] maps.
        y: [N, V, h', w'] maps.
        units: (U, V) as before, where that is known.

    Raises:
        TypeError, ValueError: see `MapCorrelation.add`.
    """
    for maps in (x, y):
        checks.activations(state, maps)
        if not bool(maps.isfinite().all()):
            raise refusal(ValueError("activations must be finite, but some are NaN or infinite."))
    if len(x) != len(y):
        raise refusal(ValueError(f"x and y must be of the same images, but are of {len(x)} and {len(y)}."))
    if units is not None and (x.shape[1], y.shape[1]) != units:
        got = [x.shape[1], y.shape[1]]
        raise refusal(ValueError(f"x and y must have {list(units)} units as before, but have {got}."))
    size = max(x.shape[2], y.shape[2]), max(x.shape[3], y.shape[3])
    left, right = (_upsampled(maps, size).flatten(2).double() for maps in (x, y.to(x.device)))
    return left, right


def correlation_of(samples: int, x: Tensor, y: Tensor, xx: Tensor, yy: Tensor, xy: Tensor) -> Tensor:
    """[U, V] float64: Pearson's correlation from sums and products; 0 where a unit is constant."""
    number = max(1, samples)
    shared = xy - torch.outer(x, y) / number
    spread = [(squares - sums * sums / number).clamp(min=0) for squares, sums in ((xx, x), (yy, y))]
    # Of a constant unit rounding leaves some 1e-16 of its squares.
    moves = [part > 1e-12 * squares for part, squares in zip(spread, (xx, yy))]
    scale = torch.outer(*(torch.where(move, part, 1.0).sqrt() for move, part in zip(moves, spread)))
    return torch.where(torch.outer(*moves), (shared / scale).clamp(-1, 1), 0.0)


def _upsampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[2:]) == size:
        return maps
    grid = Grid.half_pixel((maps.shape[2], maps.shape[3]), size)
    return upsample(maps, grid.rows, grid.columns)
