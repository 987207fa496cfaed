"""Writes docs/rewriting.md and its pictures: rules of the embedded generators, rewritten.

``python docs/scripts/rewriting_rules.py --work build/rewriting`` from the root of the sources. The rules were fixed
before any was tried.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import rewriting_marks
import torch
from pages import command_line, folder
from rewriting_page import page
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

import dissect
from dissect import plots, report, rewriting, tiny
from dissect.rewriting import Memory, Selection, Session
from dissect.tiny import judge

LAYER = "layer6"
#: Seeds of z: of what is painted and of second moments, of what is measured.
PAINTED, MEASURED = 1, 2
#: How many z there are of the former, how many of the latter are ranked for sheets, and how many are measured at most:
#: in parts, of which the first are measured with transfers too.
SAMPLES, RANKED, MEASURES, PART, TRANSFERRED = 64, 1000, 2000, 50, 50
#: Pixels of an object's side at most, three cells of the layer's map; images of a context; images of a sheet.
SIDE, CONTEXT, SHOWN = 12, 4, 12
STEPS = 2001
#: Shares of a layer's units that are ablated: those of the paper, 30 and 60 of 512.
SHARES = (30 / 512, 60 / 512)
#: What sheets show, in this order.
SHEET = ("projected descent", "direct Lambda", "all weights", "Laplace blending")
FIELDS = ("source", "changed", "gone", "outside", "perceived")
#: What is looked at for correspondences.
CLASSIFIER: Any = tiny.vgg()
BUDDY_LAYERS = tuple(f"relu{block}_1" for block in range(1, 6))


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


def rewrite(rule: Rule, memory: Memory, z: Tensor, session: Session) -> dict[str, Any]:
    """The published method and its baselines, by name."""
    options = {"steps": STEPS, "fine_tuning_steps": STEPS, "shares": SHARES, "progress": False}
    return rewriting.baselines(memory, z, session, rule.rank, correspondences=correspondences, **options)


def sheet(out: Path, name: str, model: Any, z: Tensor, changes: dict[str, Any], best: Tensor) -> str:
    """A picture of the images that match best, without and with changes."""
    figure = rewriting.sheet(model, z[best], {key: changes[key] for key in SHEET})
    return plots.save(figure, out / f"{name.replace(' ', '-')}.png").name


def prepared(out: Path, work: Path) -> tuple[Any, list[dict[str, Any]], list[dict[str, Any]]]:
    """The generator, the changes of every rule, and what is to be told of each; sheets and pairs are drawn."""
    model, see = tiny.generator(), tiny.segmenter(0, signed=True)
    z, others = dissect.latents(model, SAMPLES, PAINTED), dissect.latents(model, RANKED, MEASURED)
    memory = Memory(model, LAYER)
    memory.second_moment(z, progress=False)
    with torch.no_grad():
        planes = torch.cat([see(model(part)) for part in z.split(32)])
    made, told = [], []
    for rule in RULES:
        session = painted(rule, planes, see.label)
        changes = rewrite(rule, memory, z, session)
        context = memory.keys(z[[part.image for part in session.context]])
        masks = torch.stack([part.mask for part in session.context])
        best = rewriting.matches(memory, others, memory.direction(context, 1, masks=masks), SHOWN, progress=False)
        made.append(changes)
        told.append({
            "name": rule.name, "rank": rule.rank, "source": rule.source, "targets": rule.targets,
            "object": rule.object, "images": [session.object.image, session.paste.image],
            "context": [part.image for part in session.context],
            "sides": [int(part.mask.sum() ** 0.5) for part in (session.object, session.paste)],
            "picture": sheet(out, rule.name, model, others, changes, best.images),
            "changes": {name: about(change) for name, change in changes.items()},
        })  # fmt: skip
        pairs(work, rule.name, model, others[best.images], changes)
        print(rule.name, json.dumps(told[-1]["changes"]), f"{time.process_time():.0f} s", flush=True)
    return model, made, told


def about(change: Any) -> dict[str, Any]:
    """The rank of an edit, and its loss before and after."""
    settings = getattr(change, "settings", {})
    found = {"losses": [settings[f"loss_{when}"] for when in ("before", "after")]} if settings else {}
    return found | ({"rank": change.rank} if isinstance(change, rewriting.Edit) else {})


def pairs(work: Path, name: str, model: Any, z: Tensor, changes: dict[str, Any]) -> None:
    """A page of blinded pairs, each of the published method's image and a baseline's, for people to judge."""
    ours, *others = (judge.in_bytes(rewriting.changed_images(model, z, change)) for change in changes.values())
    comparisons = {key: (ours, images) for key, images in zip(list(changes)[1:], others)}
    report.write_pairs(comparisons, work / f"pairs-{name.replace(' ', '-')}.html", seed=0)


def measured_part(path: Path, model: Any, z: Tensor, made: list[dict[str, Any]], transfers: bool) -> None:
    """Measures all changes of all rules on some z, and keeps that."""
    judge_, rows = tiny.segmenter(1, signed=True), {}
    for rule, changes in zip(RULES, made):
        kept = {name: each for name, each in changes.items() if transfers or not isinstance(each, rewriting.Transfer)}
        source, targets = judge_.label(rule.source), [judge_.label(name) for name in rule.targets]
        seen = rewriting.rule_changes(model, z, kept, judge_, source, targets, features=perceived, progress=False)
        for name, change in seen.items():
            for field in FIELDS:
                rows[f"{rule.name}/{name}/{field}"] = getattr(change, field)
    begun = path.with_suffix(".begun")
    save_file(rows, begun)
    begun.replace(path)


def measured_rules(out: Path, work: Path, minutes: float) -> None:
    """Measures part after part that is not there yet, until there are enough or the time is up."""
    model, made, told = prepared(out, work)
    known, seconds = work / "told.json", work / "seconds.json"
    if known.exists() and json.loads(known.read_text(encoding="utf-8")) != json.loads(json.dumps(told)):
        raise ValueError(f"{known} tells of other changes than these: give another folder, or remove its parts")
    known.write_text(json.dumps(told), encoding="utf-8")
    before = json.loads(seconds.read_text(encoding="utf-8")) if seconds.exists() else 0
    every = dissect.latents(model, MEASURES, MEASURED)
    for number, z in enumerate(every.split(PART)):
        path = work / f"part-{number:03}.safetensors"
        if time.process_time() > 60 * minutes:
            return
        if path.exists():
            continue
        measured_part(path, model, z, made, number * PART < TRANSFERRED)
        print(f"part {number}: {time.process_time():.0f} s", flush=True)
        seconds.write_text(json.dumps(before + time.process_time()), encoding="utf-8")


def gathered(work: Path) -> list[dict[str, Any]]:
    """Every rule: what was painted, and what each change did in all the parts."""
    found = json.loads((work / "told.json").read_text(encoding="utf-8"))
    parts = [load_file(path) for path in sorted(work.glob("part-*.safetensors"))]
    for rule in found:
        rule["rows"] = []
        for name, about_it in rule["changes"].items():
            key = f"{rule['name']}/{name}/"
            has = [part for part in parts if f"{key}source" in part]
            change = rewriting.RuleChange(*(torch.cat([part[key + field] for part in has]) for field in FIELDS))
            rule["rows"].append({"name": name, **numbers(change), **about_it})
    return found


def numbers(change: rewriting.RuleChange) -> dict[str, Any]:
    """Of a change: shares and means with their intervals."""
    return {
        "share": (change.share, *change.interval()), "gone": (change.gone_share, *change.interval("gone")),
        "outside": change.mean(), "perceived": change.mean("perceived"), "with": change.images(),
        "measured": len(change.source),
    }  # fmt: skip


def perceived(images: Tensor) -> Tensor:
    """The features that the embedded classifier has of images in [-1, 1]."""
    return judge.features(judge.in_bytes(images))


def correspondences(images: Tensor) -> list[Tensor]:
    """Five maps of the embedded classifier for `best_buddies`, of images in [-1, 1] at 128x128."""
    model, maps = CLASSIFIER, []
    x = (interpolate((images + 1) / 2, size=(128, 128), mode="bilinear", align_corners=False) - 0.5) * 4
    for name, module in model.features.named_children():
        x = module(x)
        if name in BUDDY_LAYERS:
            maps.append(x)
    return maps


def main(arguments: list[str] | None = None) -> None:
    """Measures, draws and writes."""
    parser = command_line(__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of what was measured")
    parser.add_argument("--only", choices=("rules", "watermarks", "page"), help="measure this, or write the page alone")
    parser.add_argument("--minutes", type=float, default=25, help="of processor time for the rules (25)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    out = folder(options.out, "rewriting")
    options.work.mkdir(parents=True, exist_ok=True)
    if options.only in (None, "watermarks"):
        marks = [rewriting_marks.measured(out, truncation) for truncation in rewriting_marks.TRUNCATIONS]
        (options.work / "watermarks.json").write_text(json.dumps([marks, time.process_time()]), encoding="utf-8")
    if options.only in (None, "rules"):
        measured_rules(out, options.work, options.minutes)
    if options.only in (None, "page"):
        marks, seconds = json.loads((options.work / "watermarks.json").read_text(encoding="utf-8"))
        times = json.loads((options.work / "seconds.json").read_text(encoding="utf-8")), seconds
        about_it = {
            "samples": SAMPLES, "layer": LAYER, "steps": f"{STEPS:,}", "times": times, "ranked": f"{RANKED:,}",
            "shown": SHOWN,
        }  # fmt: skip
        text = page(gathered(options.work), marks, about_it)
        (options.out / "rewriting.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
