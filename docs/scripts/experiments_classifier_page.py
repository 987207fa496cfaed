"""The text of docs/experiments.md: what was measured, between the pictures."""

from __future__ import annotations

import json
from string import Template
from typing import Any

from pages import ROOT, table
from torch import Tensor

import dissect
from dissect.classifiers import ClassTally
from dissect.classifiers.sets import SetRow, default_counts
from dissect.experiments import rank_correlation
from dissect.experiments.relations import correlation
from dissect.tiny import TinyScenes

PAGE = Template("""\
<!-- Written by docs/scripts/experiments_classifier.py; do not edit. -->
# What classes lose without units

Part 1 of the experiments on classifiers; part 2, [what important units detect, and what an attack does to
them](experiments_attack.md), goes on from the same measurement.

The experiments of Bau et al. (PNAS 2020), "Role of Units in a Scene Classifier", on the embedded network:
`dissect.tiny.vgg()`, layer `$layer`, $units units, $classes classes; in the paper VGG-16 on Places365, conv5_3, 512
units, 365 classes. Units are ranked by the balanced accuracy that a class loses when one unit alone is set to 0, on
$train training scenes; everything shown is measured on $val validation scenes.

That is $sample, $per_class scenes of each class and split.
One image of a class is $step of its accuracy, so that many units tie and the logit ranks them. Between two halves
of the training scenes the losses of a class correlate with $agree (Pearson, mean of the classes), between training and
validation scenes with $transfer; their ranks (Spearman, `split_half`) only with $trust, since most units make no
difference that so many scenes could tell from none.

## The average class (Fig. 2D)

Single-class accuracy is (recall + true negative rate) / 2, chance is 50 %. A class's units, its own ranking.

$average
![Accuracy over the number of removed units](experiments/sets-average.png)
![A point per class](experiments/sets-all-classes.png)

Without the $few most important of its $units units the average class loses $few_loss points, without the $few least
important ones $few_least; in the paper 23.6 without the 20 most important of 512. It is at chance, below 55 %, without
$to_chance units, $to_chance_percent of the layer; in the paper without those 20. Keeping only the $few most important
costs $keep_loss points, in the paper 3.6. Without the least important half the average class $half points; in the paper
it *gains* 15.5 (76.6 to 92.1 %, SI Fig. S4a). There recall has room to rise: with 76.6 % and a true negative rate near
100 % it is about 53 %, and here it is $recall to begin with.

Which it was can be read off the other columns: where recall rises while precision falls, rivals were damaged, and the
one-vs-rest AUC of the class's logit, which no rival moves, stays or falls.

$details
## Half of the units, class by class (SI Fig. S4a-b)

Every class without its $half_count least important units, and without its $half_count most important ones: its
accuracy, and how far that is from its accuracy with all units, by which the classes are sorted.

![Every class without half of its units](experiments/sets-by-class.png)

| without | classes that gain | unchanged | that lose | all units, % | without, % | paper (256 of 512) |
| --- | --- | --- | --- | --- | --- | --- |
$half_rows
$half_text

## One class (Fig. 2A-C)

*$example*, the class whose loss without its $few most important units is the median of the classes'. The paper's
example is *ski resort*.

$one
![The most important units](experiments/important-units.png)
![Accuracy over the number of removed units](experiments/sets-one-class.png)

## How long it takes

`benchmarks/bench_importance.py` (`make bench`) asserts that scores equal those of running the network without each of
three units, within 1e-4 of the largest, and times both, four images at a time. The long way is one measured forward
pass times the number of units ($machine, two threads):

$speed
`python docs/scripts/experiments_classifier.py --images $everything` makes this page from all $whole validation scenes
and as many training scenes. An interrupted run goes on when called again.
""")

#: What `make bench` measured.
MEASURED = ROOT / "benchmarks/results/cpu.json"


def _speed(rows: dict[str, Any]) -> str:
    """How often faster than the network once per unit, and what of that the arithmetic allows."""
    vgg, resnet = (rows[f"importance_of_{name}"] for name in ("vgg16_conv5_3", "a_resnet50_block"))
    times = [f"{row['speed-up over one pass per unit']:.3g}" for row in (vgg, resnet)]
    parts = resnet["ms_per_image"]
    allowed = f"{parts['one forward pass'] / parts['what follows']:.3g}"
    lines = (
        ("VGG-16, conv5_3, 512 units, 365 classes, random weights", times[0], "318, by counting multiplications"),
        ("ResNet-50, its last but one block, 512 units", times[1], f"{allowed}, a pass over that of what follows"),
    )
    return table(("workload", "times faster", "allowed"), lines)


def _drops(tally: ClassTally, half: int) -> Tensor:
    accuracy = tally.balanced_accuracy(half)
    return accuracy[0] - accuracy[1:]


def _correlation(drops: Tensor, others: Tensor) -> float:
    """Pearson's correlation over the units, mean of the classes in which both vary."""
    return float(correlation(drops, others).diagonal().nanmean())


def page(importance: dissect.UnitImportance, sets: dissect.UnitSets, example: str) -> str:
    """The page."""
    few, half, many = default_counts(importance.num_units)[1:]
    rows = {(row.removed, row.units): row for row in sets.table()}
    base = rows["none", 0]
    chance = next(row for row in rows.values() if row.removed == "most" and row.balanced_accuracy < 0.55)
    enough = max(row for row in rows.values() if row.removed == "most" and row.units < chance.units)
    images = {split: int(importance.tally(split).images().sum()) for split in ("train", "val")}
    per_class = images["val"] // len(importance.classes)
    everything = len(TinyScenes("val")) // len(importance.classes)
    measured = json.loads(MEASURED.read_text())
    return PAGE.substitute(
        sample="a sample" if per_class < everything else "all validation scenes and as many training scenes",
        everything=everything,
        whole=f"{len(TinyScenes('val')):,}",
        layer=importance.layer,
        units=importance.num_units,
        classes=len(importance.classes),
        **images,
        per_class=per_class,
        step=f"{50 / per_class:.3g} points",
        trust=f"{float(importance.split_half().nanmean()):.2f}",
        agree=f"{_correlation(*(_drops(importance.train, half) for half in (0, 1))):.2f}",
        transfer=f"{_correlation(importance.drop('train'), importance.drop('val')):.2f}",
        average=_beside(sets, None, ("76.6", "-", "53.0", "-3.6 points"), ("53.3", "-", "-", "-")),
        few=few,
        few_loss=f"{-100 * rows['most', few].change:.1f}",
        few_least=_loss(rows["least", few]),
        to_chance=f"{enough.units} to {chance.units}",
        to_chance_percent=f"{enough.percent:.0f} to {chance.percent:.0f} %",
        keep_loss=f"{-100 * rows['least', many].change:.1f}",
        half=_change(rows["least", half]),
        recall=f"{100 * base.recall:.1f} %",
        details=_details(sets),
        example=example,
        one=_beside(sets, example, ("81.4", "64.0", "53.5", "77.7"), ("53.3", "-", "52.6", "2.1")),
        half_count=half,
        half_rows=_half_rows(sets, half),
        half_text=_half_text(sets, half),
        speed=_speed(measured["rows"]),
        machine=measured["machine"],
    )


def _loss(row: SetRow) -> str:
    return f"{-100 * row.change:.1f}" if row.change < 0 else f"none (it gains {100 * row.change:.1f})"


def _change(row: SetRow) -> str:
    return f"{'loses' if row.change < 0 else 'gains'} {abs(100 * row.change):.1f}"


def _half_rows(sets: dissect.UnitSets, half: int) -> str:
    """How many classes gain and lose without half of the units."""
    base, lines = sets.baseline(), []
    for removed, paper in (("least", "all gain, 76.6 to 92.1"), ("most", "all lose")):
        after = sets.curve(removed)[:, sets.counts.index(half)]
        counts = (int((after > base).sum()), int((after == base).sum()), int((after < base).sum()))
        means = (f"{100 * float(values.mean()):.1f}" for values in (base, after))
        lines.append((f"the {half} {removed} important", *map(str, counts), *means, paper))
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _half_text(sets: dissect.UnitSets, half: int) -> str:
    """What the chart shows, with its extremes."""
    base, at = sets.baseline(), sets.counts.index(half)
    least, most = (100 * (sets.curve(removed)[:, at] - base) for removed in ("least", "most"))

    def named(change: Tensor, place: Tensor) -> str:
        return f"*{sets.classes[sets.measured[int(place)]]}* ({float(change[place]):+.1f} points)"

    gains, loses = named(least, least.argmax()), named(least, least.argmin())
    mildest, worst = named(most, most.argmax()), named(most, most.argmin())
    return (
        f"Without the least important half {gains} gains most and {loses} loses\nmost; without the most important half "
        f"{mildest} loses least and {worst}\nmost. Between a class's accuracy with all units and what it gains without "
        f"the least important half the rank correlation\n(Spearman) is {rank_correlation(base, least):+.2f}; in the "
        "paper classes gain from an accuracy that leaves room."
    )


def _beside(sets: dissect.UnitSets, name: str | None, paper: tuple[str, ...], all_class: tuple[str, ...]) -> str:
    """Our numbers beside the paper's: all units, the top 0.8 % and 3.9 % removed, only the top 3.9 % kept."""
    two, few, _, many = default_counts(sets.num_units)
    rows = {(row.removed, row.units): row for row in sets.table(name)}
    wanted = (
        ("all units", rows["none", 0]),
        (f"without the top 0.8 % ({two}; paper 4 of 512)", rows["most", two]),
        (f"without the top 3.9 % ({few}; paper 20 of 512)", rows["most", few]),
        (f"only the top 3.9 % ({sets.num_units - many}; paper 20 of 512)", rows["least", many]),
    )
    lines = [
        (what, f"{100 * row.balanced_accuracy:.1f}", single, f"{100 * row.all_class_accuracy:.1f}", every)
        for (what, row), single, every in zip(wanted, paper, all_class)
    ]
    return table(("accuracy, %", "single-class, here", "paper", "all-class, here", "paper"), lines)


def _details(sets: dissect.UnitSets) -> str:
    counts = default_counts(sets.num_units)
    head = ("removed", "units", "%", "balanced", "change", "recall", "precision", "true negatives", "accuracy", "AUC")
    lines = [
        (row.removed, str(row.units), f"{row.percent:.1f}", f"{row.balanced_accuracy:.3f}", f"{row.change:+.3f}",
         *(f"{value:.3f}" for value in (row.recall, row.precision, row.true_negative_rate, row.accuracy, row.auc)))
        for row in sets.table()
        if row.units in (0, *counts)
    ]  # fmt: skip
    return table(head, lines)
