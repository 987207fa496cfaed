"""Compares the embedded networks and generators, and writes docs/guide/compare.md with its pictures.

python docs/scripts/compare.py [--images N] [--snapshots FOLDER]

With the folder of snapshots of a training (`python -m dissect.tiny.train --out DIR --size 64 --epochs 2 --minutes 9`
writes DIR/snapshots) the page has a series too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pages import command_line, folder, table
from torch import Tensor, nn
from torch.nn.functional import interpolate

import dissect
from dissect import Comparison, plots, tiny
from dissect.stats import pearson
from dissect.tiny.networks import load_network
from dissect.tiny.train import SNAPSHOTS

LAYERS = ["features.conv4_3", "features.conv5_3"]
STREET = [f"layer{number}" for number in range(1, 11)]
#: The small generators, by the names that the thesis gives such.
SMALL = {
    "baseline": "progan-street-small-baseline",
    "+ minibatch stddev": "progan-street-small-no-pixelnorm",
    "+ pixel normalisation": "progan-street-small",
    "WGAN-GP": "wgangp-street-small",
    "rooms": "progan-room-small",
}
#: Rows and columns that the segmentation network was trained with.
SEEN = 64

HEAD = """\
<!-- Written by docs/scripts/compare.py; do not edit. -->
# Networks compared

`dissect.compare` puts dissections side by side: of networks, layers, checkpoints or generators. It needs nothing but
what `dissect.dissect` returned or saved:

```python
both = dissect.compare({"trained": "trained.dissection", "untrained": "untrained.dissection"})
both.summary()       # a row per layer: detectors, unique detectors, their ratio to all units
both.by_category()   # the same by category
both.top_concepts()  # each category's concepts with most detectors
both.best_units()    # each concept's two best units in each network
both.correlation()   # do concepts with more detectors have better ones? Pearson's r with its interval
both.plot()          # also plot("iou"), and plot("series") of checkpoints
both.to_csv("out/")
dissect.write_report(both, "out/")
```

On the command line: `dissect compare trained.dissection untrained.dissection --out out/`.

`dissect.monitor({0: first, 50_000: second, ...}, layers, images)` dissects the checkpoints of a training in turn, and
gives them as such a comparison, with steps. A checkpoint may be a function that loads it when its turn comes; with
`resume=` each has a folder of its own, so that later ones can be added.
`dissect.Watch` does so from within the training's own loop, and leaves no trace in the training.

**What may be compared.** Counts compare only where they were counted alike. So all dissections must have the same
concepts, by name and category, and the same rules: fraction, positions, grid, border, step, scope, ReLU and cut-off.
Anything else is refused, with what differs. `detector_iou=0.05` counts all by one cut-off; `allow=["border"]`
compares across a rule all the same. What may differ but bears on the numbers is told in `both.notes`, by a warning
and on the page: other images, another number of them (fewer give more detectors by chance), planes of another size or
without some category, other decoys, the same network twice. A dissection of images alone has no detectors, so it is
refused. Which segmenter made the planes no file says: that it was the same is yours to know.

**What to look at.** *Unique detectors* count each concept once (Zhou et al. 2018). They grow with the number of units,
so their *ratio* to all units stands beside them, which in turn falls with it. *Beyond chance* counts the detectors that
[hardly come by chance](../trust.md), and *certain* those whose whole 95% interval lies above the cut-off; both are
empty where a dissection was made without decoys or resampling.
"""


class Enlarged:
    """The embedded segmentation network, which sees small images as large as those that it was trained with."""

    def __init__(self) -> None:
        self.segmenter = tiny.segmenter(signed=True)
        self.concepts = self.segmenter.concepts

    def __call__(self, images: Tensor) -> Tensor:
        """Planes of images in [-1, 1]."""
        return self.segmenter(interpolate(images, size=(SEEN, SEEN), mode="bilinear", align_corners=False))


def classifier(model: nn.Module, images: int, size: int = 128) -> dissect.Dissection:
    """Over validation scenes."""
    return dissect.dissect(model.eval(), LAYERS, tiny.TinyScenes("val", size, images), progress=False)


def generator(name: str, layers: Iterable[str], images: int) -> dissect.Dissection:
    """Over what it makes of the first z."""
    model = tiny.generator(name)
    z = dissect.latents(model, images)
    return dissect.dissect(model, layers, z, segmenter=Enlarged(), segment="output", progress=False)


def markdown(rows: Iterable[NamedTuple], columns: dict[str, str]) -> str:
    """A table of some columns under other names."""
    return table([*columns.values()], ([_cell(getattr(row, name)) for name in columns] for row in rows))


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value).removeprefix("features.")


def drawn(comparison: Comparison, kind: str, path: Path, text: str) -> str:
    """A picture of it, as the page shows it."""
    name = plots.save(comparison.plot(kind), path).stem
    return f"![{text}](../compare/{name}.png)\n"


COUNTS = {
    "units": "units",
    "detectors": "detectors",
    "beyond_chance": "beyond chance",
    "certain": "certain",
    "concepts": "unique detectors",
    "ratio": "ratio",
    "mean_iou": "mean IoU",
}


def trained_and_untrained(images: int, pictures: Path) -> str:
    """The embedded VGG and its untrained twin."""
    pair = {name: classifier(tiny.vgg(name == "trained"), images) for name in ("trained", "untrained")}
    both = dissect.compare(pair)
    shared = [row for row in both.best_units() if row.networks == 2][:8]
    counts = markdown(both.summary(), {"network": "network", "layer": "layer", **COUNTS})
    best = markdown(
        shared,
        {"concept": "concept", "network": "network", "rank": "rank", "layer": "layer", "unit": "unit", "iou": "IoU",
         "low": "low", "high": "high"},
    )  # fmt: skip
    rows = {(row.network, row.layer): row for row in both.correlation() if row.category == "all"}
    r = rows["trained", LAYERS[1]]
    one, other = (
        next(row for row in both.summary() if (row.network, row.layer) == (network, LAYERS[1])) for network in pair
    )
    alone = [row for row in both.concepts() if (row.network, row.layer) == ("untrained", LAYERS[1])]
    most = max(alone, key=lambda row: row.detectors)
    others = [row for row in alone if row is not most]
    without = pearson([row.detectors for row in others], [row.mean_iou for row in others])
    return f"""
## Trained against untrained

The embedded VGG and its untrained twin, two layers, over the first {images} validation scenes.

{drawn(both, "concepts", pictures / "classifiers.png", "Unique detectors by category")}
{counts}
In conv5_3 {other.detectors} of {other.units} untrained units pass the cut-off, and {one.detectors} trained ones; the
untrained ones detect {other.concepts} different concepts, the trained ones {one.concepts}. Numbers of detectors alone
make the two look more alike than they are.

The first concepts that both detect, and the best units in each:

{best}
{drawn(both, "iou", pictures / "iou.png", "Mean IoU over the number of detectors")}
A point is a concept. In the trained conv5_3 concepts with more detectors have somewhat better ones: r = {_cell(r.r)}
(95% interval {_cell(r.low)} to {_cell(r.high)}, {r.concepts} concepts). The paper found r = 0.08 for the objects of a
ResNet-152. The untrained conv5_3 has r = {_cell(rows["untrained", LAYERS[1]].r)}, and
without {most.concept}, of which {most.detectors} of its {other.detectors} detectors are, r = {_cell(without.r)}.
"""


def street_layers(images: int, pictures: Path) -> str:
    """All layers of one generator."""
    layers = dissect.compare({"progan-street": generator("progan-street", STREET, images)})
    most = max(layers.summary(), key=lambda row: row.concepts)
    return f"""
## Layers of a generator

`progan-street`, all ten layers, over {images} images of its own making: a dissection of several layers can be compared
alone.

{drawn(layers, "concepts", pictures / "layers.png", "Unique detectors in each layer of progan-street")}
Most different concepts have a detector in {most.layer}, {most.concepts} of them in {most.units} units. In the papers
too middle layers have most (PNAS 2020, Fig. S1; thesis, Fig. 4-6).
"""


def small_generators(images: int, pictures: Path) -> str:
    """Generators of other trainings."""
    five = dissect.compare({name: generator(of, ["layer4"], images) for name, of in SMALL.items()})
    top = [row for row in five.top_concepts(3) if row.category == "object"]
    told = {name: ", ".join(f"{row.concept} {row.detectors}" for row in top if row.network == name) for name in SMALL}
    lines = table(["generator", "objects with most detectors"], told.items())
    return f"""
## Generators

`layer4` of the five small generators ([generators compared](../generators_compared.md) tells how they were trained),
over {images} images each, enlarged to the {SEEN}x{SEEN} that the segmentation network was trained with. A generator's
images are its own, so that they differ is no note; `dissect.dissect(..., segment="output")` makes such dissections.

{drawn(five, "concepts", pictures / "generators.png", "Unique detectors in layer4 of five generators")}
{markdown(five.summary(), {"network": "generator", **COUNTS})}
{lines}
Rooms have units for what is in rooms, as in the thesis, Figure 4-5. Each was trained once, so differences between the
other four say what these trainings gave, not what a method does.
"""


def training(snapshots: Path, images: int, pictures: Path) -> str:
    """Snapshots of a training."""
    series, steps, seen = {}, [], set()
    for file in sorted(snapshots.glob("*.safetensors")):
        one, step = classifier(load_network(file), images, 64), 100 * SNAPSHOTS[int(file.stem)]
        weights = one.settings["provenance"]["weights"]
        if weights not in seen:  # the first ones may come before the first step
            seen.add(weights)
            series[f"{step:.3g} %"] = one
            steps.append(step)
    grown = dissect.compare(series, steps=steps)
    rows = [row for row in grown.summary() if row.layer == LAYERS[1]]
    fewest = min(rows, key=lambda row: row.detectors)
    return f"""
## A training watched

`steps=` makes a series of checkpoints: numbers that rise, one per dissection, of one network. Here they are the
snapshots of a short training of the VGG at 64x64 (two epochs), in percent of its way, over {images} scenes:

```python
grown = dissect.compare(dissections, steps=[0, 0.1, 0.2, ...])
grown.plot("series")
grown.histories()      # which concept each unit has at each step; grown.plot("histories")
grown.kept()           # how many units keep theirs from the first step to the last; grown.changes() unit by unit
```

{drawn(grown, "series", pictures / "series.png", "Detectors, unique detectors and mean IoU along a training")}
conv5_3:

{markdown(rows, {"network": "of the way", **COUNTS})}
Before the training {rows[0].detectors} units pass the cut-off, for {rows[0].concepts} concepts; the fewest do after
{fewest.network} of it, {fewest.detectors}, but for {fewest.concepts} concepts. The number of concepts tells the
training from the start, the number of detectors only later.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=860, help="scenes, or images of a generator (default 860)")
    parser.add_argument("--snapshots", type=Path, help="of a training, which makes the page's last part")
    options = parser.parse_args(arguments)
    pictures = folder(options.out, "compare")
    parts = [
        HEAD,
        *(part(options.images, pictures) for part in (trained_and_untrained, street_layers, small_generators)),
    ]
    if options.snapshots is not None:
        parts.append(training(options.snapshots, options.images, pictures))
    (folder(options.out, "guide") / "compare.md").write_text("".join(parts))


if __name__ == "__main__":
    main()
