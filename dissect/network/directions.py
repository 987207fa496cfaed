"""Directions in a layer's space, along which its maps are read in the place of its units, and edited."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dissect.arguments import refusal
from dissect.digests import digest
from dissect.network.identity import code_of, fingerprint

#: Of a layer: directions [V, U], or what makes maps [N, V, h, w] of its maps [N, U, h, w].
LayerDirections = Tensor | Callable[[Tensor], Tensor]

_LINEAR = "directions"


class CheckedDirections:
    """The directions of one layer, checked.

    Args:
        layer: its name.
        given: float32 directions [V, U], a row each; or an encoder, which makes [N, V, h, w] of maps [N, U, h, w]
            (`dissect.models.SparseEncoder`, or any other callable). Of an nn.Module the weights are part of `told`, so
            that two are told apart; of another callable the code alone.

    Raises:
        TypeError: neither.
        ValueError: another shape, none at all, a direction that is 0, or numbers that are not finite; an encoder in
            training mode.

    Example:
        >>> along = CheckedDirections("conv1", torch.tensor([[1.0, -1.0]]))
        >>> along.read(torch.tensor([[[[3.0]], [[1.0]]]])).flatten().tolist(), along.told["count"]
        ([2.0], 1)
    """

    def __init__(self, layer: str, given: LayerDirections) -> None:
        self.layer = layer
        self.matrix: Tensor | None = None
        self._encoder: Callable[[Tensor], Tensor] | None = None
        if isinstance(given, Tensor):
            self.matrix = _checked(layer, given)
            digits = digest([repr(tuple(self.matrix.shape)), self.matrix])
            self.told: dict[str, Any] = {"kind": _LINEAR, "count": len(self.matrix), "digest": digits}
            return
        if not callable(given):
            raise refusal(
                TypeError(
                    f"directions of layer {layer!r} must be a float32 tensor [V, U], or make maps [N, V, h, w] of maps "
                    f"[N, U, h, w], but are {type(given).__name__}."
                )
            )
        if isinstance(given, nn.Module) and given.training:
            raise refusal(
                ValueError(
                    f"the encoder of layer {layer!r} must be in evaluation mode, but is in training; call eval()."
                )
            )
        self._encoder = given
        name = (
            type(given).__name__ if isinstance(given, nn.Module) else getattr(given, "__name__", type(given).__name__)
        )
        self.told = {"kind": name, "digest": fingerprint(given), "code": code_of(given)}

    def read(self, maps: Tensor) -> Tensor:
        """[N, V, h, w] float32: the dot products with the directions at each place; or what the encoder makes.

        Raises:
            TypeError, ValueError: an encoder that gives no such maps; directions of another length.
        """
        if self.matrix is not None:
            self._check_length(maps)
            return product(self.matrix.to(maps.device), maps)
        with torch.no_grad():
            found = self._encoder(maps)  # type: ignore[misc]
        if not isinstance(found, Tensor) or not found.is_floating_point() or found.dtype == torch.float64:
            got = found.dtype if isinstance(found, Tensor) else type(found).__name__
            raise refusal(TypeError(f"the encoder of layer {self.layer!r} must give float32 maps, but gave {got}."))
        wanted = (len(maps), *maps.shape[2:])
        if found.ndim != 4 or (found.shape[0], *found.shape[2:]) != wanted or not found.shape[1]:
            raise refusal(
                ValueError(
                    f"the encoder of layer {self.layer!r} must give maps [N, V, h, w] of maps {list(maps.shape)}, but "
                    f"gave {list(found.shape)}."
                )
            )
        return found

    def _check_length(self, maps: Tensor) -> None:
        if self.matrix is not None and self.matrix.shape[1] != maps.shape[1]:
            raise refusal(
                ValueError(
                    f"directions of layer {self.layer!r} must have shape [V, U] with U={maps.shape[1]}, its units, but "
                    f"got {list(self.matrix.shape)}."
                )
            )


def product(matrix: Tensor, maps: Tensor) -> Tensor:
    """[N, V, h, w] float32: a matrix [V, U] times the maps [N, U, h, w] at each place, in one GEMM."""
    maps = maps.float()
    if maps.is_contiguous(memory_format=torch.channels_last):
        found: Tensor = (maps.permute(0, 2, 3, 1) @ matrix.T).permute(0, 3, 1, 2)
    else:
        found = (matrix @ maps.flatten(2)).unflatten(2, maps.shape[2:])
    return found


def given_directions(
    given: Mapping[str, LayerDirections] | None, layers: Iterable[str]
) -> dict[str, CheckedDirections]:
    """By layer the directions that were given, checked; none of layers that are read by their units.

    Raises:
        TypeError: no mapping, or see `CheckedDirections`.
        ValueError: of a layer that is not among these, or see `CheckedDirections`.
    """
    if given is None:
        return {}
    layers = list(layers)
    if not isinstance(given, Mapping):
        raise refusal(TypeError(f"directions must be a mapping {{layer: [V, U]}}, but are {type(given).__name__}."))
    unknown = [name for name in given if name not in layers]
    if unknown:
        raise refusal(ValueError(f"directions must be of layers {layers}, but name {unknown[0]!r}."))
    return {name: CheckedDirections(name, along) for name, along in given.items()}


def _checked(layer: str, given: Tensor) -> Tensor:
    what = f"directions of layer {layer!r}"
    if given.dtype != torch.float32:
        raise refusal(TypeError(f"{what} must be float32, but are {given.dtype}."))
    if given.ndim != 2 or not given.numel():
        raise refusal(
            ValueError(f"{what} must have shape [V, U], a row each, with one at least, but got {list(given.shape)}.")
        )
    found = given.detach().cpu().contiguous().clone()
    bad = (~found.isfinite().all(1)).nonzero().flatten()
    if len(bad):
        raise refusal(ValueError(f"{what} must be finite, but number {int(bad[0])} is not."))
    zero = (found == 0).all(1).nonzero().flatten()
    if len(zero):
        raise refusal(ValueError(f"{what} must not be 0, but number {int(zero[0])} is."))
    return found
