"""Writes docs/experiments.md and its pictures: what classes lose without units, in the embedded network.

``python docs/scripts/experiments_classifier.py --work build/experiments`` from the root of the sources. What it
computes is kept in the folder --work, from which an interrupted run goes on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from experiments_classifier_page import page
from pages import command_line, folder

import dissect
from dissect.classifiers import plots
from dissect.plots import save
from dissect.tiny import TinyScenes, vgg

LAYER = "features.conv5_3"
#: 0.8, 3.9, 50 and 96.1 % of 192 units, and more for the curves.
COUNTS = (1, 2, 4, 7, 15, 30, 60, 96, 130, 160, 177, 185, 190)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and writes the page."""
    parser = command_line(__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/experiments"), help="folder for what takes long")
    parser.add_argument("--images", type=int, default=30, help="scenes of each class and split (30; all: 200)")
    options = parser.parse_args(arguments)
    model = vgg().to(memory_format=torch.channels_last)
    scenes = {
        split: TinyScenes(split, count=options.images * len(TinyScenes.classes), target="class")
        for split in ("train", "val")
    }
    begin = time.process_time()
    importance = dissect.unit_importance(
        model, LAYER, scenes["train"], scenes["val"], resume=options.work / "importance"
    )
    importance.save(options.work / "tiny-vgg")
    sets = dissect.unit_sets(model, importance, scenes["val"], counts=COUNTS, resume=options.work / "sets")
    sets.save(options.work / "tiny-vgg")
    print(f"{time.process_time() - begin:.0f} seconds of processor time")
    few, half, many = dissect.classifiers.sets.default_counts(importance.num_units)[1:]
    lost = sets.baseline() - sets.curve("most")[:, COUNTS.index(few)]
    example = sets.classes[sets.measured[int(lost.argsort()[len(lost) // 2])]]
    _draw(importance, sets, example, (few, half, many), folder(options.out, "experiments"))
    (options.out / "experiments.md").write_text(page(importance, sets, example))


def _draw(
    importance: dissect.UnitImportance, sets: dissect.UnitSets, example: str, counts: tuple[int, int, int], out: Path
) -> None:
    """Draws the pictures."""
    few, half, many = counts
    figures: dict[str, Any] = {
        "important-units": importance.plot(example, 20),
        "sets-one-class": sets.plot(example),
        "sets-average": sets.plot(),
        "sets-all-classes": plots.plot_all_classes(sets, few, many),
        "sets-by-class": plots.plot_by_class(sets, half),
    }
    for name, figure in figures.items():
        save(figure, out / f"{name}.png")


if __name__ == "__main__":
    main()
