"""Writes docs/monitoring.md and its picture: how a small generator's units come to match concepts as it is trained.

python docs/scripts/monitoring.py [--snapshots FOLDER] [--count N]

FOLDER is where `python -m dissect.tiny.train_gan progan-street-small-baseline --out DIR` leaves its snapshots,
DIR/snapshots/progan-street-small-baseline; without it there are two checkpoints: before the training, and after it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from compare import Enlarged, markdown
from pages import command_line, folder
from torch import nn

import dissect
from dissect import plots, tiny
from dissect.tiny.networks import FOLDER, load_generator

NAME, LAYERS = "progan-street-small-baseline", ["layer2", "layer4"]
COLUMNS = {
    "step": "images shown", "layer": "layer", "units": "units", "detectors": "detectors",
    "beyond_chance": "beyond chance", "concepts": "unique detectors", "mean_iou": "mean IoU of all units",
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and writes the page."""
    parser = command_line(__doc__)
    parser.add_argument("--snapshots", type=Path, help="of a training; more checkpoints than the first and the last")
    parser.add_argument("--count", type=int, default=400, help="images of each checkpoint (400)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    begin, checkpoints = time.process_time(), _checkpoints(options.snapshots)
    z, segmenter = dissect.latents(tiny.generator(NAME), options.count), Enlarged()
    found = dissect.monitor(checkpoints, LAYERS, z, segmenter=segmenter, segment="output", resamples=0, progress=False)
    seconds = time.process_time() - begin
    plots.save(found.plot("series"), folder(options.out, "monitoring") / "series.png")
    rows = list(found.summary())
    first, last = ([row for row in rows if row.step == step][1] for step in (rows[0].step, rows[-1].step))
    (options.out / "monitoring.md").write_text(f"""\
<!-- Written by docs/scripts/monitoring.py; do not edit. -->
# A generator's training watched

Dissection of checkpoints tells whether a generator learns the structure of its scenes: the number of units that match a
concept should rise, and so should the number of concepts that they match, and their IoU (thesis, A.6, Fig. A-7).

```python
grown = dissect.monitor(
    {{0: untrained, 50_000: lambda: load(path), 280_000: trained}}, ["layer4"], z, segmenter=s, segment="output"
)
grown.summary()        # detectors, unique detectors, mean IoU by checkpoint
grown.plot("series")
```

Here `{NAME}` (32x32), {options.count} images of z of seed 1 at each checkpoint, enlarged to the 64x64 that the
segmentation network was trained with; decoys tell how many detectors hardly come by chance. The first checkpoint is the
network before its training, the last the shipped one. {_between(len(checkpoints) - 2)}
(`python -m dissect.tiny.train_gan {NAME} --out DIR`). An early one still gives images of
fewer pixels, as in the paper, to which it had grown by then.

![Detectors, unique detectors and mean IoU along the training](monitoring/series.png)

{markdown(rows, COLUMNS)}
In {first.layer} {first.detectors} units pass the cut-off for {first.concepts} concepts before the training and
{last.detectors} for {last.concepts} after it, of which {first.beyond_chance} and {last.beyond_chance} hardly come by
chance; the mean IoU of all units goes from {first.mean_iou:.3f} to {last.mean_iou:.3f}. Number, diversity and quality
are the three panels of the chart. One training was watched, so no line has an interval.

`python docs/scripts/monitoring.py --snapshots FOLDER` makes this page anew, in {seconds:.0f} seconds of one core's
time without the training. A classifier's training is watched [with the comparisons](guide/compare.md).
""")


def _between(count: int) -> str:
    if count:
        return f"The {count} between are of a training of the same recipe and seed anew"
    return "There are no others: snapshots do not come with the package"


def _checkpoints(snapshots: Path | None) -> dict[int, Callable[[], nn.Module]]:
    """What loads each checkpoint, by how many images the training had shown."""
    log = (FOLDER / f"{NAME}.log").read_text().splitlines()
    found: dict[int, Callable[[], nn.Module]] = {0: partial(tiny.generator, NAME, trained=False)}
    last = int(json.loads(log[-1])["images"])
    for path in [] if snapshots is None else sorted(snapshots.glob("*.safetensors")):
        if int(path.stem) < last:
            found[int(path.stem)] = partial(load_generator, path)
    return found | {last: partial(tiny.generator, NAME)}


if __name__ == "__main__":
    main()
