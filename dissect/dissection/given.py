"""Thresholds that the caller gives, in the place of those that a dissection finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from dissect.arguments import refusal
from dissect.concepts import Concepts
from dissect.digests import digest
from dissect.files.checked import Array, fields, require


class GivenThreshold:
    """Stands where a `TailThreshold` does, and needs no visit.

    Args:
        layer: whose they are.
        levels: [U] float32, or [U, C] one for each unit and label, NaN where it is not asked for.
    """

    version: ClassVar[int] = 1
    done, whole = True, False

    def __init__(self, layer: str, levels: Tensor) -> None:
        self._layer, self._levels = layer, levels

    def add(self, activations: Tensor) -> None:
        """Compares the number of units with that of a batch [N, U, h, w]."""
        if activations.shape[1] != len(self._levels):
            raise refusal(
                ValueError(
                    f"thresholds of layer {self._layer!r} must have shape {_SHAPES[self._levels.ndim]} with "
                    f"U={activations.shape[1]}, but got {list(self._levels.shape)}."
                )
            )

    def threshold(self) -> Tensor:
        """[U] or [U, C] float32."""
        return self._levels

    def floors(self, share: float | None = None) -> Tensor:
        """[U] float32, as `TailThreshold.floors`, at any time; -inf for units with a threshold for each label."""
        if self._levels.ndim > 1:
            return torch.full_like(self._levels[:, 0], -torch.inf)
        return self._levels.clamp(max=torch.finfo(torch.float32).max)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {"levels": self._levels}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: its thresholds are others.
        """
        what = f"the run's thresholds of layer {self._layer!r}"
        fields(what, state, {"levels": Array(torch.float32, "U" if self._levels.ndim == 1 else "U C")})
        same = torch.equal(state["levels"].view(torch.int32), self._levels.view(torch.int32))  # NaN too
        require(what, same, "they are those that are given")


def given_thresholds(layers: list[str], given: Tensor | Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """By layer the thresholds [U] or [U, C] that were given, checked; none of layers whose are to be found.

    Raises:
        TypeError: no float32 tensors.
        ValueError: one tensor for several layers, a layer that is not dissected, another shape, or NaN.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        if len(layers) > 1:
            raise refusal(
                ValueError(f"thresholds must be a mapping {{layer: [U]}} of layers {layers}, but are one tensor.")
            )
        given = {layers[0]: given}
    unknown = [name for name in given if name not in layers]
    if unknown:
        raise refusal(ValueError(f"thresholds must be of layers {layers}, but name {unknown[0]!r}."))
    return {name: _checked(name, levels) for name, levels in given.items()}


def check_labels(given: Mapping[str, Tensor], concepts: Concepts | None) -> None:
    """Whether thresholds of units and labels are of these labels; `concepts` are None where there are none.

    Raises:
        ValueError: they are not.
    """
    for layer, levels in given.items():
        if levels.ndim == 2 and (concepts is None or levels.shape[1] != len(concepts)):
            labels = "[U], where there are no labels" if concepts is None else f"[U] or [U, C] with C={len(concepts)}"
            rest = "" if concepts is None else " (the concepts, and 0 for none)"
            raise refusal(
                ValueError(
                    f"thresholds of layer {layer!r} must have shape {labels}{rest}, but got {list(levels.shape)}."
                )
            )


def at_labels(levels: Tensor, labels: Tensor) -> Tensor:
    """[U]: of thresholds [U, C] those of one label per unit; infinity for label 0, and where none was asked for."""
    own = levels.gather(1, labels[:, None])[:, 0]
    return torch.where((labels == 0) | own.isnan(), torch.inf, own)


def told_thresholds(given: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a result's settings say of them: a digest of each layer's, and whose labels have their own; or nothing."""
    digests = {name: digest([levels]) for name, levels in given.items()}
    own = [name for name, levels in given.items() if levels.ndim == 2]
    return ({"thresholds": digests} if digests else {}) | ({"label_thresholds": own} if own else {})


def _checked(layer: str, levels: Any) -> Tensor:
    what = f"thresholds of layer {layer!r}"
    if not isinstance(levels, Tensor) or levels.dtype != torch.float32:
        got = levels.dtype if isinstance(levels, Tensor) else type(levels).__name__
        raise refusal(TypeError(f"{what} must be a float32 tensor, as activations are counted, but got {got}."))
    if levels.ndim not in _SHAPES or not levels.numel():
        raise refusal(
            ValueError(
                f"{what} must have shape [U], one for each unit, or [U, C], one for each of its labels too, but got "
                f"{list(levels.shape)}."
            )
        )
    if levels.ndim == 1 and bool(levels.isnan().any()):
        raise refusal(ValueError(f"{what} must not be NaN, but unit {int(levels.isnan().nonzero()[0])}'s is."))
    return levels.detach().cpu().contiguous().clone()


#: By their number of axes.
_SHAPES = {1: "[U]", 2: "[U, C]"}
