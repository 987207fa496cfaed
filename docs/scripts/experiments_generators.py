"""Writes docs/experiments_generators.md and its pictures: what the units of the embedded generators do.

``python docs/scripts/experiments_generators.py --work build/generators`` from the root of the sources. What was
measured is kept in the folder --work and is not measured again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from experiments_generators_page import page
from pages import command_line, folder
from torch import Tensor

import dissect
from dissect import generators, plots
from dissect.files.results import Result
from dissect.models import StyleGAN2
from dissect.tiny import generator, segmenter

LAYER = "layer4"
#: Seeds of z: of thresholds and IoU, of the optimisation, effects, contexts, traces. No two samples share a z.
IOU, OPTIMISED, EFFECTS, CONTEXTS, TRACES = 1, 10, 3, 4, 5
#: How many z there are of each, for the first generator and for the second.
SAMPLES = {IOU: 256, OPTIMISED: 256, EFFECTS: 128, CONTEXTS: 144, TRACES: 48}
STYLE_SAMPLES = {IOU: 256, OPTIMISED: 128, EFFECTS: 128, CONTEXTS: 36, TRACES: 24}
EPOCHS = 20
#: Insertions that a context needs to be shown: as in the papers, and where there are fewer z.
LEAST, LESS = 1000, 200
#: Where units are set whose effect is traced: None is everywhere.
PLACES: Tensor | None = None
#: What goes, what is hard to put in, and what else is looked at.
TREE, DOOR = "object/tree", "part/door"
CLASSES = (TREE, "object/skyscraper", "object/house", "object/tram", "part/window", DOOR)
COUNT = 20
#: Random sets of as many units beside each.
DRAWS = 3
#: What is inserted: the class, rows and columns of cells, of how many of the z: one of so many.
INSERTED = {"tree-3x3": (TREE, 3, 1), "tree-1x1": (TREE, 1, 4), "door-3x3": (DOOR, 3, 3)}
TRACED = {"tree-3x3": (TREE, 3, 1), "tree-1x1": (TREE, 1, 2), "door-3x3": (DOOR, 3, 2)}
R = TypeVar("R", bound=Result)


class Measured:
    """Results in a folder; what is not there is measured, and how long that took is written beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, name: str, kind: type[R], measure: Callable[[], R]) -> R:
        """A result by name."""
        path = self._folder / f"{name}{kind.suffix}"
        if not path.exists():
            begin = time.process_time()
            measure().save(path)
            (self._folder / f"{name}.seconds").write_text(f"{time.process_time() - begin:.0f}")
            print(f"{name}: {self.seconds(name):.0f} seconds", flush=True)
        return kind.load(path)

    def seconds(self, *names: str) -> float:
        """Seconds of processor time that the measurements of these names took."""
        found = [path for name in names for path in self._folder.glob(f"{name}.seconds")]
        return sum(float(path.read_text()) for path in found)


class Studied(NamedTuple):
    """A generator, and all that its measurements share.

    Attributes:
        prefix: of the names of its measurements.
        model: from z to images.
        samples: how many z there are of each seed.
        seen: two segmentation networks.
        measured: keeps what was measured.
    """

    prefix: str
    model: Any
    samples: dict[int, int]
    seen: list[Any]
    measured: Measured

    def z(self, seed: int, part: int = 1) -> Any:
        """The z of a sample, or one of so many; with noise seeds where the generator has noise."""
        count = self.samples[seed] // part
        z = dissect.latents(self.model, count, seed=seed)
        return (z, dissect.noise_seeds(count, seed=seed)) if isinstance(self.model, StyleGAN2) else z

    def get(self, name: str, kind: type[R], function: Callable[..., R], *args: Any, **options: Any) -> R:
        """What a function finds at the layer."""
        return self.measured(self.prefix + name, kind, partial(function, self.model, LAYER, *args, **options))


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and writes the page."""
    parser = command_line(__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/generators"), help="folder for what takes long")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    measured, seen = Measured(options.work), [segmenter(seed, signed=True) for seed in (0, 1)]
    street = Studied("", generator(), SAMPLES, seen, measured)
    style = Studied("style-", generator("stylegan2-street-watermark"), STYLE_SAMPLES, seen, measured)
    found = {"style": _found(style, ("tree-3x3",), (3,)), "street": _found(street, tuple(INSERTED), (3, 1))}
    pictures = folder(options.out, "experiments_generators")
    for it, its in ((street, found["street"]), (style, found["style"])):
        _draw(it, its, pictures)
    (options.out / "experiments_generators.md").write_text(page(found, measured.seconds("*") / 60))


def _found(it: Studied, inserted: Sequence[str], blocks: Sequence[int]) -> dict[str, Any]:
    """All that is measured of a generator: classes that are inserted, and blocks of the optimisation."""
    options = {"segmenter": it.seen[0], "segment": "output", "decoys": 0, "resamples": 0}
    d = it.get("iou", dissect.Dissection, dissect.dissect, it.z(IOU), **options)
    ranked = {concept: generators.units_by_iou(d, LAYER, concept) for concept in CLASSES}
    effects = [
        _effect(it, f"effect-{concept.replace('/', '-')}", ranked[concept][:COUNT], concept) for concept in ranked
    ]
    found = {"samples": it.samples, "count": COUNT, "ranked": ranked, "dissection": d, "effects": effects}
    found["few"] = _effect(it, "tree-5", ranked[TREE][:5], TREE)
    found |= _curves(it, ranked[TREE], generators.class_iou(d, LAYER, TREE), blocks)
    found["traces"] = {name: _trace(it, ranked, name) for name in inserted}
    return found | {"contexts": {name: _context(it, ranked, name) for name in inserted[::-1]}}


def _effect(it: Studied, name: str, units: Tensor, concept: str) -> generators.Effect:
    options = {"second": it.seen[1], "draws": DRAWS}
    return it.get(
        name, generators.Effect, generators.removed_share, units, it.z(EFFECTS), it.seen[0], concept, **options
    )


def _curves(it: Studied, tree: Tensor, iou: Tensor, blocks: Sequence[int]) -> dict[str, Any]:
    found, orders = {}, {"IoU": tree[:30]}
    for block in blocks:
        options = {"iou": iou, "block": block, "epochs": EPOCHS}
        search = (generators.causal_units, TREE, it.z(OPTIMISED), it.seen[0], 30)
        found[block] = it.get(f"ace-{block}", generators.CausalUnits, *search, **options)
        orders["ACE, one cell" if block == 1 else f"ACE, {block}x{block} cells"] = found[block]
    measure = (generators.removal_curves, orders, it.z(EFFECTS), it.seen[0], TREE)
    return {"ace": found, "curves": it.get("curves", generators.RemovalCurves, *measure, draws=1)}


def _context(it: Studied, ranked: dict[str, Tensor], name: str) -> generators.InsertionContext:
    concept, block, part = INSERTED[name]
    least = LEAST if it.samples[CONTEXTS] // part >= SAMPLES[CONTEXTS] else LESS
    options = {"block": block, "least": least, "second": it.seen[1]}
    insert = (generators.insertion_context, ranked[concept][:COUNT], it.z(CONTEXTS, part), it.seen[0], concept)
    return it.get(f"context-{name}", generators.InsertionContext, *insert, **options)


def _trace(it: Studied, ranked: dict[str, Tensor], name: str) -> generators.EffectTrace:
    concept, block, part = TRACED[name]
    options = {"segmenter": it.seen[0], "concept": concept, "block": block, "cells": PLACES}
    trace = (generators.trace_effect, ranked[concept][:COUNT], it.z(TRACES, part))
    return it.get(f"trace-{name}", generators.EffectTrace, *trace, **options)


def _draw(it: Studied, found: dict[str, Any], out: Path) -> None:
    """Draws the pictures of a generator."""
    plots.save(found["curves"].plot(), out / f"{it.prefix}curves.png")
    for name, context in found["contexts"].items():
        plots.save(context.plot(), out / f"{it.prefix}{name}.png")
    trace = found["traces"]["tree-3x3"]
    plots.save(trace.plot(trace.layers[-2]), out / f"{it.prefix}trace.png")
    _trees(it, found["few"], found["ranked"][TREE], out / f"{it.prefix}trees.png")


def _trees(it: Studied, few: generators.Effect, ranked: Tensor, path: Path) -> None:
    """Draws the images that show most of a class, as they are and without its units."""
    z, chosen = it.z(EFFECTS), few.before[:, few.label].sort(descending=True, stable=True).indices[:8]
    make = partial(it.model, z[0][chosen], noise=z[1][chosen]) if isinstance(z, tuple) else partial(it.model, z[chosen])
    rows = []
    with torch.no_grad():
        rows.append(make())
        for count in (5, COUNT):
            with dissect.ablate(it.model, LAYER, ranked[:count]):
                rows.append(make())
    pictures = [[image.add(1).div(2).clamp(0, 1) for image in row] for row in rows]
    titles = ["as generated", "without 5 units", f"without {COUNT}"]  # longer ones would widen the first column
    with plots.drawing():
        figure = plots.new_figure(8.0, 3.6)
        plots.tiles(figure, pictures, titles)
    plots.save(figure, path)


if __name__ == "__main__":
    main()
