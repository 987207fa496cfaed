"""What the backends' functions take together, and what several of them ask of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dissect.ops import checks
from dissect.ops.hot import HotCells

SAMPLES = ("value", "min", "max")


class Labels(NamedTuple):
    """What counts read of `EncodedLabels`: contiguous, on the activations' device."""

    runs: Tensor
    table: Tensor
    offsets: Tensor
    num_labels: int


class Tables(NamedTuple):
    """The two tables of a `Grid`, on the CPU."""

    rows: Tensor
    columns: Tensor


class Brackets(NamedTuple):
    """Per unit, the keys from low to high, in bins of 2^shift keys; `bins` [U, B] and `above` [U] are added to."""

    low: Tensor
    high: Tensor
    shift: Tensor
    bins: Tensor
    above: Tensor

    def dense(self) -> Brackets:
        """The same, all contiguous."""
        low, high, shift = (bound.contiguous() for bound in self[:3])
        return Brackets(low, high, shift, self.bins, self.above)

    def check(self, activations: Tensor | HotCells, tables: Tables | None) -> None:
        """Refuses keys and shifts that no kernel computes with, and brackets that do not fit in their bins.

        Raises:
            ValueError: names the first unit.
        """
        low, high, shift, bins, _ = self
        most = 1 << (16 if tables is None and activations.element_size() == 2 else 32)
        for name, values, end in (("low", low, most), ("high", high, most), ("shift", shift, 32)):
            if len(values) and not 0 <= int(values.min()) <= int(values.max()) < end:
                unit = int(((values < 0) | (values >= end)).nonzero()[0])
                raise ValueError(
                    f"tail_histogram: {name} must lie in [0, {end}), but of unit {unit} is {int(values[unit])}."
                )
        if bool((((high - low) >> shift) >= bins.shape[1]).any()):
            raise ValueError(f"tail_histogram: [low, high] must fit in B={bins.shape[1]} bins of 2^shift keys.")


class Blend(NamedTuple):
    """What features are blended with: float32, each of four dimensions that broadcast to the features."""

    alpha: Tensor
    value: Tensor
    mask: Tensor


def new_status(device: torch.device) -> Tensor:
    """[] int32 of 0: where kernels note bad data, by writing 1, so that nobody needs to wait for them."""
    return torch.zeros((), dtype=torch.int32, device=device)


def status_of(op: str, activations: Tensor | HotCells, status: Tensor | None, name: str = "activations") -> Tensor:
    """The status for kernels that write it; without one, the activations are looked at now.

    Raises:
        ValueError: they are bad.
    """
    if status is not None:
        return status
    checks.finite(op, activations, name)
    return new_status(activations.device)


def natural_status_of(op: str, labels: Tensor, status: Tensor | None) -> Tensor:
    """The status for kernels that write it; without one, the labels are looked at now.

    Raises:
        ValueError: one is below 0.
    """
    if status is not None:
        return status
    check_natural(op, labels)
    return new_status(labels.device)


def check_natural(op: str, labels: Tensor) -> None:
    """Refuses labels [N, H, W] below 0.

    Raises:
        ValueError: names the first image of the batch and such a label.
    """
    if labels.numel() and int(labels.min()) < 0:
        image = int((labels < 0).flatten(1).any(1).nonzero()[0])
        value = int(labels[image][labels[image] < 0][0])
        raise ValueError(f"{op}: labels must not be negative, but image {image} of the batch holds {value}.")


def note_bad(activations: Tensor, peaks: Tensor, status: Tensor) -> None:
    """Sets the status to 1 where a map holds NaN, infinity or a magnitude from 2^126; a NaN is its peak."""
    good = (peaks < checks.LIMIT) & (activations.amin((2, 3)).float() > -checks.LIMIT)
    status |= ~good.all()


def check_thresholds(op: str, thresholds: Tensor) -> None:
    """Refuses NaN.

    Raises:
        ValueError: names the first unit.
    """
    if bool(thresholds.isnan().any()):
        unit = int(thresholds.isnan().nonzero()[0])
        raise ValueError(f"{op}: thresholds must not be NaN, but unit {unit}'s is.")


def check_edges(op: str, edges: Tensor) -> None:
    """Refuses edges that are NaN or fall.

    Raises:
        ValueError: names the first unit.
    """
    wrong = _wrong_edges(edges).nonzero()
    if len(wrong):
        unit = int(wrong[0])
        raise ValueError(f"{op}: edges must rise and not be NaN, but those of unit {unit} do not.")


def note_edges(edges: Tensor, status: Tensor) -> None:
    """Sets the status to 1 where edges are NaN or fall; a GPU is not waited for."""
    status.copy_(status | _wrong_edges(edges).any())


def _wrong_edges(edges: Tensor) -> Tensor:
    return ~(edges[:, 1:] >= edges[:, :-1]).all(1) | edges[:, 0].isnan()
