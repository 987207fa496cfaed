"""Which measures of agreement see worse labels, of the embedded classifier's units: writes docs/measures.md.

``python docs/scripts/measures.py --work build/measures`` from the root of the sources. The sweep is kept in the folder
--work and is not measured again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from experiments_generators import Measured
from pages import command_line, table

import dissect
from dissect import tiny

LAYER = "features.conv5_3"
#: Top fractions of the pixels at which units fire, and have their labels.
SHARES = (0.0025, 0.005, 0.01, 0.02, 0.04)

PAGE = """\
<!-- Written by docs/scripts/measures.py; do not edit. -->
# Which measures see worse labels

A measure by which units are named must prefer the right labels to wrong ones. NeuronEval (Oikarinen et al. 2025) puts
that to two tests: of a unit and the label that names it, half of the label's pixels are taken away at random, or as
many others are added. The score must fall both times. There F1, IoU, correlation, cosine and the area under the curve
of precision and recall pass; they stand first below.

```python
found = dissect.sweep(model, layer, scenes, shares=[0.005, 0.01, 0.04])
found.sanity(share=1)                    # of each unit and its label at the top 1 %
dissect.stats.curve_sanity_tests(dissect.stats.activation_curves(maps, labels), at)  # of activations at hand
```

Nothing is drawn here: scores are of the expected counts, and the area, as the average precision, is the exact mean
over all draws. A score falls where it loses more than 1 % of itself, and a measure passes where at least 90 % of the
pairs do.

## The embedded classifier

{layer}, after its ReLU, on {scenes} validation scenes: units whose best IoU at their top fraction exceeds
{cutoff:g}, each with that label. The share of these pairs whose score falls, with half of the label missing / with as
many pixels added; **bold** where the measure passes. (No interval: one network, every unit.)

{table}
{verdict}

The average precision does not pass with every unit here, as it does in the paper: it looks at the whole ranking of the
pixels, and these units rank but few of a label's pixels high. Of all others it counts how frequent the label is, and
random pixels make it more frequent: the lower a pair's average precision, the more this part is of it.

The sweep took {seconds:.0f} seconds of one processor core.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/measures"), help="folder for the sweep")
    parser.add_argument("--images", type=int, default=860, help="validation scenes (default 860)")
    options = parser.parse_args(arguments)
    measured, scenes = Measured(options.work), tiny.TinyScenes("val", count=options.images)
    sweep = measured("vgg-sweep", dissect.Sweep, partial(
        dissect.sweep, tiny.vgg(), LAYER, scenes, shares=SHARES, relu=True, progress=False))  # fmt: skip
    text = page(sweep, measured.seconds("vgg-sweep"))
    (options.out / "measures.md").write_text(text, encoding="utf-8")


def page(sweep: dissect.Sweep, seconds: float) -> str:
    """The text."""
    shares = range(len(sweep.settings["shares"]))
    found = [sweep.sanity(share=share) for share in shares]
    units = [int((sweep.best(LAYER, share) > 0).sum()) for share in shares]
    lines = []
    for rows in zip(*found):
        cells = [f"{row.missing:.0%} / {row.extra:.0%}" for row in rows]
        cells = [f"**{cell}**" if row.passes else cell for row, cell in zip(rows, cells)]
        lines.append([rows[0].measure.replace("_", " "), *cells])
    head = ["measure", *(f"top {100 * share:g} % ({count})" for share, count in zip(sweep.settings["shares"], units))]
    always = [rows[0].measure.replace("_", " ") for rows in zip(*found) if all(row.passes for row in rows)]
    never = [rows[0].measure.replace("_", " ") for rows in zip(*found) if not any(row.passes for row in rows)]
    verdict = f"At every top fraction pass: {', '.join(always) or 'none'}. At none: {', '.join(never) or 'none'}."
    return PAGE.format(layer=LAYER, scenes=sweep.settings["num_images"], cutoff=sweep.settings["detector_iou"],
                       table=table(head, lines), verdict=verdict, seconds=seconds)  # fmt: skip


if __name__ == "__main__":
    main()
