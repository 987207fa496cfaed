"""Measures how far labels can be trusted, on the embedded VGG and its untrained twin, and writes docs/trust.md.

python docs/scripts/trust.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from pages import command_line, table

import dissect
from dissect.dissection.rows import UnitRow
from dissect.table import Table, numbers
from dissect.tiny import TinyScenes, vgg

LAYER = "features.conv5_3"
IMAGES, FEW = 860, 100
#: How many images the first table has rows of, all and few.
SIZES = (IMAGES, 300, FEW, 35)
CUTOFF = 0.04
TEXT = """\
# Which labels can be trusted

A unit gets the label with the highest IoU, and some label has it always. So `dissect.dissect` also measures, in the
same visits, what each label is worth; `best()`, the file, the page and the command line have it. What follows is the
method, the rule, and what it says of the embedded VGG's conv5_3 ({units} units, cut-off 0.04) over the validation
scenes. The five biases of the method itself that its authors name are measured in [trust_biases.md](trust_biases.md).

## By chance: planes of other images

Each image is counted again against the planes of another image, `decoys=4` times. Each time is one random permutation
of all images in which none keeps its own planes (a cycle, drawn by `seed=`), so units, thresholds, labels and their
areas are the same and only what belongs together is not. (The planes of up to 64 MiB of runs are kept for it; of more
images those of a random part stand in.) A unit's best IoU there is a value of the null.

- `p` of a unit: `(1 + null values >= its IoU) / (1 + all null values of the layer)`, over the decoys of all units.
- The false discovery rate of a cut-off, `d[layer].false_discovery_rate(0.04)`: the units that exceed it by chance, on
  average over the decoys and with one more decoy value than were seen, over the units that do. `d.false_discoveries()`
  lists it for every cut-off; `d[layer].cutoff_at(0.05)` is the lowest cut-off that keeps it at 5 %.

**The rule**: believe detectors above both cut-offs, the preset's and that of 5 %. A layer whose detectors exceed 5 %
is warned of (`dissect.DoubtfulResultWarning`).

{counts}

An untrained network passes: its units do prefer some colors and shapes, and images show it. Permutation tells chance,
not learning. Weights that look as they were drawn get a warning of their own.

Why at random: scenes of a class come one after another here, as in most data sets, and neighbours are alike. With the
planes of the image 17 places on, {shifted} of {units} units are "detectors".

## How sure the IoU is

- `low`, `high`: 95 % of the IoUs when images are drawn again with replacement, 200 times (`resamples=`), with the
  unit's threshold and label as they are. Images are drawn in up to 128 groups, by a hash of their numbers, so that
  memory is bounded; fewer than 10 groups with images give none. The interval is {width} wide on average
  for detectors over {images} images, {few_width} over {few}.
- `same_label`: whether each half of the images alone gives the label. Of the trained network's detectors {same};
  of the untrained one's {same_twin}.
- `held_out`: the IoU on each half with the label that the other half gives, and their mean: what is left when the best
  of many labels is not chosen on the images that it is measured on. Mean IoU {iou}, held out {held_out}; with {few}
  images {few_iou} and {few_held_out}.
- `margin`: by how much the second best label is worse. For {margin} detectors the second best lies within the
  interval.

## What else could be meant

- `place_iou`: the IoU of the best mask that is the same in all images (of 32x32 places), for the unit's label. Where
  it reaches the unit's own IoU, place alone explains the label, as in aligned data (faces, roads): {place} detectors,
  {place_twin} of the untrained network. It is no test: a unit must fire on its share of pixels, a mask need not.
- `precision`, `recall`: the share of the unit's area that carries the label, and of the label's area where it fires.
- `shown`: in how many of the unit's top images the label is anywhere. An IoU is made on all images, top images are the
  extremes, and the two need not agree: {all_shown} detectors have their label in all five, {few_shown} in one or none
  ({all_shown_twin} and {few_shown_twin} of the untrained network). A name that none of its top images shows is odd,
  however good its IoU.

## Limits

Thresholds are those of the images that are counted, in the null, the halves and the resamples too. The null shares
areas with the truth, so a label that covers most of every image has a high IoU under it, and needs a higher one to
count. Units of a layer are judged together; p-values of different layers are not corrected for each other. Counts on a
GPU give the same numbers, at a cost that was not measured. Nothing here tells whether a concept is what the network
uses: ablate the unit for that.
"""


class Count(NamedTuple):
    """A line of the first table.

    Attributes:
        network: trained or not.
        images: how many.
        detectors: units above an IoU of 0.04.
        by_chance: of them, with planes permuted among the images (mean of the decoys).
        rate: the false discovery rate there.
        cutoff: the lowest that keeps it at 5 %.
        beyond_chance: units above both cut-offs.
    """

    network: str
    images: int
    detectors: int
    by_chance: str
    rate: str
    cutoff: str
    beyond_chance: int


def dissected(trained: bool, images: int, decoys: int = 4) -> dissect.Dissection:
    """The last convolution."""
    scenes = TinyScenes("val", count=IMAGES)
    # Spread over the classes, which come one after another.
    some = torch.utils.data.Subset(scenes, torch.linspace(0, IMAGES - 1, images).long().tolist())
    return dissect.dissect(vgg(trained), LAYER, some, decoys=decoys, progress=False)


def count(network: str, images: int, found: dissect.Dissection) -> Count:
    """What the first table says of a dissection."""
    layer = found[LAYER]
    cutoff = layer.cutoff_at()
    beyond = 0 if cutoff is None else int((layer.best_iou > max(cutoff, CUTOFF)).sum())
    return Count(
        network,
        images,
        int((layer.best_iou > CUTOFF).sum()),
        f"{layer.evidence.by_chance(CUTOFF):.1f}",
        f"{layer.false_discovery_rate(CUTOFF):.1%}",
        "none" if cutoff is None else f"{cutoff:.3f}",
        beyond,
    )


def markdown(rows: list[Count]) -> str:
    """A table, under the names of the columns."""
    return table([name.replace("_", " ") for name in rows[0]._fields], rows).rstrip()


def shifted(places: int) -> int:
    """Units above the cut-off where each image has the planes of one so many places on, as neighbours are alike."""
    scenes = TinyScenes("val", count=IMAGES)
    items = [scenes[number] for number in range(IMAGES)]
    moved = [(items[at][0], items[(at + places) % IMAGES][1]) for at in range(IMAGES)]
    found = dissect.dissect(vgg(), LAYER, Items(moved), concepts=scenes.concepts, decoys=0, resamples=0, progress=False)
    return len(found.detectors())


class Items(torch.utils.data.Dataset):
    """A list as a data set."""

    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple:
        return self.items[index]


def share(rows: Table, good: str) -> str:
    """How many of the rows, as "12 of 174"."""
    test = {
        "same label": lambda row: row.same_label,
        "place": lambda row: row.place_iou is not None and row.place_iou >= row.iou,
        "shown in all": lambda row: row.shown == 5,
        "shown in few": lambda row: row.shown <= 1,
        "margin": lambda row: row.low is not None and row.iou - row.margin > row.low,
    }[good]
    return f"{sum(bool(test(row)) for row in rows)} of {len(rows)}"


def mean(rows: list[UnitRow], name: str) -> str:
    """Of a column."""
    return f"{sum(numbers(getattr(row, name) for row in rows)) / max(1, len(rows)):.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    out = command_line(__doc__).parse_args(arguments).out
    torch.set_num_threads(1)
    results = {
        (network, images): dissected(network == "trained", images)
        for network in ("trained", "untrained")
        for images in SIZES
    }
    whole = results["trained", IMAGES]
    detectors, twin = whole.detectors(), results["untrained", IMAGES].detectors()
    few = results["trained", FEW].detectors()
    ends = [[sum(numbers(getattr(row, end) for row in rows)) for end in ("low", "high")] for rows in (detectors, few)]
    widths = [(high - low) / len(rows) for (low, high), rows in zip(ends, (detectors, few))]
    values = {
        "counts": markdown([count(network, images, found) for (network, images), found in results.items()]),
        "images": IMAGES,
        "units": whole[LAYER].num_units,
        "shifted": shifted(17),
        "same": share(detectors, "same label"),
        "same_twin": share(twin, "same label"),
        "iou": mean(detectors, "iou"),
        "held_out": mean(detectors, "held_out"),
        "few_iou": mean(few, "iou"),
        "few_held_out": mean(few, "held_out"),
        "width": f"{widths[0]:.3f}",
        "few": FEW,
        "few_width": f"{widths[1]:.3f}",
        "place": share(detectors, "place"),
        "place_twin": share(twin, "place"),
        "margin": share(detectors, "margin"),
        "all_shown": share(detectors, "shown in all"),
        "all_shown_twin": share(twin, "shown in all"),
        "few_shown": share(detectors, "shown in few"),
        "few_shown_twin": share(twin, "shown in few"),
    }
    (out / "trust.md").write_text("<!-- Written by docs/scripts/trust.py; do not edit. -->\n" + TEXT.format(**values))


if __name__ == "__main__":
    main()
