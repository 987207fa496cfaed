"""Units of the embedded classifier by bands of activation, and what they also fire on: writes docs/meanings.md.

python docs/scripts/meanings.py [--images N]
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from pages import command_line, folder, table
from torch import nn

import dissect
from dissect import plots, tiny
from dissect.chosen import cycles
from dissect.dissection.bands import BandRow
from dissect.dissection.formulas_result import FormulaRow
from dissect.stats.ranks import adjusted

LAYER = "features.conv5_3"
SHARES = (0.0025, 0.01, 0.04)
DETECTOR = 0.04
#: Of the bands: permutations of the planes, and draws of images; and the false discovery rate of what is beyond chance.
DECOYS, RESAMPLES, RATE = 4, 200, 0.05
#: Rows of each table.
SHOWN = 8

HEAD = """\
<!-- Written by docs/scripts/meanings.py; do not edit. -->
# Units with several meanings

One label is given to a unit for the top of its activations. Lower activations may mean something else, and so may some
of the highest.

**Bands.** A sweep counts at every threshold, so the counts of a band are the difference of two, in integers:

```python
found = dissect.sweep(model, layer, scenes, shares=[0.0025, 0.01, 0.04], decoys=4, resamples=200)
found.bands()  # per unit and band: the label with the highest IoU, its precision, its interval, and p
```

Intervals are of images that are drawn again. The null has the planes of other images: p is how probable so high a best
IoU with any label is there, of the same band in any unit of the layer, so that a wide band is held against wide ones.

**Also fires on.** `dissect.formulas` counts the combinations of labels on which each unit fires. From the same counts
follows which label a unit overlaps most when the pixels of its best label are taken away, from the unit and from every
other label: `also` of its rows; the report's cards tell it where its IoU exceeds the cut-off of detectors:

```python
explained = dissect.formulas(model, dissection, scenes, decoys=4, seed=0)
explained.rows()  # also, also_iou, also_firing; also_p and also_q: by chance
dissect.write_report(dissection, "out", formulas=explained)  # with "beyond chance" or "may be chance"
```

The best of so many labels overlaps any unit a little, so the null is the same best with other images' planes: the unit
on the pixels where its first label is not, against what another image's planes say there, of any label but the first
(`dissect.stats.AlsoNull`; the planes are permuted among the images by `seed`, whatever the batches). `also_p` is how
probable so high an IoU is there in any unit of the layer that has pixels left; `also_q` its false discovery rate
among these units (Benjamini-Hochberg). Decoys may say labels that in truth lie within the first (a facade, where the
house is away), so that the null is stricter than it need be.
"""


def beyond(rows: list[BandRow]) -> set[int]:
    """Units whose band is beyond chance, at a false discovery rate of 5 % of those with pixels there."""
    p = torch.tensor([1.0 if row.p is None else row.p for row in rows], dtype=torch.float64)
    return {row.unit for row, rate in zip(rows, adjusted(p).tolist()) if rate <= RATE}


def bands(rows: list[BandRow]) -> str:
    """A row per band: how many units keep the label of the highest one."""
    first = {row.unit: row for row in rows if not row.top}
    places = list(dict.fromkeys((row.top, row.share) for row in rows))
    lines = []
    for top, share in places:
        own = [row for row in rows if (row.top, row.share) == (top, share) and row.firing]
        name = f"{100 * top:g} % to {'above 0' if share is None else f'{100 * share:g} %'}"
        same = sum(row.concept == first[row.unit].concept for row in own)
        detects = [row for row in own if row.iou > DETECTOR]
        sure, real = {row.unit for row in own if (row.iou_low or 0.0) > DETECTOR}, beyond(own)
        kept = sum(row.concept == first[row.unit].concept for row in detects)
        precision = sum(row.precision for row in own) / max(1, len(own))
        lines.append([name, len(own), same, len(detects), len(sure), len(real), kept, f"{precision:.2f}"])
    head = ["band, by the pixels above", "units with pixels there", "same label as the highest band",
            f"IoU > {DETECTOR}", "95 % of it above", "beyond chance", "of IoU > 0.04 the same label",
            "mean precision"]  # fmt: skip
    return table(head, lines)


def widest(rows: list[BandRow]) -> str:
    """What the IoUs of the lowest band are worth."""
    own = [row for row in rows if row.share is None and row.firing]
    detects, real = sum(row.iou > DETECTOR for row in own), len(beyond(own))
    units = len({row.unit for row in rows})
    return (
        f"In the lowest band {detects} units have an IoU above {DETECTOR}, and {real} of {len(own)} are beyond chance: "
        f"so wide a mask overlaps large labels of other images, too. (The least p of {DECOYS} permutations of {units} "
        f"units is {1 / (1 + DECOYS * units):.4f}, so that a single unit cannot be beyond chance.)"
    )


def changed(rows: list[BandRow]) -> str:
    """Units whose label changes, those with the highest IoU in a lower band first."""
    first = {row.unit: row for row in rows if not row.top}
    other = [row for row in rows if row.top and row.concept != first[row.unit].concept and row.iou > DETECTOR]
    best: dict[int, BandRow] = {}
    for row in sorted(other, key=lambda row: -row.iou):
        best.setdefault(row.unit, row)
    lines = [
        [row.unit, first[row.unit].concept, told(first[row.unit]), row.concept, told(row),
         f"{100 * row.top:g} % to {'above 0' if row.share is None else f'{100 * row.share:g} %'}"]
        for row in list(best.values())[:SHOWN]
    ]  # fmt: skip
    return table(["unit", "highest band", "IoU (95 %; p)", "another band", "IoU (95 %; p)", "which"], lines)


def told(row: BandRow) -> str:
    """An IoU with its interval and p."""
    ends = "" if row.iou_low is None else f"{row.iou_low:.3f} to {row.iou_high:.3f}"
    return f"{row.iou:.3f} ({'; '.join(part for part in (ends, '' if row.p is None else f'p {row.p:.3f}') if part)})"


def seconds(rows: list[FormulaRow]) -> str:
    """Units that are detectors twice, by the lower of both IoUs."""
    twice = [row for row in rows if min(row.concept_iou, row.also_iou or 0.0) > DETECTOR]
    lines = [
        [row.unit, row.concept, f"{row.concept_iou:.3f}", row.also, f"{row.also_iou:.3f}", f"{row.also_p:.4f}",
         f"{row.also_q:.3f}", f"{row.also_firing:.0%}", row.formula]
        for row in sorted(twice, key=lambda row: -min(row.concept_iou, row.also_iou or 0.0))[:SHOWN]
    ]  # fmt: skip
    head = ["unit", "concept", "IoU", "also fires on", "IoU without the first", "p", "q", "pixels left", "best formula"]
    return table(head, lines)


class Elsewhere(tiny.TinyScenes):
    """Scenes with the planes of other scenes, permuted: whatever units fire on, labels do not say it."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The image of a scene, and the planes of another."""
        others = cycles(1, len(self), seed=11)[0]
        return super().__getitem__(index)[0], super().__getitem__(int(others[index]))[1]


def explained(model: nn.Module, scenes: tiny.TinyScenes) -> list[FormulaRow]:
    """Every unit with its formula and what it also fires on."""
    d = dissect.dissect(model, LAYER, scenes, relu=True, decoys=0, resamples=0, progress=False)
    return list(dissect.formulas(model, d, scenes, decoys=DECOYS, progress=False).rows())


def sure(rows: list[FormulaRow]) -> tuple[int, int]:
    """How many units have a second label above the cut-off, and how many of these are beyond chance."""
    found = [row for row in rows if min(row.concept_iou, row.also_iou or 0.0) > DETECTOR]
    return len(found), sum(row.also_q is not None and row.also_q <= RATE for row in found)


def chance(rows: list[FormulaRow], elsewhere: list[FormulaRow]) -> str:
    """What the null says of both, in words."""
    twice, real = sure(rows)
    wrong, fooled = sure(elsewhere)
    low = sum(row.also_p is not None and row.also_p <= 0.05 for row in elsewhere)
    any_iou = sum(row.also_q is not None and row.also_q <= RATE for row in elsewhere)
    return (
        f"Of the {twice}, {real} are beyond chance at a false discovery rate of {RATE:.0%} ({DECOYS} permutations).\n"
        "Held against itself, the same with every scene's planes taken from another scene, so that no label is right,\n"
        f"gives {wrong} units with both IoUs above {DETECTOR}, {fooled} of them beyond chance; at any IoU {low} of\n"
        f"{len(elsewhere)} units have p <= 0.05 (5 % would be {0.05 * len(elsewhere):.0f}), and {any_iou} are beyond "
        "chance.\n"
        f"(The least p of {DECOYS} permutations of {len(rows)} units is {1 / (1 + DECOYS * len(rows)):.4f}.)"
    )


def drawn(rows: list[FormulaRow]) -> Figure:
    """The IoU of the second label, where the first is not, over that of the first; a mark per unit."""
    with plots.drawing():
        figure = plots.new_figure(3.4, 2.8)
        axes = figure.add_subplot()
        x, y = ([getattr(row, name) or 0.0 for row in rows] for name in ("concept_iou", "also_iou"))
        axes.scatter(x, y, s=9, color=plots.ACCENT, linewidths=0)
        axes.axhline(DETECTOR, color=plots.FAINT, linewidth=1, zorder=0)
        axes.axvline(DETECTOR, color=plots.FAINT, linewidth=1, zorder=0)
        plots.plain(axes, "both")
        plots.label(axes, "IoU with the best label", "with the second, elsewhere")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=430, help="validation scenes (default 430)")
    options = parser.parse_args(arguments)
    begin, pictures, model = time.process_time(), folder(options.out, "meanings"), tiny.vgg()
    scenes = tiny.TinyScenes("val", count=options.images)
    swept = dissect.sweep(model, LAYER, scenes, shares=SHARES, levels=16, relu=True, decoys=DECOYS, resamples=RESAMPLES,
                          progress=False)  # fmt: skip
    rows, units = list(swept.bands()), explained(model, scenes)
    elsewhere = explained(model, Elsewhere("val", count=options.images))
    detectors = [row for row in units if row.concept_iou > DETECTOR]
    twice = [row for row in detectors if (row.also_iou or 0) > DETECTOR]
    plots.save(drawn(units), pictures / "second.png")
    text = f"""{HEAD}
## The embedded classifier

{LAYER}, {len(units)} units, after its ReLU, on {options.images} validation scenes.

**By band.** {DECOYS} permutations of the planes, {RESAMPLES} draws of images. "95 % of it above": the whole interval is
above {DETECTOR}; "beyond chance": p at a false discovery rate of {100 * RATE:g} % of the band's units. The precision is
the share of the band's pixels that carry the label. A wide band overlaps large labels (the sky) more than small ones:
the highest IoUs of the lowest band need not be what the unit is about.

{bands(rows)}
{widest(rows)}

Units whose label changes, at an IoU above {DETECTOR} with a label of a lower band:

{changed(rows)}
**Also.** Of {len(detectors)} detectors (IoU > {DETECTOR} at the top 1 %) {len(twice)} are detectors of a second label
where the first is not. {chance(units, elsewhere)}

Beyond chance is not yet a meaning of its own: things that stand together, a stove and a cabinet, go together in the
unit's surroundings, too. Two labels that often meet on the same thing, a house and its facade, are not two meanings:
what is taken away with the first takes the second with it. Those with the highest lower IoU of both:

{seconds(units)}
![IoU with the best label, and with the second where the first is not; grey: the cut-off](meanings/second.png)

One thread computed for {(time.process_time() - begin) / 60:.1f} minutes.
"""
    (options.out / "meanings.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
