"""Verifies labels of the embedded classifier's units by scenes with and without a concept: writes docs/verified.md.

python docs/scripts/verified.py [--images N] [--pairs N]
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from pages import command_line, folder, table
from torch import Tensor, nn

import dissect
from dissect import plots, tiny
from dissect.experiments import VerifiedLabels, verified_labels
from dissect.experiments.verified_result import VerifiedLayerRow, VerifiedRow
from dissect.tiny.world.vocabulary import label

LAYERS = [f"features.{name}" for name in ("conv3_3", "conv4_3", "conv5_3")]
#: What is left out; None: every object, part and texture.
CONCEPTS: list[tuple[str, str]] | None = None
#: Units of each kind in the gallery.
SHOWN = 4
DETECTOR = 0.04

HEAD = """\
<!-- Written by docs/scripts/verified.py; do not edit. -->
# Labels verified

A dissection says that a unit fires where trees are. Does it fire because of the trees, or of what stands beside them?
`TinyScenes(without=("object", "tree"))` draws every scene again without its trees: what lay behind them shows, their
shadow is gone, and every other pixel has the same bits. So a unit's label can be put to the test:

```python
twins = dissect.tiny.twins(count=24)  # scenes with and without each object, part and texture
found = dissect.experiments.verified_labels(model, layers, twins.images, twins.without, twins.labels, dissection)
found.summary(), found.units(), found.plot()
```

A unit's response is its highest activation in the image. Its AUC says how well responses tell the scenes with the
concept from the same scenes without it (0.5 is chance), its difference how far they fall on average when the concept
goes. Both come with 95 % intervals (pairs drawn again); **a label is verified if both intervals lie above chance**.
Other concepts than the label take the same test: that is chance for this rule.
"""


def percent(value: float | None) -> str:
    """A share, or a dash."""
    return "-" if value is None else f"{value:.0%}"


def line(row: VerifiedLayerRow, name: str) -> list[str]:
    """A row of the tables of layers and categories."""
    ends = "-" if row.share is None else f"{percent(row.share)} ({percent(row.low)} to {percent(row.high)})"
    auc = "-" if row.auc is None else f"{row.auc:.3f}"
    numbers = str(row.units), str(row.tested), str(row.verified)
    return [name, *numbers, ends, auc, percent(row.others), percent(row.first)]


COLUMNS = ["units", "tested", "verified", "share", "mean AUC", "other concepts that pass", "label is first"]


def gallery(model: nn.Module, twins: tiny.Twins, rows: list[VerifiedRow], thresholds: Tensor, path: Path) -> None:
    """Per unit scenes with what it is said to detect and without it, lit where it fires."""
    strips, titles = [], []
    for row in rows:
        places = (twins.labels == label(row.category, row.concept)).nonzero().flatten()[:3].tolist()
        strip: list[Tensor] = []
        for place in places:
            for data in (twins.images, twins.without):
                image = data[place]
                with torch.no_grad(), dissect.Trace(model, row.layer) as trace:
                    model(image[None])
                strip.append(plots.lit(image, trace[row.layer][0, row.unit] > thresholds[row.unit]))
        strips.append(strip)
        titles.append(f"unit {row.unit}: {row.concept} (IoU {row.iou:.2f}, AUC {row.auc:.2f})")
    with plots.drawing():
        figure = plots.new_figure(6.4, 1.25 * len(strips), None)  # so that a long title widens no column
        plots.tiles(figure, strips, titles)
        figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.02, 0.06, 0.25)
    plots.save(figure, path)


def measured(model: nn.Module, twins: tiny.Twins, images: int) -> tuple[dissect.Dissection, VerifiedLabels]:
    """Units labelled by scenes, and put to the test."""
    scenes = tiny.TinyScenes("val", count=images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dissect.DoubtfulResultWarning)  # the control is untrained
        d = dissect.dissect(model, LAYERS, scenes, relu=True, decoys=0, resamples=0, progress=False)
    given = model, LAYERS, twins.images, twins.without, twins.labels, d
    return d, verified_labels(*given, progress=False)


def failures(found: VerifiedLabels) -> str:
    """Detectors whose labels fail, a row per label."""
    rows = [row for row in found.units(LAYERS[-1]) if row.verified is False and (row.iou or 0) > DETECTOR]
    lines = [
        [row.unit, f"{row.concept} ({row.category})", f"{row.iou:.3f}",
         f"{row.auc:.3f} ({row.auc_low:.3f} to {row.auc_high:.3f})", row.rank]
        for row in sorted(rows, key=lambda row: -(row.iou or 0))
    ]  # fmt: skip
    return table(["unit", "label", "IoU", "AUC", "rank of the label"], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=860, help="scenes that label the units (default 860)")
    parser.add_argument("--pairs", type=int, default=32, help="scenes with and without each concept (default 32)")
    options = parser.parse_args(arguments)
    begin, pictures, model = time.process_time(), folder(options.out, "verified"), tiny.vgg()
    twins = tiny.twins(CONCEPTS, count=options.pairs)
    d, found = measured(model, twins, options.images)
    _, control = measured(tiny.vgg(trained=False), twins, options.images)
    plots.save(found.plot(), pictures / "auc.png")
    rows = [row for row in found.units(LAYERS[-1]) if row.verified is not None and (row.iou or 0) > DETECTOR]
    good = sorted((row for row in rows if row.verified), key=lambda row: -(row.iou or 0))[:SHOWN]
    bad = sorted((row for row in rows if not row.verified), key=lambda row: -(row.iou or 0))[:SHOWN]
    gallery(model, twins, good + bad, d[LAYERS[-1]].thresholds, pictures / "units.png")
    text = f"{HEAD}\n{page(found, control, options.images, options.pairs, len(twins.labels))}"
    text += f"\nOne thread computed for {(time.process_time() - begin) / 60:.1f} minutes.\n"
    (options.out / "verified.md").write_text(text, encoding="utf-8")


def page(found: VerifiedLabels, control: VerifiedLabels, images: int, pairs: int, number: int) -> str:
    """What follows the head."""
    layers = [
        line(row, f"{row.layer.removeprefix('features.')}, {name}")
        for name, part in (("trained", found), ("untrained", control))
        for row in part.summary(least_iou=DETECTOR)
    ]
    own = [row for row in found.summary(by_category=True, least_iou=DETECTOR) if row.layer == LAYERS[-1]]
    tested = int(found.layers[LAYERS[0]].tested().sum())
    last = LAYERS[-1].removeprefix("features.")
    return f"""\
## The embedded classifier

Units are labelled by {images} validation scenes (top 1 % of the pixels); rows count detectors (IoU > {DETECTOR}). Of
{number} pairs of validation scenes, {pairs} of each concept at most (the first that show it on 1 % of their pixels or
more), {tested} concepts have the 10 that an interval needs. Scenes, materials and colours cannot be left out alone, nor
can what has nothing behind it (sky, wall, floor): units with these labels are not tested.

{table(["layer", *COLUMNS], layers)}
Few labels of the untrained network can be tested at all (most name scenes, colours and walls), and they pass narrowly.
"Label is first": the share of the tested units that tell no other concept better than their own. The papers have no
such test; people voted for 37 % (conv1) to 71 % (conv5) of the labels that dissection gave units of AlexNet that people
found interpretable (Zhou et al., TPAMI 2018, Table 3).

![AUC of each tested unit against its IoU, by layer; grey line: chance](verified/auc.png)

By category, {last}:

{table(["category", *COLUMNS], [line(row, row.category) for row in own])}
## Labels that fail

Detectors of {last} that respond no more to scenes with what they are said to detect than to the same scenes without it:

{failures(found)}
Where a ground goes, another shows behind it, which may look alike: such a label fails because the unit does not tell
the two apart, not because it is blind to the first.

The first {SHOWN} units below are the verified ones with the highest IoU, the others are the first of the table: three
scenes, each with and without the concept, pale where the unit does not fire.

![Scenes with and without the concept, and where units fire](verified/units.png)
"""


if __name__ == "__main__":
    main()
