"""Finds units that are the same in two embedded networks, and writes docs/rosetta.md.

python docs/scripts/rosetta.py [--images N] [--trainings FOLDER]

FOLDER is where `python -m dissect.tiny.train_small` left trainings of the scenes by two seeds; without it there are no
rows of checkpoints.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pages import command_line, folder, paragraph, table
from torch import Tensor, nn
from torch.nn.functional import interpolate

import dissect
from dissect import plots, tiny
from dissect.experiments import Rosetta, rosetta_permuted
from dissect.tiny.training.small import SIZE, load_small, trained_in

CLASSIFIER, SEGMENTER, GENERATOR = "features.conv4_3", "network.down4", "layer5"
#: Of the images, for chance; and the false discovery rate at which a unit counts.
PERMUTATIONS, RATE = 199, 0.05
#: Draws of the images, for intervals.
DRAWS = 200
#: What the second table shows.
SURE = f"""\
What another set of as many images would give, by {DRAWS} draws; the last column has the best buddies that are each
other's best in at least 95 % of the draws:
"""
#: Two of one training.
CHECKPOINTS = "two checkpoints of one training: half-way and the end"
#: Best buddies in the table and the gallery.
SHOWN, PICTURES, IMAGES = 8, 4, 3
#: The share of a map's places, over the shown images, that the gallery lights.
SHARE = 0.05
BUDDIES = ["generator's unit", "classifier's unit", "r (95 %)", "best buddies in", "its best r, permuted (mean)", "p",
           "q", "the classifier's unit detects (IoU)"]  # fmt: skip

HEAD = """\
<!-- Written by docs/scripts/rosetta.py; do not edit. -->
# The same unit in two networks

Do two networks that were trained apart find the same units? Dravid et al. (2023) correlate the maps of every unit of
one with those of every unit of the other over the same images; two that are each other's best are best buddies, even
between a generator and a classifier that sees what it makes:

```python
found = dissect.experiments.rosetta(model, layer, other, other_layer, scenes)
found = dissect.experiments.rosetta(generator, "layer5", classifier, layer, z, see=to_classifier, relu=(False, True))
found.summary(), found.buddies(), found.intervals(), found.plot()
found = dissect.experiments.rosetta_permuted(model, layer, other, other_layer, scenes, permutations=199)
found.chance(), found.significance()  # the same numbers, and every unit, against all permutations
```

Maps are upsampled to the larger of both sizes; sums are float64, one matrix product per batch. Chance is the same
with permuted images: the second network sees another image than the first. One permutation says how high units
correlate then (`rosetta`), many how probable it is that they do (`rosetta_permuted`). Permuted images keep what a place
alone gives (the sky is above): that is chance here, too.

Intervals are of images that are drawn again with replacement, each unit with the partner that it has over all images:
`low` and `high` of its rows, `intervals()` of the whole layer, and `stays`, in how many of the draws best buddies are
that. The sums behind a correlation are kept by group of images (`dissect.stats.GroupedCorrelation`, one batched matrix
product per batch; up to 128 groups, so that images have nearly one each up to that many): `8 (U V + 2 U + 2 V + 1)`
bytes a group, for 128 of them 13 MB with 128 units and 96, 270 MB with 512 and 512. Where 16 groups exceed
`memory_budget`, it refuses.
Partners were chosen as the best over these very images: with other images a unit's r is lower on average, which no
interval knows.
"""


def shown_to_classifier(images: Tensor) -> Tensor:
    """Generated images [-1, 1] at 64x64 as the classifier has learned scenes."""
    return interpolate((images.clamp(-1, 1) + 1) / 2, (128, 128), mode="bilinear")


def compared(images: int) -> dict[str, Rosetta]:
    """By what is compared."""
    scenes, classifier = tiny.TinyScenes("val", count=images), tiny.vgg()
    segmenters = [tiny.segmenter(seed) for seed in (0, 1)]
    options: dict[str, Any] = {"permutations": PERMUTATIONS, "resamples": DRAWS, "progress": False}
    pairs = {
        "repeats: segmenters of seeds 0 and 1": (segmenters[0], SEGMENTER, segmenters[1], SEGMENTER),
        "two tasks: classifier and segmenter": (classifier, CLASSIFIER, segmenters[0], SEGMENTER),
        "classifier and its untrained twin": (classifier, CLASSIFIER, tiny.vgg(trained=False), CLASSIFIER),
    }
    found = {name: rosetta_permuted(*pair, scenes, **options) for name, pair in pairs.items()}
    for name, trained in (("generator and classifier", True), ("untrained generator and classifier", False)):
        generator = tiny.generator(trained=trained)
        z = dissect.latents(generator, images)
        found[f"{name}, on generated images"] = rosetta_permuted(
            generator, GENERATOR, classifier, CLASSIFIER, z, see=shown_to_classifier, relu=(False, True), **options
        )
    return found


def checkpoints(folder: Path, images: int) -> dict[str, Rosetta]:
    """The last layers of a training's end and of its half, of its start, and of another seed's end."""
    scenes = tiny.TinyScenes("val", SIZE, images)
    first, second = (trained_in(folder)[f"scenes-{seed}"] for seed in (0, 1))
    pairs = {
        CHECKPOINTS: (first[-2], first[-1]),
        "its start and its end": (first[0], first[-1]),
        "the ends of trainings of seeds 0 and 1": (first[-1], second[-1]),
    }
    found = {}
    for name, paths in pairs.items():
        one, other = map(load_small, paths)
        found[name] = rosetta_permuted(
            one, one.last, other, other.last, scenes, permutations=PERMUTATIONS, resamples=DRAWS, progress=False
        )
    return found


def _trained(found: dict[str, Rosetta]) -> str:
    """What the page says of checkpoints."""
    if CHECKPOINTS not in found:
        return ""
    told = []
    for name in list(found)[list(found).index(CHECKPOINTS) :]:
        mutual = [row for row in found[name].rows() if row.mutual]
        told.append(f"{sum(row.unit == row.other for row in mutual)} of {len(mutual)} ({name})")
    return paragraph(
        f"""The last {len(told)} rows are of [small networks](networks.md), their last convolutional layer and scenes of
        {SIZE}x{SIZE} pixels. How many of the best buddies have the same number in both: {"; ".join(told)}."""
    )


def maps_of(model: nn.Module, layer: str, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's maps and the output."""
    with torch.no_grad(), dissect.Trace(model, layer) as trace:
        output = model(inputs)
    return trace[layer].clamp(min=0), output


def gallery(found: Rosetta, count: int, path: Path) -> None:
    """Generated images, lit where the generator's unit is strongest, and where the classifier's is."""
    generator, classifier = tiny.generator(), tiny.vgg()
    own, output = maps_of(generator, GENERATOR, dissect.latents(generator, count))
    images = shown_to_classifier(output)
    other, _ = maps_of(classifier, CLASSIFIER, images)
    strips, titles = [], []
    for row in found.buddies()[:PICTURES]:
        pair = own[:, row.unit], other[:, row.other]
        top = pair[0].flatten(1).amax(1).topk(IMAGES).indices
        levels = [maps.flatten().quantile(1 - SHARE) for maps in pair]
        strips.append([plots.lit(images[at], maps[at] > level) for at in top for maps, level in zip(pair, levels)])
        titles.append(f"generator's unit {row.unit}, classifier's unit {row.other} (r {row.correlation:.2f})")
    with plots.drawing():
        figure = plots.new_figure(6.4, 1.25 * len(strips), None)
        plots.tiles(figure, strips, titles)
        figure.subplots_adjust(0.01, 0.01, 0.99, 0.95, 0.06, 0.25)
    plots.save(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=128, help="validation scenes, and z (default 128)")
    parser.add_argument("--trainings", type=Path, help="of dissect.tiny.train_small, for checkpoints")
    options = parser.parse_args(arguments)
    begin, pictures = time.process_time(), folder(options.out, "rosetta")
    found = compared(options.images)
    names = list(found)
    if options.trainings is not None:
        found |= checkpoints(options.trainings, options.images)
    generated = found[names[3]]
    gallery(generated, min(32, options.images), pictures / "units.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dissect.DoubtfulResultWarning)
        d = dissect.dissect(tiny.vgg(), CLASSIFIER, tiny.TinyScenes("val", count=options.images), relu=True, decoys=0,
                            resamples=0, progress=False)  # fmt: skip
    text = HEAD + page(found, d, options.images)
    text += f"\nOne thread computed for {(time.process_time() - begin) / 60:.1f} minutes.\n"
    (options.out / "rosetta.md").write_text(text, encoding="utf-8")


def _against(row: Any) -> str:
    """A number and the same by chance."""
    digits = 0 if row.statistic == "best buddies" else 2
    ends = "" if row.low is None else f", {row.low:.{digits}f} to {row.high:.{digits}f}"
    return f"{row.value:.{digits}f} ({row.by_chance:.{max(digits, 1)}f}{ends}; p {row.p:.3f})"


def _sure(one: Rosetta) -> list[str]:
    """The intervals of a pair of layers, and how many best buddies are that in nearly every draw; "-" if unknown."""
    if one.resampled is None:
        return ["-"] * 3
    *ranges, buddies = one.intervals()
    told = [f"{row.value:.2f} ({row.low:.2f} to {row.high:.2f})" for row in ranges]
    return [*told, f"{buddies.low:.0f} of {buddies.value:.0f}"]


def _r(row: Any) -> str:
    """A correlation with its interval."""
    return f"{row.correlation:.2f}" + ("" if row.low is None else f" ({row.low:.2f} to {row.high:.2f})")


def page(found: dict[str, Rosetta], d: dissect.Dissection, images: int) -> str:
    """What follows the head."""
    lines, sure = [], [[name, *_sure(one)] for name, one in found.items()]
    for name, one in found.items():
        rows = one.significance()
        beyond = sum(row.q <= RATE for row in rows)
        lines.append(
            [
                name,
                len(rows),
                *map(_against, one.chance()),
                f"{beyond} ({sum(row.q <= RATE and row.mutual for row in rows)})",
            ]
        )
    concepts = {row.unit: f"{row.concept} {row.iou:.2f}" for row in d.best(CLASSIFIER)}
    generated = found["generator and classifier, on generated images"].significance()
    known = {row.unit: row for row in found["generator and classifier, on generated images"].rows()}
    rows = [
        [row.unit, row.other, _r(known[row.unit]),
         "-" if known[row.unit].stays is None else f"{known[row.unit].stays:.0%}", f"{row.by_chance:.2f}",
         f"{row.p:.3f}", f"{row.q:.3f}", concepts[row.other]]
        for row in sorted((row for row in generated if row.mutual), key=lambda row: -row.correlation)[:SHOWN]
    ]  # fmt: skip
    head = ["networks", "units", "median best r", "highest r", "best buddies",
            f"units beyond chance, q <= {RATE:g} (of these best buddies)"]  # fmt: skip
    return f"""
## The embedded networks

{images} validation scenes, and as many z; the classifier's {CLASSIFIER} and the segmenters' {SEGMENTER} after their
ReLUs, progan-street's {GENERATOR} as it is. The untrained twin tells how much correlates because both networks see
edges and lightness. In brackets the mean over {PERMUTATIONS} permutations of the images and where 95 % of them lie,
then p, of which {1 / (PERMUTATIONS + 1):.3f} is the least that so many can give; a unit is beyond chance by its own
best r in all of them, at a false discovery rate of {100 * RATE:g} % of the layer's units.

{table(head, lines)}
{_trained(found)}{SURE}
{table(["networks", "median best r (95 %)", "highest r (95 %)", "best buddies that stay"], sure)}
## Best buddies of generator and classifier

Those that correlate most on generated images, with what a dissection says that the classifier's unit detects in scenes:

{table(BUDDIES, rows)}
The first {PICTURES}: the {IMAGES} images of 32 in which the generator's unit is strongest, each twice: in colour where
it is in the top {100 * SHARE:g} % of its own activations, and to the right of that where the classifier's unit is.

![Generated images, lit where the generator's unit and the classifier's unit are strongest](rosetta/units.png)
"""


if __name__ == "__main__":
    main()
