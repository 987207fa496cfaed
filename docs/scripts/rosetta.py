"""Finds units that are the same in two embedded networks, and writes docs/rosetta.md.

python docs/scripts/rosetta.py [--images N]
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from pages import command_line, folder, table
from torch import Tensor, nn
from torch.nn.functional import interpolate

import dissect
from dissect import plots, tiny
from dissect.experiments import Rosetta, rosetta

CLASSIFIER, SEGMENTER, GENERATOR = "features.conv4_3", "network.down4", "layer5"
#: Best buddies in the table and the gallery.
SHOWN, PICTURES, IMAGES = 8, 4, 3
#: The share of a map's places, over the shown images, that the gallery lights.
SHARE = 0.05
BUDDIES = ["generator's unit", "classifier's unit", "r", "its best r, permuted", "the classifier's unit detects (IoU)"]

HEAD = """\
<!-- Written by docs/scripts/rosetta.py; do not edit. -->
# The same unit in two networks

Do two networks that were trained apart find the same units? Dravid et al. (2023) correlate the maps of every unit of
one with those of every unit of the other over the same images; two that are each other's best are best buddies, even
between a generator and a classifier that sees what it makes:

```python
found = dissect.experiments.rosetta(model, layer, other, other_layer, scenes)
found = dissect.experiments.rosetta(generator, "layer5", classifier, layer, z, see=to_classifier, relu=(False, True))
found.summary(), found.buddies(), found.plot()
```

Maps are upsampled to the larger of both sizes; sums are float64, one matrix product per batch. Chance is the same
with permuted images: the second network sees another image than the first. A pair is **beyond chance** if it
correlates more than any pair does then. Permuted images keep what a place alone gives (the sky is above): that is
chance here, too.
"""


def shown_to_classifier(images: Tensor) -> Tensor:
    """Generated images [-1, 1] at 64x64 as the classifier has learned scenes."""
    return interpolate((images.clamp(-1, 1) + 1) / 2, (128, 128), mode="bilinear")


def compared(images: int) -> dict[str, Rosetta]:
    """By what is compared."""
    scenes, classifier = tiny.TinyScenes("val", count=images), tiny.vgg()
    segmenters = [tiny.segmenter(seed) for seed in (0, 1)]
    found = {
        "repeats: segmenters of seeds 0 and 1": rosetta(
            segmenters[0], SEGMENTER, segmenters[1], SEGMENTER, scenes, progress=False
        ),
        "two tasks: classifier and segmenter": rosetta(
            classifier, CLASSIFIER, segmenters[0], SEGMENTER, scenes, progress=False
        ),
        "classifier and its untrained twin": rosetta(
            classifier, CLASSIFIER, tiny.vgg(trained=False), CLASSIFIER, scenes, progress=False
        ),
    }
    for name, trained in (("generator and classifier", True), ("untrained generator and classifier", False)):
        generator = tiny.generator(trained=trained)
        z = dissect.latents(generator, images)
        found[f"{name}, on generated images"] = rosetta(
            generator, GENERATOR, classifier, CLASSIFIER, z, see=shown_to_classifier, relu=(False, True), progress=False
        )
    return found


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
    options = parser.parse_args(arguments)
    begin, pictures = time.process_time(), folder(options.out, "rosetta")
    found = compared(options.images)
    names = list(found)
    generated = found[names[3]]
    gallery(generated, min(32, options.images), pictures / "units.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dissect.DoubtfulResultWarning)
        d = dissect.dissect(tiny.vgg(), CLASSIFIER, tiny.TinyScenes("val", count=options.images), relu=True, decoys=0,
                            resamples=0, progress=False)  # fmt: skip
    text = HEAD + page(found, d, options.images)
    text += f"\nOne thread computed for {(time.process_time() - begin) / 60:.1f} minutes.\n"
    (options.out / "rosetta.md").write_text(text, encoding="utf-8")


def page(found: dict[str, Rosetta], d: dissect.Dissection, images: int) -> str:
    """What follows the head."""
    lines = []
    for name, one in found.items():
        same, permuted = one.summary()
        buddies = [row.correlation or 0.0 for row in one.buddies()]
        lines.append([
            name, same.units, f"{same.median:.2f} ({permuted.median:.2f})", f"{same.buddies} ({permuted.buddies})",
            same.beyond, f"{buddies[0]:.2f}" if buddies else "-", f"{float(one.null.max()):.2f}",
        ])  # fmt: skip
    concepts = {row.unit: f"{row.concept} {row.iou:.2f}" for row in d.best(CLASSIFIER)}
    rows = [
        [row.unit, row.other, f"{row.correlation:.2f}", f"{row.by_chance:.2f}", concepts[row.other]]
        for row in list(found["generator and classifier, on generated images"].buddies())[:SHOWN]
    ]
    head = ["networks", "units", "median best r (permuted)", "best buddies (permuted)", "beyond chance", "highest r",
            "highest r, permuted"]  # fmt: skip
    return f"""
## The embedded networks

{images} validation scenes, and as many z; the classifier's {CLASSIFIER} and the segmenters' {SEGMENTER} after their
ReLUs, progan-street's {GENERATOR} as it is. The untrained twin tells how much correlates because both networks see
edges and lightness. (No intervals: each row is one set of images and one permutation, of seed 0.)

{table(head, lines)}
## Best buddies of generator and classifier

Those that correlate most on generated images, with what a dissection says that the classifier's unit detects in scenes:

{table(BUDDIES, rows)}
The first {PICTURES}: the images of 32 in which the generator's unit is strongest, each twice: in colour where it is in
the top {100 * SHARE:g} % of its own activations, and where the classifier's unit is.

![Generated images, lit where the generator's unit and the classifier's unit are strongest](rosetta/units.png)
"""


if __name__ == "__main__":
    main()
