"""Measures what sets of units do in a generator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dissect.arguments import integer, refusal, speaks
from dissect.devices import checksum
from dissect.generators.counting import Concept, Counter, Segmenting
from dissect.generators.effect import MODES, Effect, EffectMode
from dissect.generators.intervals import RESAMPLES
from dissect.generators.observing import (
    ObservationRun,
    counters_of,
    given_value,
    observe,
    random_units,
    settings_of,
    warn_of_shared,
)
from dissect.generators.regions import Cells, Region
from dissect.generators.rendering import Latents, Renderer, UnitEdit
from dissect.network.layouts import LayoutOption
from dissect.network.units import Units
from dissect.stats.bootstrap import enough_draws


@speaks
def removed_share(
    generator: nn.Module,
    layer: str,
    units: Units,
    z: Latents,
    segmenter: Segmenting,
    concept: Concept,
    *,
    second: Segmenting | None = None,
    value: Tensor | float | None = None,
    draws: int = 5,
    seed: int = 0,
    resamples: int = RESAMPLES,
    batch_size: int = 32,
    layout: LayoutOption | None = None,
    resume: str | Path | None = None,
    progress: bool = True,
) -> Effect:
    """The share of a class's pixels that is gone when units are ablated everywhere (thesis, Fig. 4-9).

    `effect` with mode "ablation", whose arguments, results and errors these are.

    Example:
        >>> from dissect import generators, tiny
        >>> street, z = tiny.generator(), dissect.latents(tiny.generator(), 4, seed=3)
        >>> tree_units = [4, 20, 42]
        >>> found = generators.removed_share(
        ...     street, "layer4", tree_units, z, tiny.segmenter(signed=True), "object/tree", draws=1, progress=False
        ... )
        >>> found.removed <= 1, found.concept, found.before.shape[0]
        (True, 'tree', 4)
    """
    return effect(
        generator, layer, units, z, segmenter, concept, second=second, value=value, draws=draws, seed=seed,
        resamples=resamples, batch_size=batch_size, layout=layout, resume=resume,
        progress=progress,
    )  # fmt: skip


@speaks
def effect(
    generator: nn.Module,
    layer: str,
    units: Units,
    z: Latents,
    segmenter: Segmenting,
    concept: Concept,
    *,
    mode: EffectMode = "ablation",
    cells: Cells = None,
    block: int = 1,
    value: Tensor | float | None = None,
    second: Segmenting | None = None,
    draws: int = 5,
    seed: int = 0,
    resamples: int = RESAMPLES,
    batch_size: int = 32,
    layout: LayoutOption | None = None,
    resume: str | Path | None = None,
    progress: bool = True,
) -> Effect:
    """Ablates or inserts units of a generator's layer and measures every class (thesis, section 4.3.2, eq. 4.3, 4.4).

    The generator's own images are made first. Beside the edit that `mode` says, the opposite one is made, at the same
    cells, for the average causal effect; and as many units, drawn from all of the layer's, are edited as a control.

    Args:
        generator: from z to images [N, 3, H, W] in [-1, 1], in evaluation mode.
        layer: a name as in ``generator.named_modules()``.
        units: numbers of the units, or what `causal_units` gave.
        z: [N, ...], or (z, noise seeds [N]); others than those that chose the units.
        segmenter: from images to label planes, with an attribute `concepts`.
        concept: the class: a label number, a name, or "category/name".
        mode: "ablation": units are 0; "insertion": they are `value`.
        cells: where: None is everywhere; "uniform" one block of cells per z, all equally likely; or [N, 2] int64, the
            row and column of the first cell of each z's block.
        block: rows and columns of a block, in cells of the layer's map.
        value: k, the level that inserted units are set to: a number or [U], all units of the layer. By default the
            mean of each unit where the class is, weighted by how much of a cell it covers (thesis, A.4); that of every
            second z is used for the others, so that no z meets a value that was made from it.
        second: another segmenter, which tells what may be the first one's own doing.
        draws: how many draws of random units.
        seed: of random units, cells, and intervals.
        resamples: how often z are drawn again for intervals, twice at least; 0 for none.
        batch_size: images at a time.
        layout: where units are in the layer's output, if that is not certain; see `dissect.ablate`.
        resume: a folder for what an interrupted run needs to go on, see `dissect.dissect`.
        progress: show a bar.

    Returns:
        An `Effect`.

    Raises:
        KeyError: a layer or a class that is not there.
        TypeError, ValueError: see the rules above; images that are none, certainly outside [-1, 1] or NaN (names the
            batch); a class that the segmenter finds in no image of these z (told before any edit); an insertion whose
            value is not given and cannot be told from so few z; a folder to resume from that holds another run.

    Warns:
        UserWarning: units that `causal_units` chose on some of these z; images that are likely in another range.

    Example:
        >>> from dissect import generators, tiny
        >>> street, z = tiny.generator(), dissect.latents(tiny.generator(), 4, seed=3)
        >>> found = generators.effect(
        ...     street, "layer4", [4, 20], z, tiny.segmenter(signed=True), "object/tree",
        ...     mode="insertion", value=2.0, cells="uniform", block=3, draws=1, progress=False,
        ... )
        >>> found.at_cells.shape
        torch.Size([3, 4])
    """
    if mode not in MODES:
        raise refusal(ValueError(f"mode must be one of {MODES}, but got {mode!r}."))
    for name, number in {"draws": draws, "seed": seed}.items():
        integer(name, number, 0)
    enough_draws(resamples)
    batch_size = integer("batch_size", batch_size)
    counters = counters_of(segmenter, second, concept)
    renderer = Renderer(generator, layer, z, segmenter, batch_size, layout)
    chosen = renderer.units(units)
    warn_of_shared(units, renderer)
    region, levels = Region.of(renderer, cells, block, seed), given_value(value, renderer.num_units)
    random = random_units(renderer.num_units, len(chosen), draws, seed)
    seen = ObservationRun(
        renderer, counters, region, lambda seen: _edits(seen, [chosen, *random], mode, levels, region.mask)
    )
    sums = {"cells": region.mask, "value": levels}
    about: dict[str, Any] = {name: None if given is None else checksum(given).tolist() for name, given in sums.items()}
    about |= {"function": "effect", "units": chosen.tolist(), "mode": mode, "draws": draws, "seed": seed}
    observe(seen, renderer, counters, about, resume, progress)
    settings = settings_of(renderer, seed, resamples, value) | {"cells": region.name, "block": block}
    results = [_effect(renderer, counters[at], seen, at, chosen, random, mode, settings) for at in range(len(counters))]
    if second is not None:
        results[0].second = results[1]
    return results[0]


def _edits(
    seen: ObservationRun, sets: list[Tensor], mode: EffectMode, levels: Tensor | None, mask: Tensor | None
) -> list[UnitEdit]:
    """Each set edited as `mode` says, and where the level is known, the first the other way; at the cells of a mask."""
    known = seen.inserted(levels) if mode == "insertion" else seen.cross_value() if levels is None else levels
    values: dict[EffectMode, Tensor | float | None] = {"ablation": 0.0, "insertion": known}
    opposite = MODES[1 - MODES.index(mode)]
    wanted = [*((units, values[mode]) for units in sets), (sets[0], values[opposite])]
    return [UnitEdit(units, level, mask) for units, level in wanted if level is not None]


def _effect(
    renderer: Renderer, counter: Counter, seen: ObservationRun, at: int, chosen: Tensor, random: Tensor,
    mode: EffectMode, settings: dict[str, Any],
) -> Effect:  # fmt: skip
    """The effect by one of the segmenters."""
    drawn = slice(1, 1 + len(random))
    both = len(seen.own[at]) > drawn.stop  # the opposite edit was made too
    pair = [seen.at_cells[at][edit] for edit in (0, -1)]
    halves = [seen.own_cells[at], *(pair if mode == "insertion" else pair[::-1])]
    return Effect(
        renderer.layer, tuple(chosen.tolist()), renderer.num_units, mode, counter.concepts, counter.label,
        seen.sizes[at][0] * seen.sizes[at][1], seen.counts[at], seen.first[at],
        torch.stack(halves) if both else torch.empty(3, 0, dtype=torch.int64),
        random, seen.own[at][drawn], seen.totals[at][drawn], renderer.keys(), settings,
    )  # fmt: skip
