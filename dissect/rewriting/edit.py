"""A change of one layer's weight of low rank: a small file that is applied, scaled, undone and merged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from dissect.arguments import refusal, speaks
from dissect.digests import digest
from dissect.files.checked import Array, Each, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.interrupts import deferred_interrupts
from dissect.rewriting.memory import Memory


@dataclass(eq=False)  # tensors have no one truth value
class Edit(Result):
    """``W1 = W0 + Lambda D^T``: a rule that was rewritten; as a context manager, for a while.

    Attributes:
        layer: the name of the module whose weight it changes.
        directions: [i, S] float64, D, orthonormal.
        lambdas: [o * kh * kw, S] float64, Lambda.
        losses: [T] float64, before each step of the descent; empty of the closed form.
        shape: of the weight.
        before: digest of W0.
        after: digest of W1, at scale 1.
        settings: how it was found, with its losses before and after.

    Example: see `insert`.
    """

    kind = "edit"
    suffix = ".edit"

    layer: str
    directions: Tensor
    lambdas: Tensor
    losses: Tensor
    shape: tuple[int, ...]
    before: str
    after: str
    settings: dict[str, Any]
    _memory: Memory | None = field(default=None, repr=False)
    _applied: tuple[Memory, Tensor, str] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        applied = ", applied" if self.applied else ""
        return f"<Edit of {self.layer!r} {list(self.shape)}, rank {self.rank}, by {self.settings.get('mode')}{applied}>"

    @property
    def rank(self) -> int:
        """Of the change of the matrix [o * kh * kw, i]."""
        return int(torch.linalg.matrix_rank(self.lambdas)) if self.lambdas.numel() else 0

    @property
    def applied(self) -> bool:
        """Whether `apply` was called, and `undo` not yet."""
        return self._applied is not None

    @speaks
    def apply(self, model: nn.Module | None = None, *, scale: float = 1.0) -> Edit:
        """Writes ``W0 + scale * Lambda D^T`` into the network's weight, whole or not at all.

        Args:
            model: the network; may be left out for the one that the edit was made with.
            scale: of the change.

        Returns:
            The edit.

        Raises:
            ValueError: the edit is applied already, to this network or in its weights; other weights than those that it
                was made of; no model; a change of a higher rank than the directions have (never, but for an error).
        """
        if self._applied is not None:
            raise refusal(ValueError(f"the edit must be applied once, but {self.layer!r} has it; undo it first."))
        memory = self._memory if model is None else Memory(model, self.layer)
        if memory is None:
            raise refusal(ValueError("model must be given to an edit that comes from a file."))
        start = memory.weight.detach().clone()
        changed = self._changed(start, scale)
        with deferred_interrupts(), torch.no_grad():
            memory.weight.copy_(changed)
            self._applied = memory, start, weight_digest(changed)
        return self

    @speaks
    def undo(self) -> Edit:
        """Gives the network its weight back, to the bit.

        Returns:
            The edit.

        Raises:
            ValueError: the edit is not applied, or the weight was changed since, as by a later edit.
        """
        if self._applied is None:
            raise refusal(ValueError("the edit must be applied to be undone, but this object was not, to any network."))
        memory, start, after = self._applied
        if weight_digest(memory.weight) != after:
            raise refusal(
                ValueError(
                    f"the weight of {self.layer!r} must be as this edit left it, but was changed since; undo later "
                    "edits first, the last one first."
                )
            )
        with deferred_interrupts(), torch.no_grad():
            memory.weight.copy_(start)
            self._applied = None
        return self

    @speaks
    def bound(self, model: nn.Module) -> Edit:
        """The edit with a network, as one that was just made has it: for `apply` without a model, and for blocks.

        Raises:
            KeyError, TypeError, ValueError: the model has no such memory, see `Memory`.
        """
        return replace(self, _memory=Memory(model, self.layer), _applied=None)

    def __enter__(self) -> Edit:
        """Applies the edit for the time of a block, which ends with `undo`."""
        return self.apply()

    def __exit__(self, *_: object) -> None:
        self.undo()

    @speaks
    def merged(self, state: Mapping[str, Tensor], *, scale: float = 1.0) -> dict[str, Tensor]:
        """A state dict with the edit in it, of one that has the weight it was made of; the given one stays as it is.

        Raises:
            KeyError: it has no such weight.
            ValueError: see `apply`.
        """
        name = f"{self.layer}.weight"
        if name not in state:
            raise refusal(KeyError(f"state must have {name!r}, but does not."))
        return {**state, name: self._changed(state[name].detach(), scale)}

    def _changed(self, start: Tensor, scale: float) -> Tensor:
        if not math.isfinite(scale):
            raise refusal(ValueError(f"scale must be finite, but is {scale}."))
        found = weight_digest(start)
        if found != self.before:
            had = found == self.after
            raise refusal(
                ValueError(
                    f"the weight of {self.layer!r} must be the one that the edit was made of, {self.before}, but is "
                    + (f"{found}: it has this edit already." if had else f"{found}, another one.")
                )
            )
        changed = rewritten(start, self._order(), self.lambdas * scale, self.directions)
        verify_rank(start, changed, self._order(), self.directions.shape[1])
        return changed

    def _order(self) -> tuple[int, ...]:
        order: tuple[int, ...] = tuple(self.settings["order"])
        return order

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        meta = {name: getattr(self, name) for name in _META}
        return {name: getattr(self, name) for name in _TENSORS}, {**meta, "shape": list(self.shape)}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Edit:
        """See `Result`."""
        fields(what, meta, _META)
        fields(what, meta["settings"], {"order": Each(Whole(0, 3), 4, different=True), "mode": Text()})
        sizes = fields(what, tensors, _TENSORS)
        shape, order = meta["shape"], meta["settings"]["order"]
        require(what, len(shape) in (2, 4), "a weight has two or four axes")
        wide = [*shape, 1, 1][:4]
        require(what, sizes["I"] == wide[order[3]], "a direction has as many numbers as a key")
        require(what, sizes["R"] * sizes["I"] == math.prod(wide), "Lambda has a row for each of the matrix")
        require(what, 0 < sizes["S"] <= sizes["I"], "there are as many directions as a key has numbers, at most")
        gram = tensors["directions"].T @ tensors["directions"]
        require(what, (gram - torch.eye(len(gram), dtype=gram.dtype)).abs() < 1e-6, "directions are orthonormal")
        own: dict[str, Any] = {name: meta[name] for name in _META} | {"shape": tuple(shape)}
        return cls(**own | {name: tensors[name] for name in _TENSORS})


@speaks
def combined(edits: Sequence[Edit]) -> Edit:
    """Edits that were made one after another, each with those before it applied, as one edit of the first's weight.

    Its rank is at most the sum of theirs. Rounding aside it gives the weight that they give one after another.

    Raises:
        ValueError: none, or one that was not made of the weight that the one before leaves.

    Example: see `insert`.
    """
    if not edits:
        raise refusal(ValueError("edits must be at least one, but there are none."))
    for first, second in pairwise(edits):
        if (second.layer, second.shape, second.before) != (first.layer, first.shape, first.after):
            raise refusal(
                ValueError(f"edits must follow each other, but {second!r} was not made of the weight after {first!r}.")
            )
    change = sum(edit.lambdas @ edit.directions.T for edit in edits)
    every = torch.cat([edit.directions for edit in edits], 1)
    left, strengths, _ = torch.linalg.svd(every, full_matrices=False)
    basis = left[:, strengths > 1e-9 * strengths[0]]
    first, last = edits[0], edits[-1]
    settings = {"mode": "combined", "order": first.settings["order"], "edits": [edit.settings for edit in edits]}
    losses = torch.empty(0, dtype=torch.float64)
    return Edit(first.layer, basis, change @ basis, losses, first.shape, first.before, last.after, settings)


def rewritten(weight: Tensor, order: tuple[int, ...], lambdas: Tensor, directions: Tensor) -> Tensor:
    """A weight plus ``Lambda D^T``, computed in float64 and rounded once."""
    wide = weight if weight.ndim == 4 else weight[:, :, None, None]
    view = wide.permute(order)
    change = (lambdas @ directions.T).view(view.shape).to(weight.device)
    back = [order.index(axis) for axis in range(4)]
    changed: Tensor = (view.double() + change).to(weight.dtype).permute(back).reshape(weight.shape).contiguous()
    return changed


def verify_rank(before: Tensor, after: Tensor, order: tuple[int, ...], rank: int) -> int:
    """The rank of a weight's change, beyond what rounding it to its dtype adds.

    Raises:
        ValueError: it is higher than it may be, or the new weight is not finite.
    """
    wide = [(weight if weight.ndim == 4 else weight[:, :, None, None]).permute(order) for weight in (before, after)]
    change = (wide[1].double() - wide[0].double()).flatten(0, 2).cpu()
    if not bool(change.isfinite().all()):
        raise refusal(ValueError("the changed weight must be finite, but is not; take a smaller scale."))
    # Rounding moves each number by half a unit in its last place at most, as independent noise.
    noise = torch.finfo(after.dtype).eps * float(after.abs().amax()) * (len(change) ** 0.5 + change.shape[1] ** 0.5)
    found = int((torch.linalg.svdvals(change) > noise).sum())
    if found > rank:
        raise refusal(ValueError(f"the change must be of rank {rank} at most, but is of rank {found}."))
    return found


def weight_digest(weight: Tensor) -> str:
    """A digest of a weight's dtype, shape and bits."""
    return digest([f"{weight.dtype} {list(weight.shape)}", weight])


_META = {"layer": Text(), "shape": Each(Whole(1)), "before": Text(), "after": Text(), "settings": Of(dict)}
_TENSORS = {
    "directions": Array(torch.float64, "I S", -1.001, 1.001),
    "lambdas": Array(torch.float64, "R S", -1e30, 1e30),
    "losses": Array(torch.float64, "T"),
}
