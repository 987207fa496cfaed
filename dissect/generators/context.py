"""Where units can be put in: a class's units inserted everywhere in many images, by what was there before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dissect.arguments import integer, speaks
from dissect.devices import checksum
from dissect.files.checked import Array
from dissect.generators.context_result import InsertionContext
from dissect.generators.counting import Concept, Counter, Segmenting
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
from dissect.generators.regions import Region, block_masks, checked_block
from dissect.generators.rendering import Latents, Renderer, UnitEdit
from dissect.network.layouts import LayoutOption
from dissect.network.units import Units
from dissect.stats.bootstrap import enough_draws

#: Insertions below this are too few for a row.
LEAST = 1000


@speaks
def insertion_context(
    generator: nn.Module,
    layer: str,
    units: Units,
    z: Latents,
    segmenter: Segmenting,
    concept: Concept,
    *,
    value: Tensor | float | None = None,
    block: int = 1,
    least: int = LEAST,
    second: Segmenting | None = None,
    draws: int = 1,
    seed: int = 0,
    resamples: int = RESAMPLES,
    batch_size: int = 32,
    layout: LayoutOption | None = None,
    resume: str | Path | None = None,
    progress: bool = True,
) -> InsertionContext:
    """Inserts a class's units at every place of many images, and counts what is new by what was there before.

    The units are set to a level in one block of cells of the layer's map, at each place where such a block fits, of
    each z in turn. One cell is what the papers insert; in small generators it may do next to nothing, where a block of
    3x3 does.

    Args:
        generator: see `effect`.
        layer: see `effect`.
        units: see `effect`.
        z: see `effect`; there are as many images for each as there are places.
        segmenter: see `effect`.
        concept: the class that the units belong to.
        value: the level: a number or [U], all units of the layer; the thresholds of a dissection are PNAS' level. By
            default the mean of each unit where the class is (thesis, A.4), see `effect`.
        block: rows and columns of a block.
        least: samples that a context needs to be shown; the others are named.
        second: another segmenter, which counts the same insertions; contexts are what the first one sees.
        draws: how many draws of as many random units of the layer are inserted too, each unit at its own level; each
            draw takes as long as the units.
        seed: of random units and intervals.
        resamples: see `effect`.
        batch_size: see `effect`.
        layout: see `effect`.
        resume: see `effect`.
        progress: show a bar.

    Returns:
        An `InsertionContext`.

    Raises:
        KeyError, TypeError, ValueError: see `effect`.

    Warns:
        UserWarning: units that `causal_units` chose on some of these z.

    Example:
        >>> from dissect import generators, tiny
        >>> street, z = tiny.generator(), dissect.latents(tiny.generator(), 2, seed=3)
        >>> found = insertion_context(
        ...     street, "layer2", [4, 20], z, tiny.segmenter(signed=True), "object/sky", value=2.0, block=3, least=4,
        ...     progress=False,
        ... )
        >>> found.map.shape, found.changes.shape
        (torch.Size([2, 2]), torch.Size([2, 4]))
    """
    for name, number in {"draws": draws, "seed": seed}.items():
        integer(name, number, 0)
    enough_draws(resamples)
    least = integer("least", least)
    counters = counters_of(segmenter, second, concept)
    renderer = Renderer(generator, layer, z, segmenter, integer("batch_size", batch_size), layout)
    chosen, block = renderer.units(units), checked_block(block, renderer.map_size)
    levels = given_value(value, renderer.num_units)
    warn_of_shared(units, renderer)
    random = random_units(renderer.num_units, len(chosen), draws, seed)
    seen, places = _insertions(renderer, counters, [chosen, *random], levels, block)
    about: dict[str, Any] = {"value": None if levels is None else checksum(levels).tolist(), "draws": draws}
    about |= {"function": "insertion_context", "units": chosen.tolist(), "block": block, "seed": seed}
    observe(seen, renderer, counters, about, resume, progress)
    settings = settings_of(renderer, seed, resamples, value)
    found = [_changes(seen, at, counter.label) for at, counter in enumerate(counters)]
    (before, changes), (second_before, second_changes) = found[0], found[-1]
    return InsertionContext(
        layer, tuple(chosen.tolist()), renderer.num_units, counters[0].concepts, counters[0].label,
        seen.sizes[0][0] * seen.sizes[0][1], block, places, before, changes[0],
        seen.extra, least, renderer.keys(), settings, random if draws else None, changes[1:] if draws else None,
        None if second is None else second_before, None if second is None else second_changes[0],
    )  # fmt: skip


def _insertions(
    renderer: Renderer, counters: list[Counter], sets: list[Tensor], levels: Tensor | None, block: int
) -> tuple[ObservationRun, tuple[int, int]]:
    """Each set of units, in this order, at each place; and rows and columns of places."""
    (h, w) = renderer.map_size
    places = (h - block + 1, w - block + 1)
    firsts = torch.cartesian_prod(*map(torch.arange, places))

    def at_centres(planes: Tensor) -> Tensor:
        height, width = planes.shape[2:]
        rows, columns = ((firsts[:, axis] * 2 + block) * size // (2 * length)
                         for axis, size, length in ((0, height, h), (1, width, w)))  # fmt: skip
        return planes[:, :, rows.to(planes.device), columns.to(planes.device)].int()

    def choose(seen: ObservationRun) -> list[UnitEdit]:
        level = seen.inserted(levels)
        return [UnitEdit(units, level, mask) for units in sets for mask in block_masks(firsts, block, (h, w))]

    rule = Array(torch.int32, f"N L {len(firsts)}", 0, len(counters[0].concepts) - 1)
    return ObservationRun(renderer, counters, Region("everywhere", None), choose, at_centres, rule), places


def _changes(seen: ObservationRun, at: int, label: int) -> tuple[Tensor, Tensor]:
    """[N] pixels of the class by one of the segmenters, and [S, N, P] how many more there are for each set of units."""
    before = seen.counts[at][:, label]
    own = seen.own[at].unflatten(0, (-1, seen.extra.shape[2]))
    return before, (own - before).transpose(1, 2).int().contiguous()
