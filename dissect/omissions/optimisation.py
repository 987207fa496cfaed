"""Images optimised to be as a real one: over z, or over small changes of a generator's early layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from dissect.arguments import refusal, tell
from dissect.omissions.chain import Chain
from dissect.omissions.inversion import Inversion

#: From an image to what is compared of two: a classifier's features.
PerceptualFeatures = Callable[[Tensor], Tensor]

#: Adam's rate, and the shares of the steps after each of which it is halved: 800, 1,200 and 1,800 of 3,000.
RATE, MILESTONES = 0.01, (800 / 3000, 1200 / 3000, 1800 / 3000)


class Matching:
    """How far images are from those that are wanted (equation 5.5), each for itself.

    ::

        mean |x - y| + lambda_v mean |V(x) - V(y)|

    Args:
        wanted: images x [N, 3, H, W].
        features: V; without it the second part is left out.
        lambda_v: see above.
    """

    def __init__(self, wanted: Tensor, features: PerceptualFeatures | None, lambda_v: float) -> None:
        self._wanted, self._features, self._lambda = wanted, features, lambda_v
        with torch.no_grad():
            self._seen = None if features is None else features(wanted)
        if features is not None and not (isinstance(self._seen, Tensor) and self._seen.shape[:1] == wanted.shape[:1]):
            got = list(self._seen.shape) if isinstance(self._seen, Tensor) else type(self._seen).__name__
            raise refusal(ValueError(f"features must give a tensor [N={len(wanted)}, ...] of images, but gave {got}."))

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
    rate: float, optimiser: str, progress: bool, relative: bool = False,
) -> Inversion:  # fmt: skip
    """The best of `steps` steps over z, or over `deltas` deltas from 0 on, which may be in units of their layer's size.

    None of the images' losses depends on another image, nor does what the optimisers do of one depend on another: each
    image is inverted as if it were alone.
    """
    if torch.is_inference_mode_enabled():
        raise refusal(ValueError("torch.inference_mode must be off, since an inversion needs gradients."))
    shapes = chain.shapes[1 : deltas + 1]
    free = [torch.zeros(len(z), *shape, device=z.device) for shape in shapes] if deltas else [z.clone()]
    best, sizes = _Best(free), [torch.ones((), device=z.device)] * deltas
    if relative:
        with torch.no_grad():
            sizes = [_size(r) for r in chain.layers_of(z, upto=deltas)[1:]]

    def losses_of(free: Sequence[Tensor]) -> Tensor:
        moved = [part * size for part, size in zip(free, sizes)]
        early = chain.layers_of(z, moved) if deltas else chain.layers_of(free[0])
        losses = matching(chain.render(early[-1]))
        for delta in moved:
            losses = losses + lambda_reg * delta.square().flatten(1).mean(1)
        best.see(losses.detach(), free)
        return losses

    with (
        torch.enable_grad(),
        tqdm(total=steps, desc=f"inverting ({method})", disable=not progress, unit="step", leave=False) as bar,
    ):
        for _ in OPTIMISERS[optimiser](losses_of, free, steps, rate):
            bar.update()
    with torch.no_grad():
        found = tuple(part * size for part, size in zip(best.free, sizes))
        z = z if deltas else best.free[0]
        r = chain.layers_of(z, found)[-1]
        return Inversion(method, z, found, r, chain.render(r), best.losses, best.diverged, steps)


def _size(r: Tensor) -> Tensor:
    """[N, 1, ...] the root mean square of each image's r."""
    return r.square().mean(tuple(range(1, r.ndim)), keepdim=True).sqrt()


class _Best:
    """The values of the lowest loss of each image so far."""

    def __init__(self, free: Sequence[Tensor]) -> None:
        count, device = len(free[0]), free[0].device
        self.free = [part.detach().clone() for part in free]
        self.losses = torch.full((count,), torch.inf, device=device)
        self.diverged = torch.zeros(count, dtype=torch.bool, device=device)

    @torch.no_grad()
    def see(self, losses: Tensor, free: Sequence[Tensor]) -> None:
        """Takes what is better."""
        better = losses < self.losses  # NaN is not
        self.diverged |= ~losses.isfinite()
        self.losses = torch.where(better, losses, self.losses)
        self.free = [torch.where(_beside(better, part), part, kept) for part, kept in zip(free, self.free)]


LossesOf = Callable[[Sequence[Tensor]], Tensor]


def _adam(losses_of: LossesOf, start: Sequence[Tensor], steps: int, rate: float) -> Iterator[None]:
    """Steps of Adam, which treats every number for itself; its rate is halved at `MILESTONES`."""
    free = [part.detach().clone().requires_grad_() for part in start]
    adam = torch.optim.Adam(free, lr=rate, foreach=False)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = rate * 0.5 ** sum(step >= milestone * steps for milestone in MILESTONES)
        for part, gradient in zip(free, torch.autograd.grad(losses_of(free).sum(), free)):
            part.grad = gradient
        adam.step()
        yield
    with torch.no_grad():
        losses_of(free)


def _lbfgs(losses_of: LossesOf, start: Sequence[Tensor], steps: int, rate: float) -> Iterator[None]:
    """Steps of L-BFGS (Nocedal & Wright 2006, algorithm 7.5) of each image by itself, with halved step lengths.

    The first step moves the numbers by `rate` on average. A step length is halved, up to ten times, until the loss has
    fallen by a ten-thousandth of what the slope promises; an image that finds none starts again from its gradient.
    """
    shapes = [part.shape for part in start]
    sizes = [part[0].numel() for part in start]

    def look(x: Tensor) -> tuple[Tensor, Tensor]:
        parts = [part.reshape(shape).requires_grad_() for part, shape in zip(x.split(sizes, 1), shapes)]
        losses = losses_of(parts)
        gradients = torch.autograd.grad(losses.sum(), parts)
        return losses.detach(), torch.cat([gradient.flatten(1) for gradient in gradients], 1)

    x = torch.cat([part.detach().flatten(1) for part in start], 1)
    losses, slope = look(x)
    past: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(steps):
        direction = -_curved(slope, past)
        first = _dot(direction, slope) >= 0  # of images that have no curvature yet this is the gradient itself
        direction = torch.where(first, -slope, direction)
        none = torch.stack([curve for _, _, curve in past]).sum(0) == 0 if past else torch.ones_like(first)
        plain = rate / slope.abs().mean(1, keepdim=True).clamp(min=1e-30)
        length = torch.where(first | none, plain, torch.ones_like(plain))
        moved, found, steep, done = x, losses, slope, torch.zeros_like(first)
        for _ in range(SEARCH):
            trial = torch.where(done, moved, x + length * direction)
            lost, gradient = look(trial)
            enough = lost[:, None] <= losses[:, None] + 1e-4 * length * _dot(direction, slope)
            new = enough & ~done & gradient.isfinite().all(1, keepdim=True)
            moved, steep = torch.where(new, trial, moved), torch.where(new, gradient, steep)
            found, done = torch.where(new[:, 0], lost, found), done | new
            if bool(done.all()):
                break
            length = torch.where(done, length, length / 2)
        change, turn = moved - x, steep - slope
        product = _dot(change, turn)
        curve = torch.where(product > 1e-10 * _dot(turn, turn).sqrt(), 1 / product, torch.zeros_like(product))
        past = [(s, y, c * done) for s, y, c in past[-(HISTORY - 1) :]] + [(change, turn, curve)]
        x, losses, slope = moved, found, steep
        yield


def _curved(slope: Tensor, past: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The inverse Hessian of the last steps times a gradient, both [N, D]; steps whose curvature is 0 do not count."""
    found, shares = slope, []
    for change, turn, curve in reversed(past):
        shares.append(curve * _dot(change, found))
        found = found - shares[-1] * turn
    if past:
        _, turn, curve = past[-1]
        scale = 1 / (curve * _dot(turn, turn))
        found = found * torch.where(curve > 0, scale, torch.ones_like(scale))
    for (change, turn, curve), share in zip(past, reversed(shares)):
        found = found + change * (share - curve * _dot(turn, found))
    return found


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """[N, 1] of two [N, D]."""
    return (one * other).sum(1, keepdim=True)


#: By name.
OPTIMISERS = {"adam": _adam, "lbfgs": _lbfgs}
#: Steps that L-BFGS remembers, and lengths that it tries (max_ls of the published code).
HISTORY, SEARCH = 10, 10


def _beside(chosen: Tensor, part: Tensor) -> Tensor:
    return chosen.view(-1, *[1] * (part.ndim - 1))


#: Of images that a CPU inverts at a time. Maps of more pass 32 MiB, the most that glibc's malloc keeps for the next
#: step: their pages would be asked of the system, and cleared by it, in each.
_PIXELS = 1 << 15


def at_a_time(batch_size: int, images: Tensor, device: torch.device) -> int:
    """How many of the images [N, 3, H, W] are inverted together."""
    most = max(1, _PIXELS // images[0, 0].numel()) if device.type == "cpu" else batch_size
    return min(batch_size, most)


def joined(parts: list[Inversion], generator: str) -> Inversion:
    """The inversions of batches as one, with the fingerprint of the generator; tells of losses that diverged."""
    first = parts[0]
    deltas = tuple(torch.cat(each) for each in zip(*(part.deltas for part in parts)))
    z, r, images, losses, diverged = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("z", "r", "images", "losses", "diverged")
    )
    if bool(diverged.any()):
        tell(
            f"the loss of image {int(diverged.nonzero()[0])} did not stay finite (of {int(diverged.sum())} of "
            f"{len(diverged)} images); what was best before is kept; a smaller rate may help."
        )
    return Inversion(first.method, z, deltas, r, images, losses, diverged, first.steps, generator)
