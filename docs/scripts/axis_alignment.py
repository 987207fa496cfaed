"""Rotates the last layers of two embedded networks, and writes docs/axis_alignment.md with its picture.

python docs/scripts/axis_alignment.py [--images N]
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from pages import command_line, folder, table

from dissect import plots, tiny
from dissect.experiments import (
    AxisAlignment,
    RetrainedTops,
    axis_alignment,
    random_rotation,
    retrain_top,
    rotation_error,
)
from dissect.models import VGG
from dissect.tiny.networks import CHANNELS, HIDDEN, POOLED

LAYER = "features.conv5_3"
ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
REPEATS = 10
#: A layer of the second network, a segmentation network of the same scenes.
OTHER = "down5"
#: Scenes that tops are trained on, and tried on.
TRAIN, TEST = 2150, 860
#: Concepts in the table of Fig. 7.
CONCEPTS = 8

HEAD = """\
<!-- Written by docs/scripts/axis_alignment.py; do not edit. -->
# Units against rotations of them

Are units more interpretable than other directions of their layer? Zhou et al. (TPAMI 2018, section 3.2) rotate a layer
at random: what it says stays the same, but its axes are others. If interpretability did not depend on the axes, as many
concepts would be detected.

```python
found = dissect.experiments.axis_alignment(model, "features.conv5_3", images)
found.summary(), found.best(), found.plot()
```

`dissect experiment axis-alignment` does the same from the command line. Rotations Q are drawn uniformly from SO(U) (QR
with a positive diagonal; one column flipped where the determinant is -1), and Q^alpha goes there from the units' axes
by the shortest way. Each rotation is a dissection along its rows, with its thresholds ([directions](directions.md)).
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=400, help="validation scenes (default 400)")
    options = parser.parse_args(arguments)
    begin, pictures = time.process_time(), folder(options.out, "axis_alignment")
    scenes, trained = tiny.TinyScenes("val", count=options.images), tiny.vgg()
    found = axis_alignment(trained, LAYER, scenes, alphas=ALPHAS, repeats=REPEATS, progress=False)
    plots.save(found.plot(), pictures / "alpha.png")
    other = axis_alignment(tiny.segmenter(0).network.eval(), OTHER, scenes, alphas=[1], repeats=REPEATS, progress=False)
    few = torch.stack([scenes[at][0] for at in range(min(32, options.images))])
    check = rotation_error(trained, LAYER, few, random_rotation(found.best_label.shape[1], 0))
    train, test = (
        tiny.TinyScenes(split, count=count, target="class") for split, count in (("train", TRAIN), ("val", TEST))
    )
    tops = retrain_top(trained, "avgpool", "classifier", train, test, anew=top, repeats=REPEATS, progress=False)
    text = HEAD + page(found, options.images) + second(found, other) + retrained(check, len(few), tops)
    text += f"\nOne thread computed for {(time.process_time() - begin) / 60:.1f} minutes.\n"
    (options.out / "axis_alignment.md").write_text(text, encoding="utf-8")


def top(seed: int) -> torch.nn.Module:
    """fc6 to fc8 before their training."""
    return VGG(CHANNELS, len(tiny.TinyScenes.classes), HIDDEN, POOLED, seed=seed).classifier


def second(found: AxisAlignment, other: AxisAlignment) -> str:
    """Both networks, as in Fig. 8."""
    lines = []
    for name, one in (("VGG, conv5_3 (scene classes)", found), (f"segmentation network 0, {OTHER} (labels)", other)):
        units, turned = one.summary()[0], one.summary()[-1]
        interval = "-" if turned.low is None else f"{turned.low:.1f} to {turned.high:.1f}"
        share = "-" if turned.share is None else f"{turned.share:.0%}"
        lines.append([name, one.best_label.shape[1], f"{units.concepts:g}", f"{turned.concepts:.1f}", interval, share])
    head = ["network, layer (trained for)", "units", "concepts of the units", "rotated, mean", "95 % of it", "share"]
    rotations = other.summary()[-1].rotations
    return f"""
## Two networks

As in Fig. 8, {rotations} full rotations of a layer of another network, of the same scenes and by the same rules. In the
paper both networks (Places365 and ImageNet) lose, the one with more detectors more.

{table(head, lines)}"""


def retrained(check: tuple[float, float], images: int, tops: RetrainedTops) -> str:
    """What a top can do with a rotated layer."""
    rows, own = tops.summary(), None if tops.network is None else tops.network.accuracy

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.2f} %"

    lines = [["the network as it is", "-", percent(own), "-"]] + [
        [f"top trained anew, features {row.features}", row.repeats, percent(row.accuracy),
         "-" if row.low is None else f"{percent(row.low)} to {percent(row.high)}"]
        for row in rows[:-1]
    ]  # fmt: skip
    difference = rows[-1]
    told = f"Rotated less as they are: {100 * difference.accuracy:+.2f} points"
    if difference.low is None or difference.high is None:
        told += "."
    else:
        apart = "are not told apart" if difference.low <= 0 <= difference.high else "are told apart"
        told += (
            f" (95 %: {100 * difference.low:+.2f} to {100 * difference.high:+.2f}): the two kinds of features {apart}."
        )
    return f"""
## A rotated layer says all that the layer says

g(Q^T Q f(x)) differs from g(f(x)) by {check[0]:.1e} of the largest output at most, in {images} images, and
{check[1]:.0%} of the answers are the same (`rotation_error`).

And a top that knows nothing of the rotation can learn from it: fc6 to fc8 anew, on what pool5 gives of {TRAIN} training
scenes, as it is or rotated, {rows[0].repeats} times each with other initial weights and another rotation
(`retrain_top`, and `dissect experiment retraining` from the command line); accuracy on {TEST} validation scenes. The
paper: 50.3 % before, 51.9 % retrained, 51.7 % retrained on rotated features.

{table(["", "repeats", "accuracy", "95 % of the mean"], lines)}
{told}
Intervals are over repeats; the test scenes are the same for all. (The network's own top was trained with augmentation,
together with all its other layers, on many times as many scenes.)
"""


def page(found: AxisAlignment, images: int) -> str:
    """What follows the head."""
    units, rows = found.best_label.shape[1], found.summary()
    first, last = rows[0], rows[-1]
    lines = [
        [f"{row.alpha:g}", row.rotations, *(f"{n:.{int(row.rotations > 1)}f}" for n in (row.detectors, row.concepts)),
         "-" if row.low is None else f"{row.low:.1f} to {row.high:.1f}",
         "-" if row.share is None else f"{row.share:.0%}"]
        for row in rows
    ]  # fmt: skip
    head = ["alpha", "rotations", "detectors", "different concepts", "95 % of their mean", "of the units'"]
    detected = sorted(found.best(), key=lambda row: -row.unit_iou)[:CONCEPTS]
    concepts = [
        [row.concept, row.category, row.unit, f"{row.unit_iou:.3f}", f"{row.direction_iou:.3f}", f"{row.mean_iou:.3f}"]
        for row in detected
    ]
    better = sum(row.direction_iou > row.unit_iou for row in found.best())
    return f"""
## How many concepts are detected

The first {images} validation scenes of the embedded world, {units} units of {LAYER.removeprefix("features.")} after the
ReLU, the default preset (top 1 % of the pixels, IoU above 0.04), rotations of seeds 0 to {last.rotations - 1}:

{table(head, lines)}
![Concepts detected by units and by rotated directions against alpha](axis_alignment/alpha.png)

The units detect {first.concepts:g} different concepts with {first.detectors:g} detectors; fully rotated directions
{last.concepts:.1f} with {last.detectors:.1f}, on average over {last.rotations}. In the paper, of AlexNet's conv5 with
its 256 units and Broden's concepts, rotations cost detectors too (Fig. 6 and 8 are charts without numbers). The
same images choose thresholds and count, and an IoU may exceed 0.04 by chance ([trust](trust.md)) in either. The
interval is over rotations: other images would give other numbers, also of the units.

## The best detectors of a concept

As in Fig. 7, the best single unit beside the best of all {last.rotations * units} directions of the full rotations, and
the mean over rotations of the best in each. The best of so many more is no fair rival: the last column is.

{table(["concept", "category", "unit", "its IoU", "best direction's IoU", "mean of the best"], concepts)}
Of {len(found.best())} concepts that units or directions detect, {better} are detected best by a direction.
"""


if __name__ == "__main__":
    main()
