"""The watermarks of docs/rewriting.md, which `rewriting_rules.py` calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import dissect
from dissect import plots, rewriting, tiny
from dissect.rewriting import Memory
from dissect.tiny import judge
from dissect.tiny.world.stamp import letters

LAYER = "layer6"
#: Seeds of z: of what is annotated and of second moments, of what is measured; how many, as published.
ANNOTATED_Z, MEASURED_Z, MARKS = 1, 2, 1000
#: Images with a watermark that are annotated.
ANNOTATED = 10
#: Images of a sheet.
SHOWN = 12
STEPS = 2001
SHARES = (30 / 512, 60 / 512)
#: Of the images; the second moment is always taken at 1, as published.
TRUNCATIONS = (1.0, 0.5)


def marked(images: Tensor) -> Tensor:
    """[N, 2] bool, which watermark each image shows."""
    return judge.watermarks(images) > judge.STAMP_CORRELATION


def measured(out: Path, truncation: float) -> dict[str, Any]:
    """The watermark that is drawn most often, erased, beside ablating units."""
    model: Any = tiny.generator("stylegan2-street-watermark")
    annotated, others = (
        (dissect.latents(model, MARKS, seed), dissect.noise_seeds(MARKS, seed)) for seed in (ANNOTATED_Z, MEASURED_Z)
    )
    memory = Memory(model, LAYER)
    memory.second_moment(annotated, progress=False)
    model.truncation = truncation
    shown = marked(rewriting.changed_images(model, annotated))
    chosen = shown[:, 0].nonzero()[:ANNOTATED, 0]
    changes = changes_of(memory, tuple(part[chosen] for part in annotated))
    plain = rewriting.changed_images(model, others)
    before = marked(plain)
    rows = [{"name": "as it was", "marks": before.sum(0).tolist()}]
    pictures = [list((plain[before[:, 0]][:SHOWN] + 1) / 2)]
    for name, change in changes.items():
        images = rewriting.changed_images(model, others, change)
        after = marked(images)
        apart = (images - plain).abs().mean((1, 2, 3))[~before.any(1)]
        kept = (after & before).sum(0).tolist()
        rows.append({"name": name, "marks": after.sum(0).tolist(), "kept": kept, "apart": float(apart.mean())})
        pictures.append(list((images[before[:, 0]][:SHOWN] + 1) / 2))
        print(truncation, rows[-1], flush=True)
    with plots.drawing():
        figure = plots.new_figure(0.72 * max(4, len(pictures[0])), 0.95 * len(pictures))
        # Longer titles would push the pictures apart.
        short = [f"{how}, {round(share * memory.inputs)}" for how in ("edit", "units") for share in SHARES]
        plots.tiles(figure, pictures, ["as it was", *short])
    picture = plots.save(figure, out / f"watermarks-{truncation:g}.png").name
    return {"rows": rows, "picture": picture, "annotated": len(chosen), "count": MARKS, "truncation": truncation}


def changes_of(memory: Memory, inputs: Any) -> dict[str, Any]:
    """The edits of rank one, and the ablations that they aim at, of images with the watermark in the middle."""
    box = box_of(torch.from_numpy(letters(memory.model.resolution, 0)).float())
    masks = box.expand(len(inputs[0]), -1, -1)
    counts = [round(share * memory.inputs) for share in SHARES]
    options = {"steps": STEPS, "progress": False, "project_gradient": True}
    changes: dict[str, Any] = {
        f"edit of rank one, aimed at {count} units ablated": rewriting.erase(
            memory, inputs, masks, units=count, **options
        )
        for count in counts
    }
    for count in counts:
        units = memory.direction(memory.keys(inputs), count, masks=masks, method="units").units.tolist()
        changes[f"{count} units ablated"] = rewriting.Ablated(memory, units)
    return changes


def box_of(mask: Tensor) -> Tensor:
    """The rectangle around a mask."""
    rows, columns = (mask.any(axis).nonzero()[:, 0] for axis in (1, 0))
    found = torch.zeros_like(mask)
    found[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1] = 1
    return found
