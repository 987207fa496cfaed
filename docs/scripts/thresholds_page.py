"""The text of docs/thresholds.md: what was measured, between the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from string import Template
from typing import Any

from pages import table

import dissect
from dissect.concepts import ordered_categories
from dissect.dissection.rows import UnitRow, is_detector
from dissect.stats import wilson_interval

PAGE = Template("""\
<!-- Written by docs/scripts/thresholds.py; do not edit. -->
# Every threshold

What a unit is called depends on the threshold above which it fires. `dissect.sweep` counts at all of them in one pass:

```python
found = dissect.sweep(model, "features.conv5_3", images, shares=[0.005, 0.01, 0.04])
found.labels()           # which labels appear where units fire on 0.5 %, 1 %, 4 % of the pixels, and above 0
found.units()            # per unit its label by IoU at any level, by average precision, by information quality
found.curve(41)          # one unit and its labels at every level
found.plot("unit", unit=41)
```

Below: `features.conv5_3` of the embedded classifier, after its ReLU, over $scenes validation scenes; and `layer4` of
`progan-street` over $count z of seed $seed, labelled by segmentation network 0. "Halves" are the same counts in each
half of these images alone, with thresholds of its own: how far a number can be trusted. (Fewer images give more labels
by chance.) Intervals are 95 %, of images drawn again. All of it took $minutes minutes of one processor core.

## Which labels appear (TPAMI 2018, Fig. 28)

Labels of the units whose best IoU exceeds 0.04, at the threshold that each unit exceeds on a share tau of the pixels,
and without one: wherever it exceeds 0. "Labels" are different ones, "units" those that have one, by category.

$labels
In the paper (AlexNet's conv5 on Places205) a tau below 0.005 misses objects, and wider thresholds, or none, associate
units with colors, textures and large regions. $labels_verdict

## A unit's IoU at every threshold (TPAMI 2018, Fig. 29)

Every label that has the highest IoU at some threshold. Of all units whose label at the top 0.5 % is not the one that it
has above 0, those with the highest IoU at the top 0.5 %, of different labels.

$curves
## Other measures beside the IoU

Per unit the label with the highest IoU at any threshold, the one with the highest average precision over all, and the
one with the highest information quality ratio I/H at any. F1 is 2 IoU / (1 + IoU), so it names the label that IoU
does. Intervals of shares are Wilson's, as if units were independent.

$measures
## The most informative threshold (`preset="iclr2019"`)

Chapter 4 of the thesis takes for each unit and label the threshold that tells most about the label, on images of its
own ([the rules](presets.md#the-most-informative-threshold)): here $scenes training scenes, and $count z of seed
$others, while every count is of the images above. "Certain" are those whose whole 95 % interval lies above the cut-off
of the IoU; "by chance" is the false discovery rate of that cut-off against planes of other images, of the IoU alone;
"beyond" are the units above the cut-off that keeps this rate at 5 % ([which labels can be trusted](trust.md)).

$informative
$informative_verdict

Where a threshold is wide, the published cut-off of 0.05 is no bar: a unit that fires on a third of the pixels has such
an IoU with sky or road, in the images that show some object, whatever it sees. The rates say how many of the matches
that leaves. The pixel accuracy excludes next to nothing at t(u, c), whose candidates agree on more than 80 % of the
pixels already.
""")

#: What the rules are called in the table: levels, then what a detector needs beside its IoU.
MATCHES = {"iou": "-", "information": "I/H > 0.01 (code)", "accuracy": "accuracy > 0.75 (Fig. 4-5)"}
LEVELS = {
    "default": "top 1 %, all images, IoU > 0.04",
    "label_information": "t(u, c), IoU > 0.05",
    "unit_information": "one per unit (code), IoU > 0.05",
}


def page(found: Sequence[dict[str, Any]], numbers: dict[str, int], seconds: float) -> str:
    """The whole page."""
    return PAGE.substitute(
        numbers,
        minutes=f"{seconds / 60:.0f}",
        labels="".join(map(_labels, found)),
        labels_verdict=" ".join(map(_labels_verdict, found)),
        curves="".join(map(_curves, found)),
        measures="".join(map(_measures, found)),
        informative="".join(map(_informative, found)),
        informative_verdict=" ".join(map(_informative_verdict, found)),
    )


def _layer(one: dict[str, Any]) -> str:
    return str(one["network"].layer)


def _share(share: float | None) -> str:
    return "above 0" if share is None else f"top {100 * share:g} %"


def _counts(sweep: dissect.Sweep) -> dict[tuple[float | None, str], tuple[int, int]]:
    return {(row.share, row.category): (row.concepts, row.units) for row in sweep.labels()}


def _labels(one: dict[str, Any]) -> str:
    sweep: dissect.Sweep = one["sweep"]
    whole, halves = _counts(sweep), [_counts(half) for half in one["halves"]]
    kinds = [kind for kind in ordered_categories(sweep.concepts) if any(whole[s, k][1] for s, k in whole if k == kind)]
    shares = list(dict.fromkeys(share for share, _ in whole))
    rows = []
    for share in shares:
        totals = [sum(part[share, kind][0] for kind in kinds) for part in halves]
        cells = [f"{whole[share, kind][0]} ({whole[share, kind][1]})" for kind in kinds]
        labels, units = (sum(whole[share, kind][at] for kind in kinds) for at in (0, 1))
        rows.append([_share(share), *cells, labels, " / ".join(map(str, totals)), f"{units} of {_units(one)}"])
    network = one["network"]
    head = ["tau", *(f"{kind}: labels (units)" for kind in kinds), "labels", "halves", "units"]
    return (
        f"### {network.title}\n\n![Units with labels of each category over tau]"
        f"(thresholds/{network.name}-labels.png)\n\n{table(head, rows)}\n"
    )


def _units(one: dict[str, Any]) -> int:
    return int(one["sweep"][_layer(one)].num_units)


def _labels_verdict(one: dict[str, Any]) -> str:
    whole = _counts(one["sweep"])
    shares = one["sweep"].settings["shares"]

    def units(share: float | None, *kinds: str) -> int:
        return sum(count[1] for (at, kind), count in whole.items() if at == share and kind in kinds)

    broad, tight, loose = ("color", "texture", "material"), shares[1], shares[-1]
    objects = {share: whole.get((share, "object"), (0, 0))[0] for share in shares}
    most = max(objects, key=lambda share: objects[share])
    return (
        f"In {_layer(one)} most objects, {objects[most]}, have a detector at tau = {most:g} ({objects[tight]} at "
        f"{tight:g}, {objects[shares[0]]} at {shares[0]:g}); colors, textures and materials name "
        f"{units(tight, *broad)} units at {tight:g}, {units(loose, *broad)} at {loose:g} and {units(None, *broad)} "
        "without a threshold."
    )


def _curves(one: dict[str, Any]) -> str:
    name, parts = one["network"].name, []
    for unit in one["units"]:
        rows = [
            (_share(share), _named(d.best()[unit]))
            for share, d in zip([*one["sweep"].settings["shares"], None], one["at_shares"])
        ]
        parts.append(
            f"**Unit {unit} of {_layer(one)}**\n\n![IoU over the share on which unit {unit} fires]"
            f"(thresholds/{name}-unit-{unit}.png)\n\n{table(['tau', 'label, IoU and interval'], rows)}\n"
        )
    return "".join(parts) or f"No unit of {_layer(one)} has another label without a threshold.\n\n"


def _named(row: UnitRow) -> str:
    interval = f" ({row.low:.3f} to {row.high:.3f})" if row.low is not None else ""
    return f"{row.concept} ({row.category}) {row.iou:.3f}{interval}"


def _measures(one: dict[str, Any]) -> str:
    rows, usual = one["sweep"].units(), one["by_rule"]["default"].best()
    pairs = {
        "average precision": [row.by_precision == row.concept for row in rows],
        "information quality": [row.by_information == row.concept for row in rows],
        "IoU at the top 1 %": [own.concept == row.concept for own, row in zip(usual, rows)],
    }
    told = ", ".join(f"{name} for {_of(same)}" for name, same in pairs.items())
    lines = [
        [row.unit, f"{row.concept} ({row.category})", f"{row.iou:.3f}", f"{row.f1:.3f}", f"{100 * row.firing:.2g} %",
         f"{row.by_precision} {row.average_precision:.3f}", f"{row.by_information} {row.information_quality:.3f}",
         f"{usual[row.unit].concept} {usual[row.unit].iou:.3f}"]
        for row in rows.top(8, by="iou")
    ]  # fmt: skip
    head = ["unit", "by IoU", "IoU", "F1", "fires on", "by average precision", "by I/H", "IoU at the top 1 %"]
    return (
        f"**{_layer(one)}**, the eight units of the highest IoU at any threshold:\n\n{table(head, lines)}\n"
        f"The label by IoU at the best threshold is also the label by {told}.\n\n"
    )


def _of(same: Sequence[bool]) -> str:
    low, high = wilson_interval(sum(same), len(same))
    return f"{sum(same)} of {len(same)} units ({low:.0%} to {high:.0%})"


def _matched(d: dissect.Dissection, match: str) -> list[UnitRow]:
    return [row for row in d.best() if is_detector(row, d.settings | {"match": match})]


def _informative(one: dict[str, Any]) -> str:
    rows, layer = [], _layer(one)
    for levels, d in one["by_rule"].items():
        for match in MATCHES if levels != "default" else ("iou",):
            own, cutoff = _matched(d, match), d.settings["detector_iou"]
            classes = {(row.category, row.concept) for row in own}
            mean = f"{sum(row.iou for row in own) / len(own):.3f}" if own else "-"
            certain = sum(row.low is not None and row.low > cutoff for row in own)
            rate, allowed = d[layer].false_discovery_rate(cutoff), d[layer].cutoff_at()
            beyond = 0 if allowed is None else sum(row.iou > max(allowed, cutoff) for row in own)
            rows.append([
                LEVELS[levels], MATCHES[match], len(own), certain, len(classes),
                sum(kind == "object" for kind, _ in classes), mean, f"{rate:.0%}" if rate == rate else "-",
                f"{beyond} (none)" if allowed is None else f"{beyond} ({max(allowed, cutoff):.3f})",
            ])  # fmt: skip
    head = ["thresholds", "and", "units", "certain", "labels", "objects", "mean IoU", "by chance", "beyond (cut-off)"]
    return f"**{layer}**, {_units(one)} units:\n\n{table(head, rows)}\n"


def _informative_verdict(one: dict[str, Any]) -> str:
    usual, best = (one["by_rule"][name].best() for name in ("default", "label_information"))
    higher = sum(own.iou > row.iou for own, row in zip(best, usual))
    same = [own.concept == row.concept for own, row in zip(best, usual)]
    return (
        f"In {_layer(one)} the IoU at t(u, c) is higher than that at the top 1 % for {higher} of {len(usual)} units, "
        f"and the label is the same for {_of(same)}; images without the category count in one and not in the other."
    )
