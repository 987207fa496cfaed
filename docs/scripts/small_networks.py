"""Compares small networks that were trained alike but for one thing: docs/networks.md, training.md, discrimination.md.

python docs/scripts/small_networks.py --trainings FOLDER [--images N] [--work FOLDER]

FOLDER is where `python -m dissect.tiny.train_small NAME --seed S --out FOLDER` left trainings; those that came to their
end are compared. What is found of each network is kept in --work, so that a stopped call goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import small_networks_claims as claims
import small_networks_text as texts
import torch
from pages import command_line, folder, table

import dissect
from dissect import plots, tiny
from dissect.dissection import replicated, replicated_by_category
from dissect.dissection.compared import ALL
from dissect.experiments import dissected_at_hand, embedded_discrimination, networks_at_hand
from dissect.experiments.at_hand import Drawn
from dissect.stats import pearson, wilson_interval
from dissect.tiny.train_small import BATCH
from dissect.tiny.training.small import SIZE, SMALL_RECIPES, load_small, loss, trained_in

#: Samples of scenes for intervals, scenes of each, and scenes of the dissections of checkpoints.
SAMPLES, EACH, WATCHED = 10, 86, 430
#: What the classifier learns from and is tried on.
TRAIN, TEST = 2150, 860
TASKS = {"objects": "each scene's main object", "scenes": "each scene's class"}
#: How the classifier learns: a title, a name, options, and what they are.
RULES = (
    ("as published", "published", {"cells": 4}, "C = 0.001, features as they are, of maps averaged to 4x4 cells"),
    (
        "scaled",
        "scaled",
        {"cells": 2, "scaled": True, "penalty": 10.0},
        "C = 10, features divided by their mean norm, of maps averaged to 2x2 cells",
    ),
)
#: Trainings whose histories are shown, and steps that are timed for the cost of watching.
SHOWN = ("scenes", *(f"{name}{how}" for name in ("objects-to-scenes", "scenes-to-objects") for how in ("", "-slowly")))
TIMED = 20
#: Of units, for how many are alike by chance.
PERMUTATIONS = 199
#: Units that keep their concept, and all, in the paper (3.7), by the training that is like it.
PAPERS_KEPT = {
    f"{name}{how}": told
    for name, told in (
        ("objects-to-scenes", ("ImageNet to Places", 139, 256)), ("scenes-to-objects", ("Places to ImageNet", 135, 256))
    )
    for how in ("", "-slowly")
}  # fmt: skip
KEPT = {
    "network": "training", "of": "of", "units": "units", "kept": "kept", "share": "share", "low": "low", "high": "high",
    "by_chance": "by chance",
}  # fmt: skip
FAST = {"decoys": 0, "resamples": 0, "top_images": 1, "progress": False, "relu": True}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--trainings", type=Path, required=True, help="of dissect.tiny.train_small")
    parser.add_argument("--images", type=int, default=430, help="scenes with which all networks are dissected (430)")
    parser.add_argument("--work", type=Path, help="for what is found of each network, to go on from")
    pages = {"networks": _networks, "training": _training, "discrimination": _discrimination}
    parser.add_argument("--only", nargs="+", choices=list(pages), default=list(pages), help="some of the pages (all)")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS), help="of discrimination (all)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in options.only:
        page = pages[name]
        begin = time.process_time()
        text = page(options, folder(options.out, name))
        minutes = (time.process_time() - begin) / 60
        note = "" if options.work is None else ", less what an earlier call had kept"
        text += f"\nOne thread computed for {minutes:.1f} minutes, without the trainings{note}.\n"
        (options.out / f"{name}.md").write_text(text, encoding="utf-8")


def _trained(options: Any) -> str:
    """What was trained, and how well it does, as a table."""
    rows = []
    for name in trained_in(options.trainings):
        log = [json.loads(line) for line in (options.trainings / f"{name}.log").read_text().splitlines()]
        recipe = SMALL_RECIPES[name.rpartition("-")[0]]
        rows.append({
            "training": name, "architecture": recipe.architecture,
            "task": recipe.task + (f", of the family {recipe.family}" if recipe.family else ""),
            "begins with": recipe.start or "-", "rates": f"x {recipe.pace:g}",
            "images": log[-1]["images"], "accuracy": f"{log[-1]['accuracy']:.1%}",
        })  # fmt: skip
    return _markdown(rows, {name: name for name in rows[0]})


def _networks(options: Any, pictures: Path) -> str:
    networks = networks_at_hand(options.trainings)
    whole = dissected_at_hand(networks, count=options.images, resume=_kept(options, "whole"), progress=False,
                              resamples=0, top_images=1)  # fmt: skip
    both = dissect.compare(whole)
    plots.save(both.plot(), pictures / "concepts.png")
    scenes = tiny.TinyScenes("val", SIZE, options.images + SAMPLES * EACH)
    comparisons = []
    for sample in range(SAMPLES):
        begin = options.images + sample * EACH
        seen = Drawn(scenes, range(begin, begin + EACH))
        found = {}
        for name, one in networks.items():
            kept = _kept(options, f"sample-{sample}-{name}")
            found[name] = dissect.dissect(one.load(), one.layer, seen, resume=kept, **FAST)
        comparisons.append(dissect.compare(found))
    rows, known = replicated(comparisons), claims.counted(replicated_by_category(comparisons))
    by = {(row.network, row.category): row.concepts for row in both.by_category()}
    table = [
        row._asdict() | {
            "interval": "-" if row.low is None else f"{row.low:.1f} to {row.high:.1f}",
            "objects": by[row.network, "object"], "parts": by[row.network, "part"],
            "all": next(one.concepts for one in both.summary() if one.network == row.network),
            "beyond": next(one.concepts_beyond_chance for one in both.summary() if one.network == row.network),
            "units": next(one.units for one in both.summary() if one.network == row.network),
        }
        for row in rows
    ]  # fmt: skip
    columns = {
        "network": "network", "units": "units", "detectors": f"detectors ({EACH} scenes)",
        "concepts": "unique detectors", "interval": "95 % of the mean", "all": f"unique ({options.images} scenes)",
        "beyond": "beyond chance", "objects": "objects", "parts": "parts",
    }  # fmt: skip
    return texts.NETWORKS.format(
        trained=_trained(options), samples=SAMPLES, each=EACH,
        images=options.images, table=_markdown(table, columns), pictures=pictures.name, said=claims.said(known),
        unique=claims.by_category(known, 0), detectors=claims.by_category(known, 1),
    )  # fmt: skip


def _training(options: Any, pictures: Path) -> str:
    parts, kept_rows, likely = [], [], list[str]()
    scenes = Drawn(tiny.TinyScenes("val", SIZE, WATCHED))
    for name, snapshots in trained_in(options.trainings).items():
        if name.rpartition("-")[0] not in SHOWN:
            continue
        checkpoints = {int(path.stem): (lambda path=path: load_small(path)) for path in snapshots}
        layer = load_small(snapshots[0]).last
        grown = dissect.monitor(checkpoints, layer, scenes, resume=_kept(options, f"watched-{name}"), **FAST)
        log = [json.loads(line) for line in (options.trainings / f"{name}.log").read_text().splitlines()]
        rows = [row._asdict() | {"accuracy": f"{line['accuracy']:.1%}"} for row, line in zip(grown.summary(), log)]
        columns = {"step": "images shown", "accuracy": "accuracy", "detectors": "detectors",
                   "concepts": "unique detectors", "mean_iou": "mean IoU"}  # fmt: skip
        for kind in ("categories", "histories"):
            plots.save(grown.plot(kind), pictures / f"{name}-{kind}.png")
        changes = [row for row in grown.changes() if "-" not in (row.before, row.after) and not row.kept]
        likely += [f"{name} (p {row.p:.2f})" for row in grown.alike(PERMUTATIONS) if row.category == ALL]
        kept_rows += [row._asdict() | {"network": name} for row in grown.kept()]
        start = SMALL_RECIPES[name.rpartition("-")[0]].start
        parts.append(texts.WATCHED.format(
            name=name, begins="From initial weights" if start is None else f"From the end of {start}", layer=layer,
            scenes=WATCHED, table=_markdown(rows, columns), pictures=pictures.name, changed=len(changes),
            alike=_alike(grown), permutations=PERMUTATIONS,
        ))  # fmt: skip
    return texts.TRAINING.format(cost=_cost(scenes), parts="".join(parts), kept=_markdown(kept_rows, KEPT),
                                 verdicts=_kept_against(kept_rows),
                                 likely=", ".join(likely) or "none")  # fmt: skip


def _alike(grown: Any) -> str:
    """How many units are still like what they were, beside permuted units."""
    rows = [
        row._asdict() | {"chance": f"{row.by_chance:.1f} ({row.fewest} to {row.most})", "p": f"{row.p:.2f}"}
        for row in grown.alike(PERMUTATIONS)
    ]
    columns = {"category": "alike in", "alike": "units", "chance": "permuted", "p": "p"}
    return _markdown(rows, columns) if rows else "None of them can be held against others.\n"


def _kept_against(rows: Sequence[dict[str, Any]]) -> str:
    """The shares of units that keep their concept against the paper's."""
    lines = []
    for row in rows:
        known = PAPERS_KEPT.get(row["network"].rpartition("-")[0])
        if known is None or row["of"] != "units" or row["share"] is None:
            continue
        told, kept, units = known
        low, high = wilson_interval(kept, units)
        found = "more here, so that it differs" if row["low"] > high else "fewer here, so that it differs"
        if row["low"] <= high and low <= row["high"]:
            found = "the intervals meet, so that they are not told apart"
        chance = f"{'more than' if row['low'] > row['by_chance'] else 'not told apart from'} chance"
        lines.append(
            f"- {row['network']}: {row['share']:.1%} ({row['low']:.1%} to {row['high']:.1%}) against the paper's "
            f"{kept / units:.1%} ({low:.1%} to {high:.1%}) from {told}: {found}; {chance} ({row['by_chance']:.1%}).\n"
        )
    return "".join(lines) or "None of these trainings is like one of the paper's.\n"


def _cost(scenes: Drawn) -> str:
    """What a dissection and a step take, in seconds of one core's own time."""
    recipe = SMALL_RECIPES["scenes"]
    model = recipe.network(0)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    images, answers = torch.rand(BATCH, 3, SIZE, SIZE), torch.arange(BATCH) % 43
    spent = []
    for _ in range(TIMED + 1):
        begin = time.process_time()
        optimizer.zero_grad()
        loss(model(images), answers).backward()
        optimizer.step()
        spent.append(time.process_time() - begin)
    step = sorted(spent[1:])[TIMED // 2]
    begin = time.process_time()
    with dissect.Watch(model, model.last, scenes, every=1, **FAST) as watch:
        one = time.process_time() - begin
        watch.step()
    every = -int(-one // (0.03 * step))
    return f"""## What watching costs

The training ends with the same bits, watched or not. A dissection of these {len(scenes)} scenes took {one:.2f} s of one
core's time, and a step of {BATCH} images {1000 * step:.0f} ms (float32): {one / step:.0f} steps. For at most 3 % of the
steps' time there must be {every} steps or more between two dissections, {every * BATCH} images; `watch.cost()` measures
both where it runs. With N scenes in the place of {len(scenes)}, d grows as N, and `every` as N d / (0.03 s).
"""


def _discrimination(options: Any, pictures: Path) -> str:
    networks = networks_at_hand(options.trainings)
    whole = dissected_at_hand(networks, count=options.images, resume=_kept(options, "whole"), progress=False,
                              resamples=0, top_images=1)  # fmt: skip
    parts = []
    for task in options.tasks:
        what = TASKS[task]
        parts.append(f"## {what[0].upper() + what[1:]}\n\n")
        for title, name, rule, told in RULES:
            file = _kept(options, f"{task}-{name}-{len(networks)}.discrimination")
            if file is not None and file.exists():
                found = dissect.load(file)
            else:
                found = embedded_discrimination(
                    options.trainings, task=task, train=TRAIN, test=TEST, dissections=whole, progress=False,
                    resume=_kept(options, name), **rule,
                )  # fmt: skip
                if file is not None:
                    found.save(file)
            plots.save(found.plot(), pictures / f"{task}-{name}.png")
            every, others = found.correlations()
            rows = [row._asdict() | {"trained": "yes" if row.trained else ""} for row in found.rows()]
            columns = {"network": "network", "concepts": "unique object detectors", "accuracy": "accuracy",
                       "low": "low", "high": "high", "trained": "trained for it"}  # fmt: skip
            parts.append(texts.RULE.format(
                title=title[0].upper() + title[1:], told=told, pictures=pictures.name, file=f"{task}-{name}",
                every=_r(every, "all networks"), others=_r(others, "those not trained for it"),
                trained=_r(_of_trained(found), "trained ones alone"),
                agrees=_agrees(_of_trained(found)), table=_markdown(rows, columns),
            ))  # fmt: skip
    return texts.DISCRIMINATION.format(
        count=len(networks), images=options.images,
        untrained=sum(one.task == "none" for one in networks.values()), train=TRAIN, test=TEST, parts="".join(parts),
    )  # fmt: skip


def _of_trained(found: Any) -> Any:
    """The correlation without untrained networks, which have few detectors and poor features."""
    rows = [row for row in found.rows() if not row.network.startswith("untrained")]
    return pearson([row.concepts for row in rows], [row.accuracy for row in rows])


def _agrees(row: Any) -> str:
    """Whether a correlation agrees with the paper's, which is positive."""
    if row.low is None or row.high is None:
        return "Whether that agrees with the paper is not known."
    found = "agrees with" if row.low > 0 else "differs from" if row.high < 0 else "is not told apart from none, against"
    return f"That {found} the paper's positive correlation, without untrained networks too."


def _r(row: Any, of: str) -> str:
    count = row[1] if isinstance(row[0], str) else row[0]
    if row.r is None:
        return f"{of} ({count}): r is not known"
    ends = "" if row.low is None else f" ({row.low:.2f} to {row.high:.2f})"
    return f"{of} ({count}): r = {row.r:.2f}{ends}"


def _kept(options: Any, name: str) -> Path | None:
    return None if options.work is None else options.work / name


def _markdown(rows: Iterable[dict[str, Any]], columns: dict[str, str]) -> str:
    """A table of some columns under other names."""
    return table([*columns.values()], ([_cell(row[name]) for name in columns] for row in rows))


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
