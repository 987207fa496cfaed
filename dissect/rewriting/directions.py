"""Which directions of a memory's keys an edit may change, from the keys that it is to change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dissect.arguments import integer, refusal, speaks
from dissect.rewriting.keys import Keys

if TYPE_CHECKING:
    from dissect.rewriting.memory import Memory
    from dissect.rewriting.moment import SecondMoment

#: How a row space is made of keys.
DirectionsMethod = Literal["zca", "mean", "svd", "units"]
METHODS: tuple[DirectionsMethod, ...] = get_args(DirectionsMethod)
#: Of the largest singular value: directions with less are of rounding.
LEAST = 1e-9


@dataclass(frozen=True, eq=False)
class Directions:
    """The row space D_S within which the rows of a memory's matrix may change.

    Attributes:
        matrix: [i, S] float64, orthonormal columns.
        method: how it was made.
        keys: of how many keys.
        strengths: [S] float64: singular values; of "mean" the length of ``C^-1 k``; of "units" the scores.
        units: [S] int64, of "units" which; else None.
    """

    matrix: Tensor
    method: str
    keys: int
    strengths: Tensor
    units: Tensor | None = None

    @property
    def rank(self) -> int:
        """S."""
        return self.matrix.shape[1]

    def __repr__(self) -> str:
        of = "" if self.units is None else f", units {self.units.tolist()}"
        return f"<Directions of rank {self.rank} by {self.method!r} of {self.keys} keys{of}>"


def area(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """The share of each cell of a map that masks [n, H, W] cover, [n, h, w] float32.

    Raises:
        ValueError: no such masks, values outside [0, 1], or masks of images of another height to width.
    """
    if not isinstance(masks, Tensor) or masks.ndim != 3 or 0 in masks.shape:
        got = list(masks.shape) if isinstance(masks, Tensor) else type(masks).__name__
        raise refusal(ValueError(f"masks must be a tensor [n, H, W], but got {got}."))
    wide = masks.float()
    low, high = (float(end) for end in wide.aminmax())
    if not (low >= 0 and high <= 1):
        raise refusal(ValueError(f"masks must be in [0, 1], but are in [{low:g}, {high:g}]."))
    # A map has its image's proportions up to a cell, where a layer's border or stride rounds.
    if abs(masks.shape[1] * size[1] - masks.shape[2] * size[0]) >= max(masks.shape[1:]):
        raise refusal(
            ValueError(
                f"masks must have the height and width of images whose map is {size[0]} by {size[1]}, or their "
                f"proportions, but are {masks.shape[1]} by {masks.shape[2]}."
            )
        )
    return wide if masks.shape[1:] == size else interpolate(wide[:, None], size=size, mode="area")[:, 0]


def selected(memory: Memory, keys: Keys | Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
    """Keys [T, i] float64 that masks select, and their weights [T] float64.

    Raises:
        ValueError: keys of another length, not finite, masks of another number, or that select nothing.
    """
    maps = keys.maps if isinstance(keys, Keys) else keys
    if isinstance(maps, Tensor) and maps.ndim == 2 and masks is None:
        maps = maps.T[None, :, None]
    if not isinstance(maps, Tensor) or maps.ndim != 4 or maps.shape[1] != memory.inputs:
        got = list(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise refusal(
            ValueError(
                f"keys must be what Memory.keys gives, [T, i], or [n, i, h, w] with i={memory.inputs}, but are {got}."
            )
        )
    rows = maps.permute(0, 2, 3, 1).flatten(0, 2).double()
    if not bool(rows.isfinite().all()):
        raise refusal(ValueError("keys must be finite, but are not."))
    if masks is None:
        return rows, torch.ones(len(rows), dtype=torch.float64, device=rows.device)
    weights = area(masks, (maps.shape[2], maps.shape[3]))
    if len(weights) != len(maps):
        raise refusal(ValueError(f"masks must be one per image, {len(maps)}, but are {len(weights)}."))
    weights = weights.flatten().double().to(rows.device)
    if not bool((weights > 0).any()):
        raise refusal(ValueError("masks must select something, but are 0 everywhere."))
    return rows[weights > 0], weights[weights > 0]


@speaks
def directions(
    memory: Memory, keys: Keys | Tensor, rank: int = 1, *, masks: Tensor | None = None,
    method: DirectionsMethod = "zca", preserve: Keys | Tensor | None = None,
) -> Directions:  # fmt: skip
    """The row space D_S of an edit, of the keys of a context (thesis, equation 6.16, B.3 and B.4).

    ::

        zca     the S right singular vectors q of rows w Z k,  D = Z q      (Z = C^(-1/2); B.16; the default)
        mean    d = C^-1 (sum of w k / sum of w)                            (rank 1; equation 6.16)
        svd     the S right singular vectors of rows w C^-1 k
        units   the S units with the largest sum of w k_i^2 / C_ii, each a direction of its own  (B.17)

    made orthonormal by a QR decomposition, and, but for units, each turned so that it agrees with the sum of the rows.

    Args:
        memory: whose `moment` is C.
        keys: of the context: what `Memory.keys` gives, with `masks`, or [T, i].
        rank: S.
        masks: [n, H, W] in [0, 1], which places of the context are meant, at any size; a key's weight w is the share
            of its cell that is covered.
        method: one of the above.
        preserve: keys whose values no edit along the directions shall change at all, beside C, which preserves all
            others on the whole: what `Memory.keys` gives, all of them, or [T, i]. With them Z k is what is left of it
            outside of their Z p, so that ``D^T p = 0`` and the rest of C is disturbed least; not by units.

    Returns:
        `Directions`.

    Raises:
        ValueError: no moment, one of other weights elsewhere in the network, or of too few samples; keys that do not
            span so many directions; masks that select nothing; a mean of another rank than 1; keys to preserve that
            leave no direction, or with units.

    Example:
        >>> from dissect import rewriting, tiny
        >>> street = tiny.generator()
        >>> memory, z = rewriting.Memory(street, "layer4"), dissect.latents(street, 8)
        >>> moment = memory.second_moment(z, progress=False)
        >>> masks = torch.zeros(2, 64, 64)
        >>> masks[:, 16:32, 16:32] = 1
        >>> memory.direction(memory.keys(z[:2]), rank=3, masks=masks)
        <Directions of rank 3 by 'zca' of 8 keys>
    """
    rank = integer("rank", rank)
    if method not in METHODS:
        raise refusal(ValueError(f"method must be one of {METHODS}, but is {method!r}."))
    moment = checked_moment(memory)
    rows, weights = selected(memory, keys, masks)
    rows, weights = rows.cpu(), weights.cpu()
    if rank > memory.inputs or (method == "mean" and rank != 1):
        most = 1 if method == "mean" else memory.inputs
        raise refusal(ValueError(f"rank must be at most {most} by {method!r}, but is {rank}."))
    kept = None if preserve is None else _kept(memory, moment, preserve)
    if method == "units":
        if kept is not None:
            raise refusal(
                ValueError("preserve must not be given for units, which are what they are; take another method.")
            )
        return _units(moment, rows, weights, rank)
    if kept is not None:
        moment.check(rows)
        # Whitened, without what the preserved keys span, and back: C^-1 k is then Z times that, whitened again.
        whole = rows.square().sum()
        rows = rows @ moment.whitening()
        rows = (rows - (rows @ kept) @ kept.T) @ _coloring(moment)
        if not float(rows.square().sum()) > LEAST * float(whole):
            raise refusal(ValueError("keys must differ from those to preserve, but lie among what these span."))
    if method == "mean":
        found = moment.inverse_times(weights @ rows / weights.sum())
        return Directions(_unit(found)[:, None], method, len(rows), found.norm()[None])
    moment.check(rows)
    root = moment.whitening() if method == "zca" else None
    rows = weights[:, None] * (moment.inverse_times(rows) if root is None else rows @ root)
    _, strengths, right = torch.linalg.svd(rows, full_matrices=False)
    spanned = int((strengths > LEAST * strengths[0]).sum())
    if rank > spanned:
        raise refusal(
            ValueError(
                f"rank must be at most what the {len(rows)} keys span, {spanned}, but is {rank}; give more keys."
            )
        )
    turned = right[:rank].T if root is None else root @ right[:rank].T
    total = rows.sum(0) if root is None else root @ rows.sum(0)
    basis = torch.linalg.qr(turned).Q
    return Directions(basis * _signs(total @ basis), method, len(rows), strengths[:rank])


def _kept(memory: Memory, moment: SecondMoment, preserve: Keys | Tensor) -> Tensor:
    """An orthonormal basis [i, r] of what whitened keys span.

    Raises:
        ValueError: that is everything.
    """
    rows = selected(memory, preserve, None)[0].cpu()
    moment.check(rows)
    _, strengths, right = torch.linalg.svd(rows @ moment.whitening(), full_matrices=False)
    basis: Tensor = right[strengths > LEAST * strengths[0]].T
    if basis.shape[1] >= moment.rank:
        raise refusal(
            ValueError(
                f"preserve must leave a direction, but its {len(rows)} keys span all {moment.rank} in which there are "
                "keys; give fewer."
            )
        )
    return basis


def _coloring(moment: SecondMoment) -> Tensor:
    """C^(1/2), which undoes `SecondMoment.whitening`."""
    values, vectors = moment.eigen
    return (vectors * values.sqrt()) @ vectors.T


def checked_moment(memory: Memory) -> SecondMoment:
    """The memory's moment.

    Raises:
        ValueError: there is none, or it is of another layer or width, or of a network with other weights elsewhere.
    """
    moment = memory.moment
    if moment is None:
        raise refusal(
            ValueError("the memory must know the second moment of its keys; call memory.second_moment(inputs) first.")
        )
    if moment.layer != memory.layer or len(moment.moment) != memory.inputs:
        raise refusal(
            ValueError(
                f"moment must be of layer {memory.layer!r} with {memory.inputs} channels, but is of {moment.layer!r} "
                f"with {len(moment.moment)}."
            )
        )
    others = moment.settings.get("others")
    if others is not None and others != memory.digest_of_others():
        raise refusal(
            ValueError(
                f"moment must be of the network as it is, but other weights than those of {memory.layer!r} differ from "
                "those it was taken of; call memory.second_moment(inputs) again."
            )
        )
    return moment


def orthonormal(memory: Memory, given: Directions | Tensor) -> Directions:
    """Directions as they are, or made of the columns of a matrix [i, S].

    Raises:
        ValueError: another shape, or columns that depend on each other.
    """
    if isinstance(given, Tensor):
        columns = given.detach().cpu().double()
        if columns.ndim == 2 and len(columns) == memory.inputs and 0 < columns.shape[1] <= memory.inputs:
            strengths = torch.linalg.svdvals(columns)
            if not bool(columns.isfinite().all()) or not float(strengths[-1]) > LEAST * float(strengths[0]):
                raise refusal(ValueError("directions must be finite and independent of each other, but are not."))
            basis = torch.linalg.qr(columns).Q
            return Directions(basis * _signs((basis * columns).sum(0)), "given", 0, strengths)
    if not isinstance(given, Directions) or len(given.matrix) != memory.inputs:
        got = list(given.matrix.shape) if isinstance(given, Directions) else getattr(given, "shape", type(given))
        raise refusal(
            ValueError(f"directions must be Directions, or a matrix [i, S] with i={memory.inputs}, but are {got}.")
        )
    return given


def _units(moment: SecondMoment, rows: Tensor, weights: Tensor, rank: int) -> Directions:
    energy = moment.moment.diagonal()
    # A unit that is always 0 has nothing to do with any context.
    scores = torch.where(energy > 0, (weights @ rows.square()) / energy.clamp_min(1e-300), 0)
    order = scores.sort(descending=True, stable=True).indices[:rank]
    basis = torch.zeros(len(energy), rank, dtype=torch.float64)
    basis[order, torch.arange(rank)] = 1
    return Directions(basis, "units", len(rows), scores[order], order)


def _unit(vector: Tensor) -> Tensor:
    if not float(vector.norm()):
        raise refusal(ValueError("the mean key must differ from 0, but is 0."))
    unit: Tensor = vector / vector.norm()
    return unit


def _signs(agreement: Tensor) -> Tensor:
    signs: Tensor = torch.where(agreement < 0, -1.0, 1.0).to(agreement)
    return signs
