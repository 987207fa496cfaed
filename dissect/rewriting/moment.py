"""The second moment of a layer's keys: which directions of a memory are in use, and how much."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from dissect.arguments import integer, refusal, speaks
from dissect.data import Batches
from dissect.files.checked import Array, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.network.identity import code_of, fingerprint
from dissect.rewriting.keys import is_pair
from dissect.rewriting.products import gram
from dissect.visits.images import Images
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step

if TYPE_CHECKING:
    from dissect.rewriting.memory import Memory

#: Of the squared length of a key: how much may lie where the sample has none, by rounding.
OUTSIDE = 1e-6


@dataclass(eq=False)  # tensors have no one truth value
class SecondMoment(Result):
    """C = E[k k^T], uncentred, over all locations of a sample of keys, in float64.

    Eigenvalues below ``i * 2^-52`` times the largest count as 0 (the usual rule of a matrix's rank), and those below
    ``i`` times what rounding each channel of a key to its dtype adds along their vectors: there the sample has no keys,
    as of channels that are always 0, or of sums that a layer norm makes 0. `inverse_times` and `whitening` leave these
    directions out, and a key that lies there is refused.

    Attributes:
        layer: of the memory.
        moment: [i, i] float64.
        count: locations.
        images: inputs.
        settings: the network and the data.

    Example: see `second_moment`.
    """

    kind = "second moment"
    suffix = ".moment"

    layer: str
    moment: Tensor
    count: int
    images: int
    settings: dict[str, Any]

    def __repr__(self) -> str:
        return f"<SecondMoment of {self.layer!r}: {len(self.moment)} channels over {self.count} locations>"

    @cached_property
    def eigen(self) -> tuple[Tensor, Tensor]:
        """The eigenvalues above 0 [r], rising, and their vectors [i, r]; r < i where the sample leaves directions out.

        Raises:
            ValueError: fewer locations than channels; says how many are needed.
        """
        channels = len(self.moment)
        if self.count < channels:
            each = self.count / self.images
            raise refusal(
                ValueError(
                    f"the second moment of {self.layer!r} must be of at least {channels} locations, as a key has so "
                    f"many channels, but is of {self.count}, from {self.images} inputs; give at least "
                    f"{math.ceil(channels / each)}, better ten times that."
                )
            )
        values, vectors = torch.linalg.eigh(self.moment)
        least = torch.finfo(values.dtype).eps * values[-1]
        if self.settings.get("dtype") == "torch.float32":
            least = least.maximum(torch.finfo(torch.float32).eps ** 2 * self.moment.diagonal() @ vectors.square())
        kept = values > channels * least
        if not bool(kept.any()):
            raise refusal(ValueError(f"keys of {self.layer!r} must differ from 0, but all of the sample are 0."))
        return values[kept], vectors[:, kept]

    @property
    def rank(self) -> int:
        """In how many directions there are keys."""
        return len(self.eigen[0])

    @property
    def condition(self) -> float:
        """The largest eigenvalue over the smallest that is above 0."""
        values = self.eigen[0]
        return float(values[-1] / values[0])

    def whitening(self) -> Tensor:
        """Z = C^(-1/2) [i, i] float64, symmetric (ZCA; thesis, equation B.6)."""
        values, vectors = self.eigen
        return (vectors / values.sqrt()) @ vectors.T

    def inverse_times(self, keys: Tensor) -> Tensor:
        """C^(-1) k of keys [..., i], in float64.

        Raises:
            ValueError: a key lies where the sample has none.
        """
        values, vectors = self.eigen
        wide = keys.to(vectors)
        parts = wide @ vectors
        self._check_inside(wide, parts)
        return (parts / values) @ vectors.T

    def check(self, keys: Tensor) -> None:
        """Refuses keys [..., i] that lie where the sample has none.

        Raises:
            ValueError: one does.
        """
        vectors = self.eigen[1]
        self._check_inside(keys.to(vectors), keys.to(vectors) @ vectors)

    def _check_inside(self, keys: Tensor, parts: Tensor) -> None:
        whole = keys.square().sum(-1)
        share = ((whole - parts.square().sum(-1)) / whole.clamp_min(1e-300)).amax() if len(whole.view(-1)) else whole
        if bool((share > OUTSIDE).any()):
            raise refusal(
                ValueError(
                    f"keys must lie where the sample of the second moment has some, but {float(share):.2g} of a key's "
                    f"square lies outside: its rank is {self.rank} of {len(self.moment)} channels over {self.count} "
                    "locations. Give more inputs, among them some like these."
                )
            )

    @speaks
    def merge(self, other: SecondMoment) -> SecondMoment:
        """That of both samples together, of different inputs.

        Raises:
            ValueError: they are of other layers or networks.
        """
        same = {"layer": self.layer == other.layer, "channels": self.moment.shape == other.moment.shape}
        same["network"] = self.settings.get("network") == other.settings.get("network")
        differ = [name for name, equal in same.items() if not equal]
        if differ:
            raise refusal(ValueError(f"second moments to merge must agree, but their {', '.join(differ)} differ."))
        count = self.count + other.count
        moment = (self.moment * self.count + other.moment * other.count) / count
        return SecondMoment(self.layer, moment, count, self.images + other.images, self.settings)

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        return {"moment": self.moment}, {name: getattr(self, name) for name in _META}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> SecondMoment:
        """See `Result`."""
        fields(what, meta, _META)
        fields(what, tensors, {"moment": Array(torch.float64, "I I", -1e30, 1e30)})
        moment = tensors["moment"]
        require(what, len(moment) > 0 and meta["images"] <= meta["count"], "inputs have locations")
        require(what, torch.equal(moment, moment.T), "a second moment is symmetric")
        require(what, moment.diagonal() >= 0, "a mean of squares is not negative")
        return cls(meta["layer"], moment, meta["count"], meta["images"], meta["settings"])


_META = {"layer": Text(), "count": Whole(1), "images": Whole(1), "settings": Of(dict)}


@speaks
def second_moment(
    memory: Memory, inputs: Any, *, batch_size: int = 32, resume: str | Path | None = None, progress: bool = True
) -> SecondMoment:
    """C = E[k k^T] over all locations of all inputs (thesis, section 6.3.3), which an edit is to leave alone.

    A product per batch, in float64, in which products of float32 are exact. The published size is 1,000 images of z
    set 1, at the truncation that the model has.

    Args:
        memory: the layer.
        inputs: what the model takes: z, (z, noise seeds), images, or any data set or iterable of batches; what comes
            with images, as labels, is not looked at.
        batch_size: inputs at a time, where they do not come in batches.
        resume: a folder for what an interrupted run needs to go on, see `dissect.dissect`.
        progress: show a bar.

    Returns:
        A `SecondMoment`; parts of a data set can be merged.

    Raises:
        ValueError: no inputs, keys that are not finite, or a folder to resume from that holds another run.

    Example:
        >>> from dissect import rewriting, tiny
        >>> street = tiny.generator()
        >>> moment = rewriting.second_moment(
        ...     rewriting.Memory(street, "layer4"), dissect.latents(street, 8), progress=False
        ... )
        >>> moment, moment.rank
        (<SecondMoment of 'layer4.conv': 128 channels over 512 locations>, 128)
    """
    batch_size = integer("batch_size", batch_size)
    batches = batches_of(inputs, batch_size)
    network = fingerprint(memory.model)
    run, about = _Moment(memory), dict[str, Any]()
    if resume is not None:
        about = {"network": network, "layer": memory.layer, "code": code_of(memory.model), "data": batches.identity()}
        about["batch_size"] = batch_size
    finish(run, Images({"inputs": batches}), resume=resume, about=about, progress=progress)
    settings = {"network": network, "model": type(memory.model).__name__, "numbering": memory.numbering}
    settings |= {"others": memory.digest_of_others(), "dtype": str(memory.weight.dtype)}
    return SecondMoment(memory.layer, run.total / run.count, run.count, run.images, settings)


def batches_of(inputs: Any, batch_size: int) -> Batches:
    """Batches of inputs, of which (z, noise seeds) are pairs; of images and labels the former."""
    return Batches(TensorDataset(*inputs) if is_pair(inputs) else inputs, batch_size)


class _Moment(Run):
    """The sum of k k^T over all locations; the sums of batches are added in their order."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.total = torch.zeros(memory.inputs, memory.inputs, dtype=torch.float64)
        self.count = self.images = 0
        self.done = False

    @property
    def needs(self) -> Visit | None:
        """See `Run`."""
        return None if self.done else Visit("second moment", last=True, data="inputs")

    def compute(self, step: Step) -> Any:
        """See `Run`."""
        also = step.planes if isinstance(step.planes, Tensor) else None
        maps = self._memory.keys((step.images, also)).maps
        return gram(maps).cpu(), maps[:, 0].numel(), len(maps)

    def add(self, found: Any) -> None:
        """See `Run`."""
        total, count, images = found
        self.total += total
        self.count, self.images = self.count + count, self.images + images

    def end_visit(self) -> None:
        """See `Run`."""
        self.total = (self.total + self.total.T) / 2
        self.done = True

    def state_dict(self) -> dict[str, Any]:
        """See `Run`."""
        return {"total": self.total, "count": self.count, "images": self.images, "done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Run`."""
        shape = " ".join(map(str, self.total.shape))
        rules = {"total": Array(torch.float64, shape), "count": Whole(), "images": Whole(), "done": Of(bool)}
        fields("the second moment", state, rules)
        self.total, self.done = state["total"], state["done"]
        self.count, self.images = state["count"], state["images"]
