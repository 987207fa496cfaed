"""The units that a class depends on most: the average causal effect, optimised over all units at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from tqdm.auto import tqdm

from dissect.arguments import integer, speaks
from dissect.generators.causal_result import FORMS, CausalUnits, Form
from dissect.generators.counting import Concept, Counter, Segmenting
from dissect.generators.observing import Observation, given_value, observe
from dissect.generators.ranking import sample_iou
from dissect.generators.regions import Region, block_masks, checked_block, enlarged
from dissect.generators.rendering import Edit, Latents, Renderer
from dissect.interventions.intervention import insert
from dissect.network.identity import fingerprint
from dissect.network.layouts import LayoutOption

#: Locations of a kind that are trained on at most, and how many of each kind are in an update (FACTS of the code).
MOST, UPDATE = 1000, 20
#: In how many places of a z insertion of the class is tried.
TRIES = 5


class Locations(NamedTuple):
    """Blocks of cells in images of some z.

    Attributes:
        z: [n] int64, numbers of the z.
        firsts: [n, 2] int64, the first cell of each block.
        presence: [n] float32, the share of the block's pixels that show the class, or do once k is inserted there.
    """

    z: Tensor
    firsts: Tensor
    presence: Tensor

    def best(self, count: int) -> Locations:
        """Those with the highest presence, which must be above 0."""
        order = self.presence.sort(descending=True, stable=True).indices
        order = order[self.presence[order] > 0][:count]
        return Locations(*(part[order] for part in self))


@speaks
def causal_units(
    generator: nn.Module,
    layer: str,
    concept: Concept,
    z: Latents,
    segmenter: Segmenting,
    count: int = 20,
    *,
    iou: Tensor | None = None,
    value: Tensor | float | None = None,
    block: int = 1,
    form: Form = "published",
    epochs: int = 10,
    learning_rate: float = 0.01,
    weight: float = 0.005,
    seed: int = 0,
    batch_size: int = 32,
    layout: LayoutOption | None = None,
    progress: bool = True,
) -> CausalUnits:
    """Optimises how much each unit takes part, and ranks units by it (thesis, eq. 4.5, 4.6, A.1 and section A.4).

    ::

        x_a = units at (1 - alpha) r at cells P,    x_i = units at alpha k + (1 - alpha) r at P
        minimise over alpha in [0, 1]:    mean of s(x_a) at P - mean of s(x_i) at P + weight |alpha|^2

    where s are `segmenter.scores`, the probability of the class at each pixel. alpha begins at IoU / max IoU, and is
    cut to [0, 1] after each step. Of the z of even number come the places from which the class is to go, in each image
    the one with most of it; of those of odd number the places where it is not, but is once all units are at k there,
    the best of five that are drawn more often where the class usually is. There are as many of both, at most 1,000.

    Args:
        generator: see `effect`.
        layer: see `effect`.
        concept: see `effect`.
        z: see `effect`; effects are to be measured on others.
        segmenter: see `effect`; with a method ``scores(images, concept)`` [N, H, W] that gradients go through.
        count: how many units to give.
        iou: [U] the units' IoU with the class, as `class_iou` gives it; by default measured on these z.
        value: k, a number or [U]; by default the mean of each unit where the class is in these z, weighted by how much
            of a cell it covers.
        block: rows and columns of P, in cells; published is 1.
        form: "published": Adam and |alpha|^2, as in the code; "thesis": stochastic gradient descent and |alpha|.
        epochs: how often each place is visited.
        learning_rate: of either.
        weight: of the penalty.
        seed: of the order of the places, and of the places that are tried.
        batch_size: images at a time.
        layout: see `effect`.
        progress: show bars.

    Returns:
        `CausalUnits`, which serve wherever units are asked for.

    Raises:
        TypeError: a segmenter without scores, or whose scores have no gradient.
        KeyError, TypeError, ValueError: see `effect`; more units than the layer has; z where the class is in no image
            of even number, or appears nowhere when all units are set to k (told before anything is optimised).

    Example:
        >>> from dissect import generators, tiny
        >>> street, z = tiny.generator(), dissect.latents(tiny.generator(), 4, seed=10)
        >>> units = generators.causal_units(
        ...     street, "layer4", "object/road", z, tiny.segmenter(signed=True), 5, block=3, epochs=1, progress=False
        ... )
        >>> len(units), units.alpha.shape
        (5, torch.Size([128]))
    """
    who = "causal_units"
    if form not in FORMS:
        raise ValueError(f"{who}: form must be one of {FORMS}, but got {form!r}.")
    if not callable(getattr(segmenter, "scores", None)):
        raise TypeError(
            f"{who}: segmenter must have a method scores(images, concept) that gradients go through, but "
            f"{type(segmenter).__name__} has none; dissect.segmentation.Segmenter has one, and units_by_iou needs none."
        )
    counter = Counter(who, segmenter, concept)
    renderer = Renderer(who, generator, layer, z, segmenter, integer("batch_size", batch_size), layout)
    count, epochs, seed = integer("count", count), integer("epochs", epochs), integer("seed", seed, 0)
    if count > renderer.num_units:
        raise ValueError(f"{who}: count must be at most {renderer.num_units}, the units of {layer!r}, but got {count}.")
    block = checked_block(who, block, renderer.map_size)
    for name, number in {"learning_rate": learning_rate, "weight": weight}.items():
        if not 0 <= number < float("inf"):
            raise ValueError(f"{who}: {name} must be a finite number from 0 on, but got {number}.")
    given = given_value(who, value, renderer.num_units)
    known = None if iou is None else _checked_iou(who, iou, renderer.num_units)
    base = Observation(
        renderer, [counter], Region("everywhere", None), lambda _: [],
        lambda planes: avg_pool2d(counter.presence(planes, renderer.map_size), block, 1),
    )  # fmt: skip
    observe(base, renderer, [counter], {}, None, progress)
    level = base.value() if given is None else given
    chance = torch.Generator().manual_seed(seed)
    removals, insertions = _locations(renderer, counter, base.extra, level, block, chance, progress)
    scores = sample_iou(renderer, counter, progress) if known is None else known
    start = (scores / scores.max()).float() if float(scores.max()) > 0 else torch.zeros(renderer.num_units)
    search = _Search(renderer, counter, level, block, form, learning_rate, weight)
    alpha, losses = search.run(start, removals, insertions, epochs, chance, progress)
    settings = {
        "seed": seed, "block": block, "form": form, "epochs": epochs, "learning_rate": float(learning_rate),
        "weight": float(weight), "batch_size": renderer.batch_size, "iou": "given" if iou is not None else "measured",
        "value": "given" if value is not None else "means where the class is", "generator": type(generator).__name__,
        "fingerprint": fingerprint(generator),
    }  # fmt: skip
    gone, new = (torch.cat([part.z[:, None], part.firsts], 1) for part in (removals, insertions))
    return CausalUnits(
        layer, counter.name, count, alpha, start, scores.double(), level, torch.tensor(losses, dtype=torch.float64),
        gone, new, renderer.keys(), settings,
    )  # fmt: skip


def _locations(
    renderer: Renderer, counter: Counter, presence: Tensor, level: Tensor, block: int, chance: torch.Generator,
    progress: bool,
) -> tuple[Locations, Locations]:  # fmt: skip
    """The places from which the class is to go, and those where it is to appear: as many of both.

    Args:
        renderer: makes the images.
        counter: sees the class.
        presence: [N, h', w'] of each block's pixels the share that shows the class.
        level: [U] k.
        block: its size.
        chance: draws places.
        progress: show a bar.

    Raises:
        ValueError: there are none of one kind.
    """
    flat, columns = presence.flatten(1), presence.shape[2]
    even = torch.arange(0, len(flat), 2)
    share, best = flat[even].max(1)
    removals = Locations(even, torch.stack([best // columns, best % columns], 1), share).best(MOST)
    z, place = _tried(flat, chance)
    firsts = torch.stack([place // columns, place % columns], 1)
    found = _appears(renderer, counter, z, block_masks(firsts, block, renderer.map_size), level, progress)
    insertions = Locations(z, firsts, found).best(MOST)
    number = min(len(removals.z), len(insertions.z))
    if not number:
        what = "is in no image of even number" if not len(removals.z) else (
            f"appears at none of {len(z)} places where it was not, when all units are set to k in {block}x{block} cells"
        )  # fmt: skip
        raise ValueError(
            f"{renderer.who}: {counter.name!r} {what}; give more z, another layer or value, or a larger block."
        )
    return removals.best(number), insertions.best(number)


def _tried(presence: Tensor, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """The z of odd number and for each some places without the class, drawn more often where it usually is.

    Args:
        presence: [N, P] of the class at each place.
        chance: draws.
    """
    odd = torch.arange(1, len(presence), 2)
    popular, tries = presence.sum(0), min(TRIES, presence.shape[1])
    place = torch.zeros(len(odd), tries, dtype=torch.int64)
    for row in range(len(odd)):
        place[row] = torch.multinomial(popular + popular.mean() / 10, tries, generator=chance)
    z, place = odd.repeat_interleave(tries), place.flatten()
    free = presence[z, place] == 0
    return z[free], place[free]


def _appears(renderer: Renderer, counter: Counter, z: Tensor, masks: Tensor, level: Tensor, progress: bool) -> Tensor:
    """[n] of the pixels in each mask [h, w] of some z the share that shows the class when all units are at k there."""
    found, everything = torch.zeros(len(z)), torch.arange(renderer.num_units)
    begins = tqdm(range(0, len(z), renderer.batch_size), "places", disable=not progress, unit="batch", leave=False)
    for begin in begins:
        part = slice(begin, begin + renderer.batch_size)
        blocks = masks[part, None].to(renderer.device)
        with (
            torch.no_grad(),
            insert(renderer.generator, renderer.layer, everything, value=level, mask=blocks, layout=renderer.layout),
        ):
            images = renderer.render(z[part])
        carries = counter.carries(counter.planes(begin // renderer.batch_size, images))
        inside = enlarged(blocks[:, 0] > 0, carries.shape[1:])
        found[part] = ((carries & inside).flatten(1).sum(1) / inside.flatten(1).sum(1)).cpu()
    return found


class _Search:
    """The optimisation of alpha."""

    def __init__(
        self, renderer: Renderer, counter: Counter, level: Tensor, block: int, form: Form, learning_rate: float,
        weight: float,
    ) -> None:  # fmt: skip
        self._renderer, self._counter, self._level, self._block = renderer, counter, level, block
        self._form, self._rate, self._weight = form, learning_rate, weight

    def run(
        self, start: Tensor, removals: Locations, insertions: Locations, epochs: int, chance: torch.Generator,
        progress: bool,
    ) -> tuple[Tensor, list[float]]:  # fmt: skip
        """The optimised alpha [U], and the objective before each step."""
        alpha = start.clone().to(self._renderer.device).requires_grad_()
        kind = torch.optim.Adam if self._form == "published" else torch.optim.SGD
        optimizer: Any = kind([alpha], lr=self._rate)
        losses = []
        for _ in tqdm(range(epochs), "epochs", disable=not progress, leave=False):
            orders = [torch.randperm(len(part.z), generator=chance).split(UPDATE) for part in (removals, insertions)]
            for gone, new in zip(*orders):
                alpha.grad = None
                losses.append(self._accumulate(alpha, removals, insertions, gone, new))
                optimizer.step()
                with torch.no_grad():
                    alpha.clamp_(0, 1)
        return alpha.detach().cpu(), losses

    def _accumulate(
        self, alpha: Tensor, removals: Locations, insertions: Locations, gone: Tensor, new: Tensor
    ) -> float:
        """Adds the gradient of the objective over some places to alpha's; returns the objective."""
        z = torch.cat([removals.z[gone], insertions.z[new]])
        masks = block_masks(
            torch.cat([removals.firsts[gone], insertions.firsts[new]]), self._block, self._renderer.map_size
        )
        sign = torch.cat([torch.ones(len(gone)) / len(gone), -torch.ones(len(new)) / len(new)])
        total = 0.0
        size = self._renderer.batch_size
        for part in torch.arange(len(z)).split(size):
            scores = self.scores(alpha, z[part], masks[part], sign[part] < 0)
            loss = (scores * sign[part].to(scores.device)).sum()
            total += self._descend(loss, alpha)
        squared = alpha.square().sum()
        penalty = squared if self._form == "published" else squared.sqrt()
        if float(squared.detach()) > 0:  # where it is 0, the norm has no gradient
            total += self._descend(self._weight * penalty, alpha)
        return total

    def _descend(self, loss: Tensor, alpha: Tensor) -> float:
        if not loss.requires_grad:
            raise TypeError(
                f"{self._renderer.who}: gradients must go through the scores of segmenter, but those of "
                f"{type(self._counter.segmenter).__name__} have none."
            )
        (gradient,) = torch.autograd.grad(loss, alpha)
        if not bool(gradient.isfinite().all()):
            raise ValueError(f"{self._renderer.who}: the gradient of alpha must be finite, but is not.")
        alpha.grad = gradient if alpha.grad is None else alpha.grad + gradient
        return float(loss.detach())

    def scores(self, alpha: Tensor, z: Tensor, masks: Tensor, inserted: Tensor) -> Tensor:
        """[n]: the mean score of the class in each block, with units blended with k where inserted, else with 0."""
        renderer = self._renderer
        blocks = masks[:, None].to(renderer.device)
        value = (self._level * inserted[:, None].float())[:, :, None, None].to(renderer.device)
        edit = Edit(torch.arange(renderer.num_units))
        with (
            torch.enable_grad(),
            insert(
                renderer.generator, renderer.layer, edit.units, value=value, alpha=alpha, mask=blocks,
                layout=renderer.layout,
            ),
        ):  # fmt: skip
            images = renderer.render(z)
            scores: Tensor = self._counter.segmenter.scores(images, self._counter.label)  # type: ignore[attr-defined]
        if not isinstance(scores, Tensor) or scores.ndim != 3 or len(scores) != len(z):
            got = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ValueError(f"{renderer.who}: scores of segmenter must be [N, H, W] with N={len(z)}, but are {got}.")
        inside = enlarged(blocks[:, 0], scores.shape[1:])
        return (scores * inside).flatten(1).sum(1) / inside.flatten(1).sum(1)


def _checked_iou(who: str, iou: Tensor, num_units: int) -> Tensor:
    """[U] float64.

    Raises:
        TypeError, ValueError: no IoU per unit.
    """
    if not isinstance(iou, Tensor) or iou.shape != (num_units,):
        got = list(iou.shape) if isinstance(iou, Tensor) else type(iou).__name__
        raise TypeError(f"{who}: iou must have shape [U] with U={num_units}, but got {got}; class_iou gives it.")
    if not bool(((iou >= 0) & (iou <= 1)).all()):
        raise ValueError(f"{who}: iou must lie in [0, 1], but does not.")
    return iou.detach().double().cpu()
