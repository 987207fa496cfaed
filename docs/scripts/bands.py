"""What classes lose when their units are ablated within a band of activation only: writes docs/bands.md.

python docs/scripts/bands.py [--images N]
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from pages import command_line, folder, table

import dissect
from dissect import plots, tiny
from dissect.experiments import ablated_bands
from dissect.experiments.ablated_bands_result import AblatedBandRow

LAYER = "features.conv5_3"
SHARES, UNITS, CONTROLS = (0.0025, 0.01, 0.05, 0.2), 7, 2

HEAD = """\
<!-- Written by docs/scripts/bands.py; do not edit. -->
# Bands of activation, ablated

A unit is named by the top of its activations. Is the top also what a class needs of it? `dissect.ablate` sets a unit to
0 only where it lies in a band, and `ablated_bands` does it to each class's units, on the class's own images:

```python
with dissect.ablate(model, layer, [3], band=(0.5, 2.0)): ...  # where 0.5 < activation <= 2 only
ranked = dissect.unit_importance(model, layer, train, val)
found = dissect.experiments.ablated_bands(model, layer, val, ranked.top_units(7), shares=(0.01, 0.05, 0.2))
found.summary()  # per band, over classes: recall lost, by how much logits fall, and the same of other units
found.rows()     # per class and band; found.plot(), found.save("result"), and resume= to go on from
```

On the command line: `dissect classify importance`, and then `dissect experiment bands out/result.importance`. What
comes before the layer runs once for all bands; `band_losses` gives the rows of images at hand.
"""


def told(mean: float, low: float | None, high: float | None, percent: bool) -> str:
    """A mean over classes, with its interval where there are enough of them."""
    scale, digits = (100, 1) if percent else (1, 2)
    ends = "" if low is None or high is None else f" ({scale * low:.{digits}f} to {scale * high:.{digits}f})"
    return f"{scale * mean:.{digits}f}{ends}"


def line(row: AblatedBandRow) -> list[str]:
    """A band's."""
    control = row.control or 0.0
    return [
        row.band, told(row.lost, row.lost_low, row.lost_high, True),
        told(row.fall, row.fall_low, row.fall_high, False), told(control, row.control_low, row.control_high, True),
        told(row.control_fall or 0.0, None, None, False),
        told(row.lost - control, row.beyond_low, row.beyond_high, True),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=860, help="scenes of each split (default 860)")
    options = parser.parse_args(arguments)
    begin, pictures, model = time.process_time(), folder(options.out, "bands"), tiny.vgg()
    train, val = (tiny.TinyScenes(split, count=options.images, target="class") for split in ("train", "val"))
    ranked = dissect.unit_importance(model, LAYER, train, val, progress=False)
    ranking = time.process_time() - begin
    found = ablated_bands(model, LAYER, val, ranked.top_units(UNITS), shares=SHARES, controls=CONTROLS, progress=False)
    plots.save(found.plot(), pictures / "bands.png")
    rows = found.summary()
    classes, first, whole = rows[0].classes, f"{100 * rows[0].lost:.1f}", f"{100 * rows[-1].lost:.1f}"
    head = ["band, by the unit's cells above", "recall lost, points (95 %)", "logit falls by",
            "other units: recall lost", "logit falls by", "difference in recall lost"]  # fmt: skip
    text = f"""{HEAD}
## The embedded classifier

{LAYER}, 192 units, and of each of {classes} classes the {UNITS} units that matter most to it by {options.images}
training scenes ([how](experiments.md)); measured on {options.images} validation scenes, {options.images // classes} of
each class, which rank nothing. A band's ends are order statistics of a unit's cells over these scenes. Other units:
{UNITS} for each class that are not its own, {CONTROLS} draws. Intervals are over classes, of the difference too.

{table(head, [line(row) for row in rows])}
![Recall lost by band, of the classes' units and of other ones](bands/bands.png)

The highest band, by which units are named, costs {first} of the {whole} points that whole units cost.
Bands hold very different numbers of cells, and their losses do not add up to
the whole units': what is left of a unit can make up for a band. Beyond the last share a unit is positive in few cells,
or in none.

One thread computed for {(time.process_time() - begin) / 60:.1f} minutes, {ranking / 60:.1f} of them to rank units.
"""
    (options.out / "bands.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
