"""Writes docs/rewriting.md and its pictures: rules of the embedded generators, rewritten.

``python docs/scripts/rewriting_rules.py --work build/rewriting`` from the root of the sources. The rules were fixed
before any was tried.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pages import command_line, folder
from rewriting_page import page
from torch import Tensor
from torch.nn.functional import avg_pool2d

import dissect
from dissect import plots, rewriting, tiny
from dissect.rewriting import Memory, Selection, Session
from dissect.tiny import judge
from dissect.tiny.world.stamp import STAMPS, letters

LAYER = "layer6"
#: Seeds of z: of what is painted and of second moments, of what is measured.
PAINTED, MEASURED = 1, 2
#: How many z there are of each, and how many of each for watermarks.
SAMPLES, MARKS = 64, 400
#: Pixels of an object's side at most, three cells of the layer's map; images of a context; images of a sheet.
SIDE, CONTEXT, SHOWN = 12, 4, 12
STEPS = 2001
#: Shares of a layer's units that are ablated: those of the paper, 30 and 60 of 512.
SHARES = (30 / 512, 60 / 512)
#: Images with a watermark that are annotated.
ANNOTATED = 10


class Rule(NamedTuple):
    """What becomes what."""

    name: str
    source: str
    targets: tuple[str, ...]
    object: str
    rank: int


RULES = (
    Rule("roofs become treetops", "part/roof", ("object/tree", "part/crown"), "part/crown", 1),
    Rule("windows disappear", "part/window", ("part/facade",), "part/facade", 1),
    Rule("roads become water", "object/road", ("object/water",), "object/water", 3),
)


def largest_square(masks: Tensor, most: int) -> tuple[int, Tensor]:
    """The number of an image, and a square in it that its mask covers whole: the largest, then the first."""
    for side in range(most, 0, -1):
        whole = avg_pool2d(masks[:, None].double(), side, 1)[:, 0] >= 1
        if whole.any():
            image, row, column = whole.nonzero()[0].tolist()
            square = torch.zeros(masks.shape[1:])
            square[row : row + side, column : column + side] = 1
            return image, square
    raise ValueError("no image shows the class")


def painted(rule: Rule, planes: Tensor, label: Callable[[str], int]) -> Session:
    """A session without a painter: squares by the segmentation network, and a context of the images with most."""
    source, object_ = ((planes == label(name)).any(1) for name in (rule.source, rule.object))
    most = source.flatten(1).sum(1).sort(descending=True, stable=True).indices[:CONTEXT].tolist()
    key = tuple(Selection(at, source[at].float()) for at in most)
    return Session(Selection(*largest_square(object_, SIDE)), Selection(*largest_square(source, SIDE)), key)


def timed(make: Callable[[], Any]) -> tuple[Any, float]:
    """What is made, and the seconds of processor time that it took."""
    begin = time.process_time()
    return make(), time.process_time() - begin


def ablating(memory: Memory, units: Sequence[int]) -> Callable[[], Any]:
    """What sets some of the memory's key channels to 0."""
    source = memory.layer.replace(".conv", ".norm" if memory.linear else ".modulate")
    return lambda: dissect.ablate(memory.model, source, units)


def rewrite(rule: Rule, memory: Memory, z: Tensor, session: Session) -> tuple[dict[str, Any], dict[str, Any]]:
    """Changes of a rule by name, and what is to be told of each."""
    options = {"steps": STEPS, "progress": False}
    context = memory.keys(z[[part.image for part in session.context]])
    masks = torch.stack([part.mask for part in session.context])
    copied = rewriting.copy(memory, z[[session.object.image]], session.object.mask)
    keys, values = rewriting.paste(memory, z[[session.paste.image]], session.paste.mask, copied)
    own = memory.keys(z[[session.paste.image]])
    directions = {
        "projected descent": (memory.direction(context, rule.rank, masks=masks), "projected"),
        "one image's direction": (memory.direction(own, 1, masks=session.paste.mask[None]), "projected"),
        "direct Lambda": (memory.direction(context, rule.rank, masks=masks), "lambda"),
        "the layer, without direction": (torch.eye(memory.inputs), "projected"),
    }
    changes, told = {}, {}
    for name, (space, mode) in directions.items():
        edit, seconds = timed(partial(rewriting.insert, memory, keys, values, space, mode, **options))
        changes[name] = lambda edit=edit: edit
        losses = edit.settings["loss_before"], edit.settings["loss_after"]
        told[name] = {"rank": edit.rank, "seconds": seconds, "losses": losses}
    for share in SHARES:
        count = round(share * memory.inputs)
        units = memory.direction(context, count, masks=masks, method="units").units.tolist()
        changes[f"{count} units ablated"] = ablating(memory, units)
    return changes, told


def sheet(out: Path, name: str, model: Any, z: Tensor, changes: dict[str, Any], best: Tensor) -> str:
    """A picture of the images that match best, without and with changes."""
    shown = {"as they were": None, **{key: changes[key] for key in ("projected descent", "direct Lambda")}}
    rows = []
    with torch.no_grad():
        for change in shown.values():
            if change is None:
                rows.append(list((model(z[best]) + 1) / 2))
                continue
            with change():
                rows.append(list((model(z[best]) + 1) / 2))
    with plots.drawing():
        figure = plots.new_figure(0.72 * len(best), 0.95 * len(rows))
        plots.tiles(figure, rows, list(shown))
    return plots.save(figure, out / f"{name.replace(' ', '-')}.png").name


def measured_rules(out: Path) -> list[dict[str, Any]]:
    """Every rule: what was painted, and what each change did."""
    model, see, judge_ = tiny.generator(), tiny.segmenter(0, signed=True), tiny.segmenter(1, signed=True)
    z, others = (dissect.latents(model, SAMPLES, seed) for seed in (PAINTED, MEASURED))
    memory = Memory(model, LAYER)
    moment = memory.second_moment(z, progress=False)
    with torch.no_grad():
        planes = torch.cat([see(model(part)) for part in z.split(32)])
    found = []
    for rule in RULES:
        session = painted(rule, planes, see.label)
        changes, told = rewrite(rule, memory, z, session)
        source, targets = judge_.label(rule.source), [judge_.label(name) for name in rule.targets]
        seen, seconds = timed(partial(
            rewriting.rule_changes, model, others, changes, judge_, source, targets, features=perceived, progress=False
        ))  # fmt: skip
        context = memory.keys(z[[part.image for part in session.context]])
        masks = torch.stack([part.mask for part in session.context])
        best = rewriting.matches(memory, others, memory.direction(context, 1, masks=masks), SHOWN, progress=False)
        found.append({
            "name": rule.name, "rank": rule.rank, "source": rule.source, "targets": rule.targets,
            "object": rule.object, "images": [session.object.image, session.paste.image],
            "context": [part.image for part in session.context],
            "sides": [int(part.mask.sum() ** 0.5) for part in (session.object, session.paste)],
            "memory": repr(memory), "condition": moment.condition, "seconds": seconds,
            "picture": sheet(out, rule.name, model, others, changes, best.images),
            "rows": [{"name": name, **numbers(change), **told.get(name, {})} for name, change in seen.items()],
        })  # fmt: skip
        print(rule.name, json.dumps(found[-1]["rows"], indent=1), flush=True)
    return found


def numbers(change: rewriting.RuleChange) -> dict[str, Any]:
    """Of a change: shares and means with their intervals."""
    gone = float(change.gone.sum() / change.source.sum())
    return {
        "share": (change.share, *change.interval()), "gone": (gone, *change.interval("gone")),
        "outside": change.mean(), "perceived": change.mean("perceived"),
        "images": int((change.source > 0).sum()),
    }  # fmt: skip


def perceived(images: Tensor) -> Tensor:
    """The features that the embedded classifier has of images in [-1, 1]."""
    return judge.features(judge.in_bytes(images))


def marked(model: Any, z: Tensor, seeds: Tensor, change: Callable[[], Any] | None = None) -> tuple[Tensor, Tensor]:
    """[N, 2] bool, which watermark each image shows, and the images."""
    images = []
    with torch.no_grad():
        for part, noise in zip(z.split(32), seeds.split(32)):
            if change is None:
                images.append(model(part, noise=noise))
                continue
            with change():
                images.append(model(part, noise=noise))
    made = torch.cat(images)
    return judge.watermarks(made) > judge.STAMP_CORRELATION, made


def measured_watermarks(out: Path) -> dict[str, Any]:
    """The watermark that is drawn most often, erased, beside ablating units."""
    model = tiny.generator("stylegan2-street-watermark")
    z, others = (dissect.latents(model, MARKS, seed) for seed in (PAINTED, MEASURED))
    seeds, other_seeds = (dissect.noise_seeds(MARKS, seed) for seed in (PAINTED, MEASURED))
    shown, _ = marked(model, z, seeds)
    chosen = shown[:, 0].nonzero()[:ANNOTATED, 0]
    memory = Memory(model, LAYER)
    memory.second_moment((z, seeds), progress=False)
    size = model.resolution
    masks = torch.from_numpy(letters(size, 0)).float().expand(len(chosen), -1, -1)
    masks = torch.stack([box_of(mask) for mask in masks])
    inputs, options = (z[chosen], seeds[chosen]), {"steps": STEPS, "progress": False, "project_gradient": True}
    counts = [round(share * memory.inputs) for share in SHARES]
    changes: dict[str, Any] = {}
    for count in counts:
        edit = rewriting.erase(memory, inputs, masks, units=count, **options)
        changes[f"edit of rank one, aimed at {count} units ablated"] = lambda edit=edit: edit
    for count in counts:
        units = memory.direction(memory.keys(inputs), count, masks=masks, method="units").units.tolist()
        changes[f"{count} units ablated"] = ablating(memory, units)
    before, plain = marked(model, others, other_seeds)
    rows = [{"name": "as it was", "marks": before.sum(0).tolist()}]
    pictures = [list((plain[before[:, 0]][:SHOWN] + 1) / 2)]
    for name, change in changes.items():
        after, images = marked(model, others, other_seeds, change)
        unmarked = ~before.any(1)
        apart = (images - plain).abs().mean((1, 2, 3))[unmarked]
        kept = int((after & before)[:, 0].sum())
        rows.append({"name": name, "marks": after.sum(0).tolist(), "kept": kept, "apart": float(apart.mean())})
        pictures.append(list((images[before[:, 0]][:SHOWN] + 1) / 2))
        print(rows[-1], flush=True)
    with plots.drawing():
        figure = plots.new_figure(0.72 * SHOWN, 0.95 * len(pictures))
        plots.tiles(
            figure, pictures, ["as it was", *(f"{how}, {count}" for how in ("edit", "units") for count in counts)]
        )
    picture = plots.save(figure, out / "watermarks.png").name
    return {"rows": rows, "picture": picture, "annotated": len(chosen), "count": MARKS, "memory": repr(memory),
            "stamps": list(map(str, STAMPS))}  # fmt: skip


def box_of(mask: Tensor) -> Tensor:
    """The rectangle around a mask."""
    rows, columns = (mask.any(axis).nonzero()[:, 0] for axis in (1, 0))
    found = torch.zeros_like(mask)
    found[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1] = 1
    return found


def kept(work: Path, name: str, measure: Callable[[], Any]) -> Any:
    """What was measured, or else is now, and the seconds of processor time that it took."""
    path = work / f"{name}.json"
    if not path.exists():
        found, seconds = timed(measure)
        work.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([found, seconds]), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def main(arguments: list[str] | None = None) -> None:
    """Measures, draws and writes."""
    parser = command_line(__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of what was measured")
    parser.add_argument("--only", choices=("rules", "watermarks"), help="measure this, and write no page")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    out = folder(options.out, "rewriting")
    parts = {"rules": partial(measured_rules, out), "watermarks": partial(measured_watermarks, out)}
    wanted = [options.only] if options.only else list(parts)
    found = {name: kept(options.work, name, parts[name]) for name in wanted}
    if not options.only:
        about = {"samples": SAMPLES, "layer": LAYER, "steps": STEPS}
        (options.out / "rewriting.md").write_text(page(found, about), encoding="utf-8")


if __name__ == "__main__":
    main()
