"""Writes docs/experiments_attack.md and its pictures: relations of importance, and attacks, on the embedded network.

``python docs/scripts/experiments_attack.py --work build/experiments`` from the root of the sources, after
docs/scripts/experiments_classifier.py, which leaves the units' importance in the folder --work. What it
computes is kept there, and an interrupted run goes on from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from experiments_attack_page import page
from pages import command_line, folder
from torch import nn

import dissect
from dissect.classifiers import UnitImportance
from dissect.experiments import (
    AttackResult,
    CarliniWagner,
    attack,
    attacked_again,
    clearest_combinations,
    important_pairs,
    iou_by_classes,
    iou_by_importance,
    mean_importance,
    overlapping_combinations,
    peak_correlation,
    rank_correlation,
    sign_shares,
)
from dissect.experiments import figures as pictures
from dissect.tiny import TinyScenes, vgg

MOST, BATCH = 4, 12
SETTINGS = CarliniWagner()


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and writes the page."""
    parser = command_line(__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/experiments"), help="folder for what takes long")
    parser.add_argument("--images", type=int, default=336, help="scenes to attack (336)")
    parser.add_argument("--scenes", type=int, default=800, help="scenes to dissect and to correlate over (800)")
    options = parser.parse_args(arguments)
    importance = UnitImportance.load(options.work / "tiny-vgg")
    model, layer = vgg().to(memory_format=torch.channels_last), importance.layer
    val = partial(TinyScenes, "val")
    dissection = _kept(
        options.work / "tiny-vgg.dissection",
        dissect.load,
        lambda: dissect.dissect(model, layer, val(count=options.scenes)),
    )
    pictures_of = folder(options.out, "experiments")
    result = _kept(
        options.work / "tiny-vgg.attack",
        AttackResult.load,
        lambda: attack(
            model,
            layer,
            val(count=options.images, target="class"),
            batch_size=BATCH,
            settings=SETTINGS,
            resume=options.work / "attack",
        ),
    )
    scenes = val(target="class")
    facts = _relations(model, importance, dissection, val(count=options.scenes), pictures_of)
    facts["combinations"] = _combinations(importance, dissection, scenes, pictures_of)
    facts["attacked"] = _attacks(model, importance, dissection, result, scenes, pictures_of)
    (options.out / "experiments_attack.md").write_text(page(importance, result, MOST, facts))


def _kept(path: Path, load: Callable[[Path], Any], compute: Callable[[], Any]) -> Any:
    """What a file holds, or what is computed and kept there."""
    if not path.exists():
        compute().save(path)
    return load(path)


def _relations(
    model: nn.Module, importance: UnitImportance, dissection: dissect.Dissection, scenes: TinyScenes, out: Path
) -> dict[str, Any]:
    """The chart of Fig. 2E and S4c-h, and its numbers."""
    layer = importance.layer
    unit_iou = dissection[layer].iou.amax(1)
    attained = unit_iou / torch.tensor([max(row.attainable, 1e-9) for row in dissection.best(layer)])
    correlations = peak_correlation(model, layer, scenes)
    by_classes = [(k, iou_by_classes(importance, unit_iou, k)) for k in (2, 3, 4, 5)]
    buckets = iou_by_importance(importance, unit_iou)
    important = important_pairs(importance, MOST)
    known = ~correlations.isnan()
    points = (importance.drop("val")[known], correlations[known], important[known])
    pictures.save(pictures.relations_chart(by_classes, buckets, points), out / "relations.png")
    return {
        "scenes": len(scenes),
        "by_classes": by_classes,
        "buckets": buckets,
        "attained": rank_correlation(important.sum(1), attained),
        "ranks": [
            rank_correlation(important.sum(1), unit_iou),
            rank_correlation(mean_importance(importance), unit_iou),
        ],
        "signs": sign_shares(importance, correlations, MOST),
    }


def _combinations(
    importance: UnitImportance, dissection: dissect.Dissection, scenes: TinyScenes, out: Path
) -> dict[str, Any]:
    """Pictures of the clearest combinations of units (Fig. S5), no two of which share two classes."""
    found = overlapping_combinations(importance, MOST)
    drop, important = importance.drop("val"), important_pairs(importance, MOST)
    shown = clearest_combinations(found)
    names = pictures.unit_names(dissection, importance.layer)
    for old in out.glob("combination-*.png"):  # of which there may be fewer now
        old.unlink()
    for number, combination in enumerate(shown, start=1):
        units, classes = list(combination.units), list(combination.classes)
        figure = pictures.combination_picture(
            dissection,
            importance.layer,
            [(scenes.classes[c], scenes[c][0]) for c in classes],
            units,
            drop[units][:, classes],
            important[units][:, classes],
        )
        pictures.save(figure, out / f"combination-{number}.png")
    texts = [
        [scenes.classes[c] for c in combination.classes]
        + [names.get(unit, f"unit {unit}") for unit in combination.units]
        for combination in shown
    ]
    return {"found": len(found), "shown": texts, "classes": len({c for part in found for c in part.classes})}


def _attacks(
    model: nn.Module, importance: UnitImportance, dissection: dissect.Dissection, result: AttackResult,
    scenes: TinyScenes, out: Path,
) -> dict[str, Any]:  # fmt: skip
    """The chart of Fig. 5C, and maps of a few attacks (Fig. 5A, B)."""
    changes = result.changes(importance, MOST)
    pictures.save(pictures.attack_chart(changes, MOST), out / "attack.png")
    names, shown = pictures.unit_names(dissection, importance.layer), []
    for number, at in enumerate(result.typical(), start=1):
        image, found = attacked_again(model, scenes, result, at, batch_size=BATCH)
        both = torch.stack([image, found])
        with torch.no_grad(), dissect.Trace(model, importance.layer) as trace:
            shares = model(both).softmax(1)
        ends = [int(result.sources[at]), int(result.targets[at])]
        titles = [f"{scenes.classes[c]}, {float(row[c]):.0%}" for c, row in zip(ends, shares)]
        groups = [
            (f"The {MOST} units most important to {scenes.classes[c]}", importance.top_units(MOST)[c].tolist())
            for c in ends
        ]
        before, after = trace[importance.layer]
        figure = pictures.attack_maps(image, found, before, after, groups, (titles[0], titles[1]), names)
        pictures.save(figure, out / f"attack-{number}.png")
        shown.append([scenes.classes[c] for c in ends])
    return {"changes": changes, "shown": shown, "pixels": scenes[0][0].numel()}


if __name__ == "__main__":
    main()
