"""Rotates the last layer of the embedded classifier, and writes docs/axis_alignment.md with its picture.

python docs/scripts/axis_alignment.py [--images N]
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from pages import command_line, folder, table

from dissect import plots, tiny
from dissect.experiments import AxisAlignment, axis_alignment, random_rotation, rotation_error

LAYER = "features.conv5_3"
ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
REPEATS = 10
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
    few = torch.stack([scenes[at][0] for at in range(min(32, options.images))])
    check = rotation_error(trained, LAYER, few, random_rotation(found.best_label.shape[1], 0))
    text = HEAD + page(found, check, options.images)
    text += f"\nOne thread computed for {(time.process_time() - begin) / 60:.1f} minutes.\n"
    (options.out / "axis_alignment.md").write_text(text, encoding="utf-8")


def page(found: AxisAlignment, check: tuple[float, float], images: int) -> str:
    """What follows the head."""
    units, rows = found.best_label.shape[1], found.summary()
    first, last = rows[0], rows[-1]
    lines = [
        [f"{row.alpha:g}", row.rotations, f"{row.detectors:.1f}", f"{row.concepts:.1f}",
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
same images choose thresholds and count, and an IoU may exceed 0.04 by chance ([trust](trust.md)) in either.

## The best detectors of a concept

As in Fig. 7, the best single unit beside the best of all {last.rotations * units} directions of the full rotations, and
the mean over rotations of the best in each. The best of so many more is no fair rival: the last column is.

{table(["concept", "category", "unit", "its IoU", "best direction's IoU", "mean of the best"], concepts)}
Of {len(found.best())} concepts that units or directions detect, {better} are detected best by a direction.

## A rotated layer says all that the layer says

g(Q^T Q f(x)) differs from g(f(x)) by {check[0]:.1e} of the largest output at most, in {min(32, images)} images, and
{check[1]:.0%} of the answers are the same (`rotation_error`). Top layers were not retrained here (the paper: 50.3 %
before, 51.9 % retrained, 51.7 % retrained on rotated features).
"""


if __name__ == "__main__":
    main()
