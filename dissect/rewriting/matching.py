"""Which images a key matches, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dissect.arguments import integer, refusal, speaks
from dissect.rewriting.directions import Directions
from dissect.rewriting.moment import batches_of
from dissect.visits.images import Images
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step

if TYPE_CHECKING:
    from dissect.rewriting.memory import Memory


@dataclass(frozen=True, eq=False)
class Matches:
    """Images ranked by how well their best place agrees with a direction.

    Attributes:
        scores: [N] float32, the largest ``d^T k`` of each image.
        images: [n] int64, the numbers of the best, the best first; ties by number.
        maps: [n, h, w] float32, ``d^T k`` everywhere in these.
        level: above it lies one of 1,000 places of all images: what the published interface outlines.
    """

    scores: Tensor
    images: Tensor
    maps: Tensor
    level: float


@speaks
def matches(
    memory: Memory, inputs: Any, direction: Directions | Tensor, count: int = 12, *, batch_size: int = 32,
    progress: bool = True,
) -> Matches:  # fmt: skip
    """Ranks all images by a direction ("show context matches"; thesis, Figure 6-2c and Figures B-1 to B-6).

    Args:
        memory: the layer.
        inputs: see `second_moment`.
        direction: of rank 1, or [i]: C^-1 k for a key k.
        count: how many images to give maps of.
        batch_size: inputs at a time.
        progress: show a bar.

    Raises:
        ValueError: a direction of another rank or length, or that is not finite.

    Example:
        >>> from dissect import rewriting, tiny
        >>> street = tiny.generator()
        >>> memory, z = rewriting.Memory(street, "layer4"), dissect.latents(street, 8)
        >>> moment = memory.second_moment(z, progress=False)
        >>> key = memory.keys(z[:1]).maps[0, :, 2:3, 5].T
        >>> found = rewriting.matches(memory, z, memory.direction(key), count=3, progress=False)
        >>> found.maps.shape
        torch.Size([3, 8, 8])
    """
    run = _Responses(memory, column(memory, direction))
    batches = batches_of(inputs, integer("batch_size", batch_size))
    finish(run, Images({"inputs": batches}), progress=progress)
    return ranked(torch.cat(run.maps), integer("count", count))


def column(memory: Memory, direction: Directions | Tensor) -> Tensor:
    """A direction of rank 1 as [i].

    Raises:
        ValueError: one of another rank or length, or that is not finite.
    """
    columns = direction.matrix if isinstance(direction, Directions) else direction
    if not isinstance(columns, Tensor) or columns.numel() != memory.inputs:
        got = list(columns.shape) if isinstance(columns, Tensor) else type(columns).__name__
        raise refusal(ValueError(f"direction must be of rank 1, {memory.inputs} numbers, but is {got}."))
    if not bool(columns.isfinite().all()):
        raise refusal(ValueError("direction must be finite, but is not."))
    return columns.flatten()


def responses(maps: Tensor, direction: Tensor) -> Tensor:
    """``d^T k`` of keys [n, i, h, w]: [n, h, w], on the CPU."""
    return torch.einsum("nihw,i->nhw", maps, direction.to(maps)).cpu()


def ranked(maps: Tensor, count: int) -> Matches:
    """Images ranked by ``d^T k`` everywhere in them, [N, h, w]."""
    scores = maps.flatten(1).amax(1)
    best = scores.sort(descending=True, stable=True).indices[:count]
    ordered = maps.flatten().sort().values
    return Matches(scores, best, maps[best], float(ordered[-(-len(ordered) * 999 // 1000) - 1]))


class _Responses(Run):
    """``d^T k`` at each place of each image."""

    def __init__(self, memory: Memory, direction: Tensor) -> None:
        self._memory, self._direction = memory, direction
        self.maps: list[Tensor] = []
        self.done = False

    @property
    def needs(self) -> Visit | None:
        """See `Run`."""
        return None if self.done else Visit("matches", last=True, data="inputs")

    def compute(self, step: Step) -> Any:
        """See `Run`."""
        also = step.planes if isinstance(step.planes, Tensor) else None
        maps = self._memory.keys((step.images, also)).maps
        return responses(maps, self._direction)

    def add(self, found: Any) -> None:
        """See `Run`."""
        self.maps.append(found)

    def end_visit(self) -> None:
        """See `Run`."""
        self.done = True
