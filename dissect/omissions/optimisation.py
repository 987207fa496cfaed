"""Images optimised to be as a real one: over z, or over small changes of a generator's early layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from dissect.arguments import tell
from dissect.omissions.chain import Chain

#: From an image to what is compared of two: a classifier's features.
Features = Callable[[Tensor], Tensor]

#: Adam's rate, and the shares of the steps after each of which it is halved: 800, 1,200 and 1,800 of 3,000.
RATE, MILESTONES = 0.01, (800 / 3000, 1200 / 3000, 1800 / 3000)


@dataclass(frozen=True, eq=False)
class Inversion:
    """What inverting some images gave.

    Attributes:
        method: how, see `LayerInverter.invert`.
        z: [N, ...].
        deltas: what was added to the outputs of g_1, g_2, ..., of each [N, ...].
        r: [N, ...], the n-th layer's output.
        images: [N, 3, H, W], what the generator makes of r.
        losses: [N] float32, of the best step; of the images alone where nothing was optimised.
        diverged: [N] bool, where the loss became infinite or NaN; what was best before is kept.
        steps: how many there were.
    """

    method: str
    z: Tensor
    deltas: tuple[Tensor, ...]
    r: Tensor
    images: Tensor
    losses: Tensor
    diverged: Tensor
    steps: int


class Matching:
    """How far images are from those that are wanted (equation 5.5), each for itself.

    ::

        mean |x - y| + lambda_v mean |V(x) - V(y)|

    Args:
        wanted: images x [N, 3, H, W].
        features: V; without it the second part is left out.
        lambda_v: see above.
    """

    def __init__(self, wanted: Tensor, features: Features | None, lambda_v: float) -> None:
        self._wanted, self._features, self._lambda = wanted, features, lambda_v
        with torch.no_grad():
            self._seen = None if features is None else features(wanted)

    def __call__(self, images: Tensor) -> Tensor:
        """[N]."""
        losses = (images - self._wanted).abs().flatten(1).mean(1)
        if self._features is not None and self._seen is not None:
            losses = losses + self._lambda * (self._features(images) - self._seen).abs().flatten(1).mean(1)
        return losses


def as_it_is(chain: Chain, method: str, z: Tensor, matching: Matching) -> Inversion:
    """The generator's images of z."""
    with torch.no_grad():
        r = chain.layers_of(z)[-1]
        images = chain.render(r)
        losses = matching(images)
    return Inversion(method, z, (), r, images, losses, torch.zeros(len(z), dtype=torch.bool, device=z.device), 0)


def optimised(
    chain: Chain, method: str, z: Tensor, matching: Matching, *, deltas: int, lambda_reg: float, steps: int,
    rate: float, progress: bool,
) -> Inversion:  # fmt: skip
    """The best of `steps` steps of Adam over z, or over `deltas` deltas from 0 on.

    The sum of the images' losses is minimised, of which none depends on another image, by an optimiser that treats
    every number for itself: each image is inverted as if it were alone.
    """
    shapes = chain.shapes[1 : deltas + 1]
    free = [torch.zeros(len(z), *shape, device=z.device) for shape in shapes] if deltas else [z.clone()]
    free = [part.requires_grad_() for part in free]
    best = [part.detach().clone() for part in free]
    lowest = torch.full((len(z),), torch.inf, device=z.device)
    diverged = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    adam = torch.optim.Adam(free, lr=rate, foreach=False)
    for step in tqdm(range(steps + 1), f"inverting ({method})", disable=not progress, unit="step", leave=False):
        for group in adam.param_groups:
            group["lr"] = rate * 0.5 ** sum(step >= milestone * steps for milestone in MILESTONES)
        early = chain.layers_of(z, free) if deltas else chain.layers_of(free[0])
        losses = matching(chain.render(early[-1]))
        for delta in free if deltas else ():
            losses = losses + lambda_reg * delta.square().flatten(1).mean(1)
        with torch.no_grad():
            better = losses < lowest  # NaN is not
            diverged |= ~losses.isfinite()
            lowest = torch.where(better, losses, lowest)
            best = [torch.where(_beside(better, part), part, kept) for part, kept in zip(free, best)]
        if step < steps:
            for part, gradient in zip(free, torch.autograd.grad(losses.sum(), free)):
                part.grad = gradient
            adam.step()
    if bool(diverged.any()):
        tell(
            f"the loss of image {int(diverged.nonzero()[0])} did not stay finite"
            f" (of {int(diverged.sum())} of {len(z)} images); what was best before is kept; a smaller rate may help."
        )
    with torch.no_grad():
        z, found = (z, tuple(best)) if deltas else (best[0], ())
        r = chain.layers_of(z, found)[-1]
        return Inversion(method, z, found, r, chain.render(r), lowest, diverged, steps)


def _beside(chosen: Tensor, part: Tensor) -> Tensor:
    return chosen.view(-1, *[1] * (part.ndim - 1))


def joined(parts: list[Inversion]) -> Inversion:
    """The inversions of batches as one."""
    first = parts[0]
    deltas = tuple(torch.cat(each) for each in zip(*(part.deltas for part in parts)))
    z, r, images, losses, diverged = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("z", "r", "images", "losses", "diverged")
    )
    return Inversion(first.method, z, deltas, r, images, losses, diverged, first.steps)
