"""What classes lose when their units are ablated within a band of activation only: writes docs/bands.md.

python docs/scripts/bands.py [--images N]
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from pages import command_line, folder, table
from torch import Tensor

import dissect
from dissect import plots, tiny
from dissect.experiments import band_losses
from dissect.experiments.band_losses import BandLossRow
from dissect.stats.bootstrap import drawn_again, ends

LAYER = "features.conv5_3"
SHARES, UNITS = (0.0025, 0.01, 0.05, 0.2), 7
#: Draws of the classes, for intervals.
DRAWS = 1000

HEAD = """\
<!-- Written by docs/scripts/bands.py; do not edit. -->
# Bands of activation, ablated

A unit is named by the top of its activations. Is the top also what a class needs of it? `dissect.ablate` sets a unit to
0 only where it lies in a band, and `band_losses` does it to each class's units, on the class's own images:

```python
with dissect.ablate(model, layer, [3], band=(0.5, 2.0)): ...  # where 0.5 < activation <= 2 only
ranked = dissect.unit_importance(model, layer, train, val)
found = dissect.experiments.band_losses(model, layer, images, classes, ranked.top_units(7), shares=(0.01, 0.05, 0.2))
found  # per class and band: the recall with and without it, and by how much the class's logit falls
```
"""


def of_classes(rows: list[BandLossRow], value: str) -> Tensor:
    """[classes] of one band."""
    return torch.tensor([row.recall - row.without if value == "recall" else row.fall for row in rows]).double()


def told(values: Tensor, percent: bool) -> str:
    """A mean over classes, with its interval where there are enough of them."""
    scale = 100 if percent else 1
    mean = f"{scale * float(values.mean()):.{1 if percent else 2}f}"
    if len(values) < 10:
        return mean
    again = drawn_again(len(values), DRAWS, 0) @ values / len(values)
    low, high = (scale * float(end) for end in ends(again))
    return f"{mean} ({low:.{1 if percent else 2}f} to {high:.{1 if percent else 2}f})"


def drawn(found: dict[str, dict[tuple[float | None, float | None], list[BandLossRow]]], path: Path) -> None:
    """Recall lost by band, of the classes' units and of random ones."""
    with plots.drawing():
        figure = plots.new_figure(4.4, 2.4)
        axes = figure.add_subplot()
        for (name, parts), color in zip(found.items(), (plots.ACCENT, plots.FAINT)):
            values = [100 * float(of_classes(rows, "recall").mean()) for rows in parts.values()]
            axes.plot(range(len(values)), values, "o", color=color, markersize=4, label=name)
        axes.set_xticks(range(len(parts)), [name_of(place) for place in parts], fontsize=6)
        axes.legend(frameon=False, fontsize=7)
        plots.plain(axes, "y")
        plots.label(axes, "band of each unit's cells", "recall lost, points")
    plots.save(figure, path)


def name_of(place: tuple[float | None, float | None]) -> str:
    """A band in words."""
    top, share = place
    if top is None:
        return "whole units"
    return f"{100 * top:g} % to {'above 0' if share is None else f'{100 * share:g} %'}"


def told_first(own: dict[tuple[float | None, float | None], list[BandLossRow]]) -> str:
    """How much of what whole units cost the highest band alone does."""
    parts = [100 * float(of_classes(rows, "recall").mean()) for rows in own.values()]
    return (
        f"The highest band, by which units are named, costs {parts[0]:.1f} of the {parts[-1]:.1f} points that whole "
        "units cost.\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=860, help="scenes of each split (default 860)")
    options = parser.parse_args(arguments)
    begin, pictures, model = time.process_time(), folder(options.out, "bands"), tiny.vgg()
    train, val = (tiny.TinyScenes(split, count=options.images, target="class") for split in ("train", "val"))
    ranked = dissect.unit_importance(model, LAYER, train, val, progress=False)
    items = [val[at] for at in range(len(val))]
    images, classes = torch.stack([item[0] for item in items]), torch.tensor([int(item[1]) for item in items])
    best = ranked.top_units(UNITS)
    generator = torch.Generator().manual_seed(0)
    chance = torch.stack([torch.randperm(ranked.num_units, generator=generator)[:UNITS] for _ in best])
    chance[best[:, 0] < 0] = -1
    found: dict[str, dict[tuple[float | None, float | None], list[BandLossRow]]] = {}
    for name, units in (("the class's units", best), ("random units", chance)):
        found[name] = {}
        for row in band_losses(model, LAYER, images, classes, units, shares=SHARES):
            found[name].setdefault((row.top, row.share), []).append(row)
    drawn(found, pictures / "bands.png")
    own, random = found.values()
    lines = [
        [name_of(place), told(of_classes(own[place], "recall"), True), told(of_classes(own[place], "fall"), False),
         told(of_classes(random[place], "recall"), True), told(of_classes(random[place], "fall"), False)]
        for place in own
    ]  # fmt: skip
    head = ["band, by the unit's cells above", "recall lost, points (95 %)", "logit falls by",
            "random units: recall lost", "logit falls by"]  # fmt: skip
    number = len(next(iter(own.values())))
    text = f"""{HEAD}
## The embedded classifier

{LAYER}, 192 units, and of each of {number} classes the {UNITS} units that matter most to it by {options.images}
training scenes ([how](experiments.md)); measured on {options.images} validation scenes, {options.images // number} of
each class, which rank nothing. A band's ends are order statistics of a unit's cells over these scenes. Random units:
{UNITS} for each class, drawn once. Intervals are over classes.

{table(head, lines)}
![Recall lost by band, of the classes' units and of random ones](bands/bands.png)

{told_first(own)}Bands hold very different numbers of cells, and their losses do not add up to
the whole units': what is left of a unit can make up for a band. Beyond the last share a unit is positive in few cells,
or in none.

One thread computed for {(time.process_time() - begin) / 60:.1f} minutes.
"""
    (options.out / "bands.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
