"""The text of docs/experiments_attack.md: what was measured, between the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from string import Template
from typing import Any

from pages import table

from dissect.classifiers import UnitImportance
from dissect.experiments import PUBLISHED, AttackResult, CarliniWagner
from dissect.table import Table

PAGE = Template("""\
<!-- Written by docs/scripts/experiments_attack.py; do not edit. -->
# Important units: what they detect, and what an attack does to them

Part 2 of the experiments on classifiers; part 1 is [what classes lose without units](experiments.md).

`dissect.tiny.vgg()`, layer `$layer`, $units units, $classes classes. Importance is the balanced accuracy that a class
loses without a unit: units are ranked on $train_images training scenes, drops are measured on $val_images validation
scenes (`dissect.unit_importance`). Important means: among the $most most important units of a class, unless another
number is given. The papers' network is VGG-16 on Places365: 512 units, 365 classes.

## Importance and IoU

IoU is that of a unit's best concept over $scenes validation scenes.

![Mean IoU by importance; correlations by importance](experiments/relations.png)

Above: units by the number of classes to which they are important, and how many units these are (PNAS 2020, Fig. 2E,
S4c-f). Below, left: units by their importance averaged over the classes (Fig. S4g). Right: every pair of a unit and a
class (Fig. S4h).

$by_classes
The paper finds that IoU rises with the number of classes, whichever of the four ways one counts, and with the mean
importance. Here the rank correlation (Spearman) over the $units units is $rank_classes between IoU and the number of
classes, and $rank_mean between IoU and mean importance, where chance alone would give ±$chance; with IoU divided by the
most that is attainable for the concept's size the first is $rank_attained. Whatever is below twice the chance is no
evidence of a relation. The paper has charts, in which IoU rises steadily, and no coefficient.

## Peaks and scores

Pearson's correlation of a unit's peak activation with the softmax score of a class, over the same $scenes scenes.

$signs
Paper: 58.9 % of all pairs are negative, and nearly all the important ones positive.

## Units shared by classes

$found combinations of three classes and three units, each of which is important to two of the three classes and not to
the third; $found_classes of the $classes classes are in one (Fig. S5). The clearest, no two of which share two classes;
the numbers are points of balanced accuracy that the class loses on validation scenes without the unit.

$combinations
## Adversarial attacks

Each of the first $seen validation scenes that the network names right ($attacked of them; $misnamed it does not) is
attacked to another class, drawn at random, by the targeted L2 attack of Carlini and Wagner (foolbox 3:
$settings). The paper attacks 1,000 images to each of five fixed classes with foolbox's own settings
(`experiments.PUBLISHED`: $published), $more times
as many steps. Its images are those whose class and whose answer both differ from the target, so that some are named
wrong before (`candidates="non_target"`); here all are named right (`"correct"`). Its peaks are of conv5_3 after the
ReLU, here before it: they differ only where a whole map is negative.

**$reached of $attacked attacks reach their target.** The median L2 norm is $median (the largest is
$largest), a root mean square of $rms of 255 levels of a pixel. Random noise of the same norms leaves the
network's answer as it was in $noise_kept of these.

![Mean absolute change of peaks](experiments/attack.png)

Mean absolute change of a unit's peak activation, with 99 % confidence intervals (Fig. 5C); on the right divided by each
unit's standard deviation over the unchanged scenes. Noise is normal, of the norm of each attack.

$changes
$verdict

Attacks of about the median norm (Fig. 5A, B). Maps show where a unit's activation rises and falls.

$maps
`python docs/scripts/experiments_classifier.py`, then `python docs/scripts/experiments_attack.py`, make this page anew.
""")


def page(importance: UnitImportance, result: AttackResult, most: int, facts: dict[str, Any]) -> str:
    """The whole page."""
    won, attacked = int(result.reached.sum()), facts["attacked"]
    norms = result.norms[result.reached]
    return PAGE.substitute(
        layer=importance.layer,
        units=importance.num_units,
        classes=len(importance.classes),
        train_images=f"{int(importance.tally('train').images().sum()):,}",
        val_images=f"{int(importance.tally('val').images().sum()):,}",
        most=most,
        scenes=f"{facts['scenes']:,}",
        by_classes=_by_classes(facts["by_classes"]),
        rank_classes=f"{facts['ranks'][0]:.2f}",
        rank_mean=f"{facts['ranks'][1]:.2f}",
        rank_attained=f"{facts['attained']:.2f}",
        chance=f"{(importance.num_units - 1) ** -0.5:.2f}",
        signs=_signs(facts["signs"]),
        found=facts["combinations"]["found"],
        found_classes=facts["combinations"]["classes"],
        combinations=_combinations(facts["combinations"]["shown"]),
        seen=len(result.images) + result.misnamed,
        attacked=len(result.images),
        misnamed=result.misnamed,
        settings=_settings(result.settings),
        published=_settings(PUBLISHED),
        more=f"{_steps(PUBLISHED) / _steps(result.settings):.0f}",
        reached=won,
        median=f"{float(norms.median()):.2f}",
        largest=f"{float(norms.max()):.2f}",
        rms=f"{255 * float(norms.median()) / attacked['pixels'] ** 0.5:.2f}",
        noise_kept=f"{float(result.noise_kept[result.reached].double().mean()):.1%}",
        changes=_changes(attacked["changes"]),
        verdict=_verdict(attacked["changes"]),
        maps="".join(
            f"![{source} attacked to {target}](experiments/attack-{number}.png)\n\n"
            for number, (source, target) in enumerate(attacked["shown"], start=1)
        ),
    )


def _steps(settings: CarliniWagner) -> int:
    return settings.binary_search_steps * settings.steps


def _settings(settings: CarliniWagner) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in settings._asdict().items())


def _by_classes(tables: Sequence[tuple[int, Table]]) -> str:
    header = ["important to so many classes", *(row.classes for row in tables[0][1])]
    cells = (
        [f"top {k}: mean IoU (units)", *(f"{row.iou:.3f} ({row.units})" if row.units else "- (0)" for row in rows)]
        for k, rows in tables
    )
    return table(header, cells)


def _signs(rows: Table) -> str:
    return table(
        ("units", "pairs", "negative", "mean correlation"),
        ((row.units, f"{row.pairs:,}", f"{row.negative:.1%}", f"{row.correlation:+.3f}") for row in rows),
    )


def _combinations(shown: Sequence[Sequence[str]]) -> str:
    parts = []
    for number, (first, second, third, *units) in enumerate(shown, start=1):
        text = f"{first} and {second} share {units[0]}, {second} and {third} {units[1]}, {first} and {third} {units[2]}"
        parts.append(f"{text}:\n\n![{text}](experiments/combination-{number}.png)\n\n")
    return "".join(parts)


def _changes(rows: Table) -> str:
    names = {"target": "important to the target", "source": "important to the source", "other": "all others"}
    return table(
        ("units", "cause", "mean absolute change", "mean change", "in standard deviations"),
        (
            (
                names[row.units],
                row.cause,
                f"{row.change:.2f} ± {row.interval:.2f}",
                f"{row.rise:+.2f}",
                f"{row.scaled:.3f} ± {row.scaled_interval:.3f}",
            )
            for row in rows
        ),
    )


def _verdict(rows: Table) -> str:
    row = {(row.units, row.cause): row for row in rows}
    target, source, other = (row[units, "attack"] for units in ("target", "source", "other"))
    shaken = row["target", "noise"], row["source", "noise"], row["other", "noise"]
    return (
        f"Under attack the units important to the target change {target.change / other.change:.1f} times as much as "
        f"the others, those important to the source {source.change / other.change:.1f} times; in standard deviations "
        f"{target.scaled / other.scaled:.1f} and {source.scaled / other.scaled:.1f} times. Under noise the two are "
        f"{shaken[0].scaled / shaken[2].scaled:.1f} and {shaken[1].scaled / shaken[2].scaled:.1f} times."
    )
