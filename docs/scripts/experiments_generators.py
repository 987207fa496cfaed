"""Writes docs/experiments_generators.md and its pictures: what the units of the embedded generators do.

``python docs/scripts/experiments_generators.py --work build/generators`` from the root of the sources. What was
measured is kept in the folder --work and is not measured again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from experiments_generators_page import page
from pages import command_line, folder
from torch import Tensor

import dissect
from dissect import generators, plots
from dissect.files.results import Result
from dissect.tiny import generator, segmenter

LAYER = "layer4"
#: Seeds of z: of thresholds and IoU, of the optimisation, effects, contexts, traces. No two samples share a z.
IOU, OPTIMISED, EFFECTS, CONTEXTS, TRACES = 1, 10, 3, 4, 5
#: How many z there are of each.
SAMPLES = {IOU: 256, OPTIMISED: 256, EFFECTS: 128, CONTEXTS: 272, TRACES: 48}
EPOCHS = 20
#: Insertions that a context needs to be shown: as in the papers, and where there are fewer z; and how many these are.
LEAST, LESS, FEWER = 1000, 200, 96
#: Where units are set whose effect is traced: None is everywhere.
PLACES: Tensor | None = None
#: What goes, what is hard to put in, and what else is looked at.
TREE, DOOR = "object/tree", "part/door"
CLASSES = (TREE, "object/skyscraper", "object/house", "object/tram", "part/window", DOOR)
COUNT = 20
#: Random sets of as many units beside each.
DRAWS = 3
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and writes the page."""
    parser = command_line(__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/generators"), help="folder for what takes long")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    measured, street = Measured(options.work), generator()
    seen = [segmenter(seed, signed=True) for seed in (0, 1)]
    found: dict[str, Any] = {"samples": SAMPLES, "count": COUNT}
    d = _dissection(measured, "iou", street, seen[0], z_of(street, IOU))
    ranked = {concept: generators.units_by_iou(d, LAYER, concept) for concept in CLASSES}
    found |= _effects(measured, street, seen, ranked)
    found |= _curves(measured, street, seen[0], ranked[TREE], generators.class_iou(d, LAYER, TREE))
    found |= _contexts(measured, street, seen[0], ranked)
    found["traces"] = _traces(measured, street, seen[0], ranked)
    style = generator("stylegan2-street-watermark")
    first, others = ((z_of(style, seed), dissect.noise_seeds(SAMPLES[seed], seed=seed)) for seed in (IOU, EFFECTS))
    units = generators.units_by_iou(_dissection(measured, "iou-style", style, seen[0], first), LAYER, TREE)[:COUNT]
    found["style"] = _effect(measured, "effect-style", style, seen, units, others, TREE)
    _draw(found, street, ranked[TREE], folder(options.out, "experiments_generators"))
    (options.out / "experiments_generators.md").write_text(page(found, measured.seconds("*") / 60))


def z_of(model: Any, seed: int, count: int = 0) -> Tensor:
    """The z of a sample."""
    return dissect.latents(model, count or SAMPLES[seed], seed=seed)


def _dissection(measured: Measured, name: str, model: Any, seen: Any, z: Any) -> dissect.Dissection:
    options = {"segmenter": seen, "segment": "output", "decoys": 0, "resamples": 0}
    return measured(name, dissect.Dissection, partial(dissect.dissect, model, LAYER, z, **options))


def _effect(measured: Measured, name: str, model: Any, seen: Any, units: Any, z: Any, concept: str) -> Any:
    options = {"second": seen[1], "draws": DRAWS}
    measure = partial(generators.removed_share, model, LAYER, units, z, seen[0], concept, **options)
    return measured(name, generators.Effect, measure)


def _effects(measured: Measured, street: Any, seen: Any, ranked: dict[str, Tensor]) -> dict[str, Any]:
    z = z_of(street, EFFECTS)
    few = _effect(measured, "tree-5", street, seen, ranked[TREE][:5], z, TREE)
    names = {concept: f"effect-{concept.replace('/', '-')}" for concept in ranked}
    return {
        "few": few,
        "effects": [
            _effect(measured, names[concept], street, seen, units[:COUNT], z, concept)
            for concept, units in ranked.items()
        ],
    }


def _curves(measured: Measured, street: Any, seen: Any, tree: Tensor, iou: Tensor) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for block in (3, 1):
        options = {"iou": iou, "block": block, "epochs": EPOCHS}
        search = partial(generators.causal_units, street, LAYER, TREE, z_of(street, OPTIMISED), seen, 30, **options)
        found[f"ace-{block}"] = measured(f"ace-{block}", generators.CausalUnits, search)
    orders = {"IoU": tree[:30], "ACE, 3x3 cells": found["ace-3"], "ACE, one cell": found["ace-1"]}
    measure = partial(generators.removal_curves, street, LAYER, orders, z_of(street, EFFECTS), seen, TREE, draws=1)
    return found | {"curves": measured("curves", generators.RemovalCurves, measure)}


def _contexts(measured: Measured, street: Any, seen: Any, ranked: dict[str, Tensor]) -> dict[str, Any]:
    found = {}
    for name, concept, block, count, least in (
        ("tree-3x3", TREE, 3, SAMPLES[CONTEXTS], LEAST),
        ("tree-1x1", TREE, 1, FEWER // 2, LESS),
        ("door-3x3", DOOR, 3, FEWER, LESS),
    ):
        options = {"block": block, "least": least}
        units, z = ranked[concept][:COUNT], z_of(street, CONTEXTS, count)
        measure = partial(generators.insertion_context, street, LAYER, units, z, seen, concept, **options)
        found[name] = measured(f"context-{name}", generators.InsertionContext, measure)
    return found


def _traces(measured: Measured, street: Any, seen: Any, ranked: dict[str, Tensor]) -> dict[str, Any]:
    found = {}
    for name, concept, block, part in (("tree-3x3", TREE, 3, 1), ("tree-1x1", TREE, 1, 2), ("door-3x3", DOOR, 3, 2)):
        z, options = z_of(street, TRACES, SAMPLES[TRACES] // part), {"segmenter": seen, "concept": concept}
        options |= {"block": block, "cells": PLACES}
        measure = partial(generators.trace_effect, street, LAYER, ranked[concept][:COUNT], z, **options)
        found[name] = measured(f"trace-{name}", generators.EffectTrace, measure)
    return found


def _draw(found: dict[str, Any], street: Any, units: Tensor, out: Path) -> None:
    """Draws the pictures."""
    plots.save(found["curves"].plot(), out / "curves.png")
    for name in ("tree-3x3", "tree-1x1", "door-3x3"):
        plots.save(found[name].plot(), out / f"{name}.png")
    trace = found["traces"]["tree-3x3"]
    plots.save(trace.plot(trace.layers[-2]), out / "trace.png")
    z = z_of(street, EFFECTS)
    chosen = found["few"].before[:, found["few"].label].sort(descending=True, stable=True).indices[:8]
    rows = []
    with torch.no_grad():
        rows.append(street(z[chosen]))
        for count in (5, 20):
            with dissect.ablate(street, LAYER, units[:count]):
                rows.append(street(z[chosen]))
    pictures = [[image.add(1).div(2).clamp(0, 1) for image in row] for row in rows]
    titles = ["as generated", "without 5 units", "without 20"]  # longer ones would widen the first column
    with plots.drawing():
        figure = plots.new_figure(8.0, 3.6)
        plots.tiles(figure, pictures, titles)
    plots.save(figure, out / "trees.png")


if __name__ == "__main__":
    main()
