"""The units that a class depends on most: the average causal effect, optimised over all units at once."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from dissect.arguments import integer, refusal, seed_number, speaks
from dissect.devices import checksum
from dissect.files.checked import Array
from dissect.generators.causal_result import FORMS, CausalForm, CausalUnits
from dissect.generators.counting import Concept, Counter, Segmenting
from dissect.generators.descent import Descent, Options
from dissect.generators.observing import ObservationRun, given_value, observe
from dissect.generators.places import PlacesRun
from dissect.generators.ranking import SampleIou
from dissect.generators.regions import Region, checked_block
from dissect.generators.rendering import Latents, Renderer
from dissect.generators.search import InTurn
from dissect.network.identity import fingerprint
from dissect.network.layouts import LayoutOption


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
    form: CausalForm = "published",
    epochs: int = 10,
    learning_rate: float = 0.01,
    weight: float = 0.005,
    seed: int = 0,
    batch_size: int = 32,
    layout: LayoutOption | None = None,
    resume: str | Path | None = None,
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

    Each step renders whole images: its places are of z in random order, and what lies before the layer is little of a
    step (0.7 % of the embedded generator's at layer4, 11 % at layer8), so that it is not kept per z.

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
        resume: see `effect`; a run goes on in the middle of the optimisation too, and gives the same bits.
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
    _check_scores(segmenter)
    counter = Counter(segmenter, concept)
    renderer = Renderer(generator, layer, z, segmenter, integer("batch_size", batch_size), layout)
    count, seed = integer("count", count), seed_number(seed)
    if count > renderer.num_units:
        raise refusal(
            ValueError(f"count must be at most {renderer.num_units}, the units of {layer!r}, but got {count}.")
        )
    block = checked_block(block, renderer.map_size)
    options = _options(Options(block, form, epochs, learning_rate, weight))
    given = {
        "iou": None if iou is None else _checked_iou(iou, renderer.num_units),
        "value": given_value(value, renderer.num_units),
    }
    search = _search(renderer, counter, options, given, seed)
    about: dict[str, Any] = {name: None if known is None else checksum(known).tolist() for name, known in given.items()}
    about |= {"function": "causal_units", **options._asdict(), "seed": seed}
    observe(search, renderer, [counter], about, resume, progress)
    found: Any = search.runs
    settings = {
        "seed": seed, **options._asdict(), "batch_size": renderer.batch_size,
        "iou": "given" if iou is not None else "measured",
        "value": "given" if value is not None else "means where the class is", "generator": type(generator).__name__,
        "fingerprint": fingerprint(generator),
    }  # fmt: skip
    return _result(renderer, counter, count, found, settings)


def _check_scores(segmenter: Segmenting) -> None:
    """Refuses a segmenter without scores.

    Raises:
        TypeError: says which has them.
    """
    if not callable(getattr(segmenter, "scores", None)):
        raise refusal(
            TypeError(
                "segmenter must have a method scores(images, concept) that gradients go through, but "
                f"{type(segmenter).__name__} has none; dissect.segmentation.Segmenter has one, and units_by_iou needs "
                "none."
            )
        )


def _options(given: Options) -> Options:
    """How alpha is optimised, in Python's own numbers.

    Raises:
        TypeError, ValueError: what there is not.
    """
    if given.form not in FORMS:
        raise refusal(ValueError(f"form must be one of {FORMS}, but got {given.form!r}."))
    for name in ("learning_rate", "weight"):
        number = getattr(given, name)
        if not 0 <= number < float("inf"):
            raise refusal(ValueError(f"{name} must be a finite number from 0 on, but got {number}."))
    rate, weight = float(given.learning_rate), float(given.weight)
    return given._replace(epochs=integer("epochs", given.epochs), learning_rate=rate, weight=weight)


def _search(
    renderer: Renderer, counter: Counter, options: Options, given: dict[str, Tensor | None], seed: int
) -> InTurn:
    """Looks at the generator's own images, tries places, measures IoU, and optimises."""
    chance = torch.Generator().manual_seed(seed)  # of places, then of their order

    def level(base: ObservationRun) -> Tensor:
        return base.value() if given["value"] is None else given["value"]

    def look() -> ObservationRun:
        blocks = partial(_blocks, counter, renderer.map_size, options.block)
        height, width = (size - options.block + 1 for size in renderer.map_size)
        rule = Array(torch.float32, f"N {height} {width}", 0, 1)
        return ObservationRun(renderer, [counter], Region("everywhere", None), lambda _: [], blocks, rule)

    def tried(base: ObservationRun) -> PlacesRun:
        return PlacesRun(renderer, counter, base.extra, level(base), options.block, chance)

    def ranked(base: ObservationRun, places: PlacesRun) -> SampleIou:
        return SampleIou(renderer, counter, base.sizes[0], given["iou"])

    def optimised(base: ObservationRun, places: PlacesRun, scores: SampleIou) -> Descent:
        return Descent(renderer, counter, places, level(base), _start(scores), options, chance)

    return InTurn(look, tried, ranked, optimised)


def _blocks(counter: Counter, size: tuple[int, int], block: int, planes: Tensor) -> Tensor:
    """[N, h', w'] of each block's pixels the share that shows the class."""
    return avg_pool2d(counter.presence(planes, size), block, 1)


def _start(scores: SampleIou) -> Tensor:
    """[U] float32: IoU / max IoU."""
    iou = scores.known_iou()
    return (iou / iou.max()).float() if float(iou.max()) > 0 else torch.zeros(len(iou))


def _result(
    renderer: Renderer, counter: Counter, count: int, found: tuple[ObservationRun, PlacesRun, SampleIou, Descent],
    settings: dict[str, Any],
) -> CausalUnits:  # fmt: skip
    _, places, scores, descent = found
    gone, new = (torch.cat([part.z[:, None], part.firsts], 1) for part in (places.removals, places.insertions))
    losses = torch.tensor(descent.losses, dtype=torch.float64)
    return CausalUnits(
        renderer.layer, counter.name, count, descent.alpha.detach().cpu(), _start(scores), scores.known_iou().double(),
        descent.level, losses, gone, new, renderer.keys(), settings,
    )  # fmt: skip


def _checked_iou(iou: Tensor, num_units: int) -> Tensor:
    """[U] float64.

    Raises:
        TypeError, ValueError: no IoU per unit.
    """
    if not isinstance(iou, Tensor) or iou.shape != (num_units,):
        got = list(iou.shape) if isinstance(iou, Tensor) else type(iou).__name__
        raise refusal(TypeError(f"iou must have shape [U] with U={num_units}, but got {got}; class_iou gives it."))
    if not bool(((iou >= 0) & (iou <= 1)).all()):
        raise refusal(ValueError("iou must lie in [0, 1], but does not."))
    return iou.detach().double().cpu()
