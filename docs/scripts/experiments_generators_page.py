"""The text of docs/experiments_generators.md: what was measured, between the pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from string import Template
from typing import Any

from pages import table

from dissect import Dissection
from dissect.generators import CausalUnits, CurveRow, Effect, EffectTrace, InsertionContext, RemovalCurves, TraceRow

PAGE = Template("""\
<!-- Written by docs/scripts/experiments_generators.py; do not edit. -->
# What the units of generators do

Chapter 4 of the thesis, and "Role of Units in a GAN" of PNAS 2020, on the embedded generators: units that match a class
are ablated, and the class goes; they are inserted, and it comes, in some places. `$layer` of `progan-street`, and of
the StyleGAN2 `stylegan2-street-watermark`, each of whose images has a noise seed of its own; in the papers Progressive
GANs of LSUN churches and conference rooms, layer4, 512 units on 8x8 cells. A share of pixels that "is gone" is
$formula, "random" as many random units of the layer (of effects the mean of $draws draws), and
"network 1" a second segmentation network that was trained from another seed. Intervals are 95 %, z drawn again with
replacement. No z is in two of these samples:

| z | seed | progan-street | StyleGAN2 |
| --- | --- | --- | --- |
$samples
## What the units match (SI S13 to S18)

At each unit's top 1 % of the pixels; a unit is a detector where its IoU exceeds 0.04.

$matched
## Trees go (Fig. 4-1, 4-9)

The $few_count units with the highest IoU with trees, $few_share of the layer, are set to 0 everywhere: **$few_removed
of the tree pixels are gone** ($few_interval), by network 1 $few_second, and with random units $few_random. In the paper
the same share of the layer removes 53.3 %. The average causal effect of eq. 4.4, insertion everywhere at k against
ablation everywhere, over E s(x), is $few_effect ($few_effect_interval).

![The same z with and without tree units](experiments_generators/trees.png)

The eight images that show most tree, without the first 5 and the first 20 tree units.

What the $few_count units do to other classes, the ten that gain or lose most pixels of all that the network knows.
Crown, trunk and foliage are parts of trees and what they are made of.

$few_others
Without $style_few_count of the StyleGAN2's units, $style_few_share of its layer, $style_few_removed of its tree pixels
are gone ($style_few_interval), by network 1 $style_few_second, and with random units $style_few_random.

![The same for the StyleGAN2](experiments_generators/style-trees.png)

## Class by class (Fig. 4-9)

$count units each, by IoU with the class, the class that loses most first. Beside it the other class of the same
category, of at least 1 % of the pixels, that changes most.

$effects
$effects_verdict

The same of the StyleGAN2:

$style_effects
$style_effects_verdict

## Generator by generator (Fig. 4-10)

Trees without $count units by IoU of `$layer`.

$by_generator
## More and more units (Fig. 4-4, PNAS 4A)

![Share of tree pixels removed over the number of units](experiments_generators/curves.png)

$curves
Shares of the tree pixels that are gone, and in brackets the other object of at least 1 % of the pixels that changes
most. "ACE" ranks units by how much each takes part, alpha, after it was optimised for the average causal effect (eq.
4.5, 4.6, A.1; Adam, learning rate 0.01, 0.005 |alpha|^2). The published optimisation edits single cells; with blocks of
3x3 cells there were $ace3_places places of each kind and $ace3_steps steps, with one cell $ace1_places and $ace1_steps.
Of its first ten units $ace3_shared (3x3) and $ace1_shared (one cell) are among the first ten by IoU.

$curves_verdict

The same of the StyleGAN2, with 3x3 cells, $style_ace3_places places of each kind and $style_ace3_steps steps;
$style_ace3_shared of the first ten units are among the first ten by IoU.

![The same for the StyleGAN2](experiments_generators/style-curves.png)

$style_curves
$style_curves_verdict

## Where trees can be put in (Fig. 4-11, PNAS 4C)

The $count tree units by IoU are set to k, the mean of each where trees are (of every second z for the others), in one
block of 3x3 cells, at each place of each of $c3_z images: $c3_samples insertions. "Added" is the mean of the new tree
pixels over the $c3_base tree pixels that an image has on average; beside it what one draw of as many random units adds,
each at its own level, and what network 1 sees added, over its own baseline. Contexts of at least $least insertions are
shown, as in the papers, the others named; further below, of fewer images, those of at least $less.

![Trees added by context and by place, 3x3 cells](experiments_generators/tree-3x3.png)

$c3
One cell, as in the papers, $c1_z images, $c1_samples insertions:

![Trees added by context and by place, one cell](experiments_generators/tree-1x1.png)

$c1
The StyleGAN2, 3x3 cells, $style_c3_z images, $style_c3_samples insertions, over $style_c3_base tree pixels:

![The same for the StyleGAN2](experiments_generators/style-tree-3x3.png)

$style_c3
$contexts_verdict

## Doors

The class of the papers' figure: $count units by IoU with doors, 3x3 cells, $cd_z images.

![Doors added by context and by place](experiments_generators/door-3x3.png)

$cd
$door_verdict

## Through the later layers (Fig. A-6)

The same insertions, at each place of each of $trace_z images, and what they change in every later layer: a channel's
change over its own mean L1, averaged over channels and positions. In the paper 20 door units are set in one cell of
layer4, in 6 images, and a person says which edits can be seen. Here an edit is visible where more than $trace_cut of
the image's pixels gain or lose the class. On the right the change of the last layer before the image, by the place of
the edit.

![Change from layer to layer, and by place](experiments_generators/trace.png)

Trees, 3x3 cells, $trace_edits edits:

$trace
$trace_verdict

The StyleGAN2, $style_trace_z images, $style_trace_edits edits:

![The same for the StyleGAN2](experiments_generators/style-trace.png)

$style_trace
$style_trace_verdict

$traces
`python docs/scripts/experiments_generators.py` makes this page anew, in $minutes minutes of one core's time. Not here
yet: more z. Artifact units (4.4.2) have [a page of their own](experiments_artifacts.md).
""")
#: The samples of z by their seeds.
USES = {1: "thresholds and IoU", 10: "the optimisation of ACE", 3: "effects and curves", 4: "contexts", 5: "traces"}


def page(found: dict[str, dict[str, Any]], minutes: float) -> str:
    """The whole page."""
    street, style = found["street"], found["style"]
    effects, styles = (sorted(each["effects"], key=lambda effect: -effect.removed) for each in (street, style))
    few: Effect = street["few"]
    trees = [next(effect for effect in each if effect.concept == few.concept) for each in (effects, styles)]
    contexts = street["contexts"]
    values = {
        "layer": few.layer,
        "samples": "".join(
            f"| {use} | {seed} | {street['samples'][seed]} | {style['samples'][seed]} |\n" for seed, use in USES.items()
        ),
        "formula": "(sum of s(x) - sum of s(edited x)) / sum of s(x)",
        "draws": len(few.random_units),
        "matched": _matched(found),
        "few_effect": "not known" if few.average_effect is None else f"{few.average_effect:.2f}",
        "few_effect_interval": "{:.2f} to {:.2f}".format(*few.average_effect_interval),
        "few_others": _others(few),
        "count": street["count"],
        "by_generator": _effects(zip(("progan-street", "stylegan2-street-watermark"), trees)),
        "door_verdict": _door_verdict(contexts["door-3x3"], contexts["tree-3x3"]),
        "minutes": f"{minutes:.0f}",
        "least": f"{contexts['tree-3x3'].least:,}",
        "less": contexts["tree-1x1"].least,
        "contexts_verdict": _contexts_verdict([contexts["tree-3x3"], style["contexts"]["tree-3x3"]]),
        **_context("c1", contexts["tree-1x1"]),
        **_context("cd", contexts["door-3x3"]),
        "traces": _traces(found),
    }
    for prefix, each, ordered in (("", street, effects), ("style_", style, styles)):
        values |= {f"{prefix}{name}": value for name, value in _of(each, ordered).items()}
    return PAGE.substitute(values)


def _of(its: dict[str, Any], effects: Sequence[Effect]) -> dict[str, Any]:
    """What is said of one generator as of the other."""
    few: Effect = its["few"]
    found = {
        "few_count": len(few.units),
        "few_share": f"{len(few.units) / few.num_units:.1%}",
        "few_removed": f"{few.removed:.1%}",
        "few_interval": _interval(*few.interval),
        "few_second": _percent(few.second and few.second.removed),
        "few_random": _percent(few.random),
        "effects": _effects([(effect.concept, effect) for effect in effects]),
        "effects_verdict": _verdict(effects),
        "curves": _curves(its["curves"]),
        "curves_verdict": _curves_verdict(its["curves"]),
    }
    for block, ace in its["ace"].items():
        found |= _places(f"ace{block}", ace, its["curves"].rankings[0, :10].tolist())
    return found | _context("c3", its["contexts"]["tree-3x3"]) | _trace(its["traces"]["tree-3x3"])


def _matched(found: dict[str, dict[str, Any]]) -> str:
    """A row for each generator and category."""
    rows = []
    for name, its in (("progan-street", found["street"]), ("StyleGAN2", found["style"])):
        d: Dissection = its["dissection"]
        detectors, units = d.detectors(), len(d.best())
        for row in d.unique_detectors():
            own = sorted((each for each in detectors if each.category == row.category), key=lambda each: -each.iou)
            most = f"{own[0].concept} {own[0].iou:.3f} (unit {own[0].unit})" if own else "-"
            rows.append([name, row.category, f"{row.units} of {units}", row.concepts, most])
    return table(["", "category", "detectors", "different ones", "the best"], rows)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None or low != low else f"{low:.1%} to {high:.1%}"


def _others(effect: Effect, most: int = 10) -> str:
    rows = (
        [f"{row.concept} ({row.category})", f"{row.before:.2%}", f"{row.after:.2%}", _percent(row.change),
         _interval(row.low, row.high), _percent(row.random)]
        for row in effect.others[:most]
    )  # fmt: skip
    return table(["class", "of all pixels", "without the units", "change", "95 %", "with random units"], rows)


def _effects(effects: Iterable[tuple[str, Effect]]) -> str:
    rows = []
    for name, effect in effects:
        row = effect.row
        other = "-" if row.its_change is None else f"{row.most_changed} {row.its_change:+.0%}"
        rows.append([
            name, f"{row.before:.2%}", _percent(row.removed), _interval(row.low, row.high), _percent(row.second),
            _percent(row.random), "-" if row.average_effect is None else f"{row.average_effect:.2f}", other,
        ])  # fmt: skip
    heads = ["", "of all pixels", "gone", "95 %", "network 1", "random", "eq. 4.4", "most changed other class"]
    return table(heads, rows)


def _verdict(effects: Sequence[Effect]) -> str:
    gone = [effect.concept for effect in effects if effect.removed > 0.5 and effect.interval[0] > 0.25]
    stay = [effect.concept for effect in effects if effect.removed <= 0.25]
    return (
        f"More than half is gone of: {', '.join(gone) or 'none'}. At most a quarter is gone of: "
        f"{', '.join(stay) or 'none'}; as tables and chairs in the paper's conference rooms, these are reduced at most."
    )


def _curves(curves: RemovalCurves) -> str:
    names = list(dict.fromkeys(curves.names))
    rows = {(row.ranking, row.units): row for row in curves.table}
    lines = [
        [f"{count} ({count / curves.num_units:.1%})", *(_point(rows[name, count]) for name in names)]
        for count in curves.counts
    ]
    return table(["units", *names], lines)


def _point(row: CurveRow) -> str:
    other = "" if row.its_change is None else f" ({row.most_changed} {row.its_change:+.0%})"
    return f"{row.removed:.1%}{other}"


def _curves_verdict(curves: RemovalCurves) -> str:
    rows = {(row.ranking, row.units): row for row in curves.table}
    names = [name for name in dict.fromkeys(curves.names) if name.startswith("ACE")]
    told = []
    for name in names:
        more = [str(count) for count in curves.counts if rows[name, count].removed > rows["IoU", count].removed + 0.01]
        told.append(f"{name}: with {', '.join(more)} units" if more else f"{name}: with no number of units")
    last = [rows[name, curves.counts[-1]] for name in ("IoU", *names)]
    others = ", ".join(f"{row.its_change or 0:+.0%} ({row.ranking}: {row.most_changed})" for row in last)
    five = rows["IoU", 5].removed
    return (
        f"ACE removes more than IoU by over a point: {'; '.join(told)}. In the thesis it removes more throughout; here "
        f"5 units by IoU remove {five:.0%} already, which leaves little to gain. What {curves.counts[-1]} units do to "
        f"the class that changes most beside it: {others}."
    )


def _places(name: str, ace: CausalUnits, first: Sequence[int]) -> dict[str, Any]:
    shared = len({*ace[:10]} & {*first})
    return {f"{name}_places": len(ace.removals), f"{name}_steps": len(ace.losses), f"{name}_shared": shared}


def _context(name: str, context: InsertionContext) -> dict[str, Any]:
    rows = (
        [f"{row.context} ({row.category})", f"{row.samples:,}", f"{row.images}", f"{row.added:.3f}",
         "-" if row.low is None else f"{row.low:.3f} to {row.high:.3f}",
         _known(row.random), _known(row.second)]
        for row in context.table
    )  # fmt: skip
    rest = ", ".join(f"{row.context} ({row.samples:,})" for row in context.rest[:12])
    more = f" and {len(context.rest) - 12} more" if len(context.rest) > 12 else ""
    shown = table(["context", "insertions", "images", "added", "95 %", "random", "network 1"], rows)
    return {
        name: f"{shown}\nOf fewer than {context.least:,} insertions each, and so not shown: {rest}{more}.\n",
        f"{name}_z": len(context.before),
        f"{name}_samples": f"{context.changes.numel():,}",
        f"{name}_base": f"{float(context.before.double().mean()):.0f}",
    }


def _traces(found: dict[str, dict[str, Any]]) -> str:
    """A trace a line: how many edits are visible, and where the change is largest."""
    lines = []
    for name, its in (("progan-street", found["street"]), ("StyleGAN2", found["style"])):
        for trace in its["traces"].values():
            rows, visible, edits = list(trace.table), trace.visible, trace.changes[0].numel()
            most = max(rows[:-1], key=lambda row: row.change)  # the last one is the image
            seen = 0 if visible is None else int(visible.sum())
            lines.append([
                name, trace.concept.partition("/")[2], f"{trace.block}x{trace.block}", trace.changes.shape[1],
                f"{edits:,}", f"{seen:,} ({seen / edits:.0%})", f"{rows[0].change:.3f}",
                f"{most.change:.3f} ({most.layer})", _known(most.visible), _known(most.unseen),
            ])  # fmt: skip
    heads = ["", "class", "cells", "z", "edits", "visible", "change of the layer itself", "most, in a later layer",
             "visible, there", "unseen, there"]  # fmt: skip
    return table(heads, lines)


def _trace(trace: EffectTrace) -> dict[str, Any]:
    rows = list(trace.table)
    lines = (
        [row.layer, f"{row.change:.3f}", _between(row.low, row.high), _known(row.visible),
         _between(row.visible_low, row.visible_high), _known(row.unseen), _between(row.unseen_low, row.unseen_high)]
        for row in rows
    )  # fmt: skip
    return {
        "trace_z": trace.changes.shape[1],
        "trace_cut": f"{trace.cut:.1%}",
        "trace_edits": f"{trace.changes[0].numel():,}",
        "trace": table(["layer", "change", "95 %", "visible", "95 %", "unseen", "95 %"], lines),
        "trace_verdict": _trace_verdict(rows),
    }


def _trace_verdict(rows: Sequence[TraceRow]) -> str:
    told = [row for row in rows[:-1] if row.visible_low is not None and row.unseen_high is not None]
    if not told:
        return "There are too few edits to say more."
    first, most = told[0], max(told, key=lambda row: row.visible or 0)
    apart = [row.layer for row in told if (row.visible_low or 0) > (row.unseen_high or 0)]
    where = f"from {apart[0]} on" if apart else "nowhere beyond their intervals"
    return (
        f"Edits that will be visible and others change the layer itself alike ({first.visible:.3f} and "
        f"{first.unseen:.3f}); they part {where}. The change is amplified to a peak at {most.layer} "
        f"({most.visible:.3f} and {most.unseen:.3f}); in the paper at layer12 of 14."
    )


def _known(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _between(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _contexts_verdict(contexts: Sequence[InsertionContext]) -> str:
    """What is more than random units add, and what the second network says of it."""
    told = []
    for name, context in zip(("`progan-street`", "the StyleGAN2"), contexts):
        rows = [row for row in context.table if row.low is not None and row.random is not None]
        if not rows:
            continue
        more = [row.context for row in rows if row.low > max(0.0, row.random)]
        random = max(rows, key=lambda row: abs(row.random))
        told.append(
            f"In {name} trees appear, beyond the interval of 0 and of random units, where there was "
            f"{', '.join(more) or 'nothing'}; random units add at most {random.random:+.3f} ({random.context})"
        )
    return f"{'. '.join(told)}." if told else "There are too few insertions to say more."


def _door_verdict(doors: InsertionContext, trees: InsertionContext) -> str:
    if not doors.table or not trees.table:
        return "There are too few insertions to say more."
    most, best = doors.table[0], trees.table[0]
    papers = "In the papers they appear on buildings."
    if most.added < 0.05:
        return (
            f"Doors appear nowhere at this level: the most, {most.added:.2f} of the baseline, is added where there was "
            f"{most.context}; trees reach {best.added:.2f} ({best.context}). {papers}"
        )
    return f"Most doors appear where there was {most.context}, {most.added:.2f} of the baseline. {papers}"
