"""Writes docs/unit_classifiers.md and its pictures: single units as classifiers, in the embedded networks.

``python docs/scripts/unit_classifiers.py --work build/unit_classifiers`` from the root of the sources. What was
measured is kept in the folder --work, from which an interrupted run goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from string import Template

import torch
from pages import command_line, folder, table

import dissect
from dissect import UnitClassifiers, plots
from dissect.dissection.unit_classifiers_result import ConceptRow
from dissect.tiny import TinyScenes, generator, segmenter, vgg

VGG, GAN = "features.conv5_3", "layer4"
#: Of the generator's z, and the share of an image that a concept must exceed there (PNAS, Fig. 3F).
SEED, AREA = 6, 0.05
#: Rows and columns of the scenes.
SIZE = 128
#: Rows of a table, and the false discovery rate at which a concept counts as told.
ROWS, RATE = 12, 0.05

PAGE = Template("""\
<!-- Written by docs/scripts/unit_classifiers.py; do not edit. -->
# Single units as classifiers

Does a unit's highest activation tell which images show a concept (PNAS 2020, Fig. 1F and 3F)?

```python
found = dissect.unit_classifiers(model, "features.28", images, segmenter=segmenter)  # or images with planes, or z
found.table()              # of each concept the best unit: AUROC, p, balanced accuracy, all on held-out images
found.top("airplane", 5)   # the units with the highest AUROC over all images, with p and its false discovery rate
found.classifier("airplane", 150)  # the best threshold on one half, its balanced accuracy on the other
found.plot("airplane", 150)
```

Labels of whole images serve as well, where there are no masks: class numbers [N], as `dissect.data.ClassFolder` gives
them, or 0 and 1 for each class, [N, K]. On the command line: `dissect unit-classifiers --model ... --layer ...
--classes photos/`, with `--images` and `--planes` or `--segmenter`, or of a generator with `--count` and `--segmenter`.

**How it is measured.** An image is with a concept that covers more than `least_area` of it, and without one that covers
none. Images are halved by a hash of their numbers. One half chooses the unit, by its AUROC, and the threshold, on a
balanced sample of at most 1,000 + 1,000 images; the other half measures both. So nothing in a row of `table()` is
better for having been chosen. p is that of Mann and Whitney's test, q the lowest false discovery rate (Benjamini and
Hochberg) at which a row counts as found among all of them. Intervals are 95 %, of Wilson's for both kinds of images.
Concepts of which a half has fewer than 10 images of either kind have an empty row.

## In a network

`$vgg_layer` of the embedded VGG, $vgg_units units, over $vgg_images validation scenes, $vgg_concepts concepts of all
categories. $vgg_told of the $vgg_known that enough images show are told at a false discovery rate of 5 %; the median of
their best units' AUROCs is $vgg_median. The objects that are told best:

$vgg_rows
![Peaks of images with and without the object]($vgg_picture)

In the paper unit 150 of VGG-16's conv5_3 tells airplanes with 85.6 %, in 1,000 + 1,000 ImageNet images, photographs of
another data set than the one that named the unit. Here they are others of the same kind, and drawn: an object looks
much alike in all scenes, and tells the classes that the network was trained to name, so its unit has an easier task.

With the scenes' classes alone, labels of whole images without any mask, $whole_told of $whole_known classes are told;
best: $whole_best.

## In a generator

`$gan_layer` of `progan-street`, $gan_units units, $gan_images images of z of seed $seed, as segmentation network 0 sees
them; an image is with a concept that covers more than $area of it, as in the paper. The best told:

$gan_rows
![Peaks of generated images with and without]($gan_picture)

In the paper unit 314 tells windows with 78.2 %, in 800 + 800 images. $gan_window

`python docs/scripts/unit_classifiers.py` makes this page anew, in $seconds seconds of one core's time.
""")


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and writes the page."""
    parser = command_line(__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/unit_classifiers"), help="folder for what takes long")
    parser.add_argument("--scenes", type=int, default=1720, help="validation scenes (1720)")
    parser.add_argument("--count", type=int, default=2000, help="generated images (2000)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    begin, street, model = time.process_time(), generator(), vgg()
    scenes = TinyScenes("val", SIZE, options.scenes)
    seen = _kept(options.work / "scenes", lambda at: dissect.unit_classifiers(model, VGG, scenes, resume=at))
    classes = torch.arange(options.scenes) % len(scenes.classes)
    names = ("-", *scenes.classes), ("", *["scene"] * len(scenes.classes))
    hot = torch.nn.functional.one_hot(classes + 1, len(names[0])).int()
    whole = replace(seen, concepts=dissect.Concepts(*names), areas=hot, num_pixels=1)  # the peaks are the same
    z, network = dissect.latents(street, options.count, seed=SEED), segmenter(0, signed=True)
    more = {"segmenter": network, "segment": "output", "least_area": AREA}
    made = _kept(options.work / "street", lambda at: dissect.unit_classifiers(street, GAN, z, resume=at, **more))
    seconds = _seconds(options.work, time.process_time() - begin)
    values = {**_of_network(seen, options.out), **_of_classes(whole), **_of_generator(made, options.out)}
    values |= {"vgg_layer": VGG, "gan_layer": GAN, "seed": SEED, "area": f"{AREA:.0%}", "seconds": seconds}
    (options.out / "unit_classifiers.md").write_text(PAGE.substitute(values))


def _kept(path: Path, measure: Callable[[Path], UnitClassifiers]) -> UnitClassifiers:
    """A result that is measured once."""
    if not path.with_suffix(UnitClassifiers.suffix).exists():
        measure(path).save(path)
    return UnitClassifiers.load(path)


def _seconds(work: Path, seconds: float) -> int:
    """What the measurements took when they were made."""
    file = work / "seconds"
    if not file.exists():
        file.write_text(f"{seconds:.0f}")
    return int(file.read_text())


def _of_network(found: UnitClassifiers, out: Path) -> dict[str, object]:
    rows = [row for row in found.table() if row.unit is not None]
    told = [row for row in rows if row.q <= RATE and row.auroc > 0.5]
    objects = [row for row in rows if row.category == "object" and row.accuracy is not None]
    values = sorted(row.auroc for row in told)
    best = objects[0] if objects else None
    return {
        "vgg_units": found.peaks.shape[1],
        "vgg_images": f"{len(found.peaks):,}",
        "vgg_concepts": len(found.concepts) - 1,
        "vgg_told": len(told),
        "vgg_known": len(rows),
        "vgg_median": f"{values[len(values) // 2]:.2f}" if values else "not known",
        "vgg_rows": _rows(objects[:ROWS]),
        "vgg_picture": _picture(found, best, folder(out, "unit_classifiers"), "network"),
    }


def _of_classes(found: UnitClassifiers) -> dict[str, object]:
    rows = [row for row in found.table() if row.unit is not None]
    told = [row for row in rows if row.q <= RATE and row.auroc > 0.5]
    best = [f"{row.concept} (unit {row.unit}, AUROC {row.auroc:.2f})" for row in rows[:3]]
    return {"whole_told": len(told), "whole_known": len(rows), "whole_best": ", ".join(best) or "none"}


def _of_generator(found: UnitClassifiers, out: Path) -> dict[str, object]:
    rows = [row for row in found.table() if row.accuracy is not None]
    window = next(row for row in found.table() if row.concept == "window")
    told = (
        f"Windows of that size are rare here: {window.present:,} images are with one and {window.absent:,} without "
        "any, which is too few to tell."
    )
    if window.accuracy is not None:
        told = (
            f"Windows here: unit {window.unit}, AUROC {window.auroc:.2f}, balanced accuracy {window.accuracy:.1%} "
            f"({_between(window.low, window.high)}), {window.present:,} images with and {window.absent:,} without."
        )
    shown = next((row for row in rows if row.category == "object"), rows[0] if rows else None)
    return {
        "gan_units": found.peaks.shape[1],
        "gan_images": f"{len(found.peaks):,}",
        "gan_rows": _rows(rows[:ROWS]),
        "gan_picture": _picture(
            found, shown if window.accuracy is None else window, folder(out, "unit_classifiers"), "generator"
        ),
        "gan_window": told,
    }


def _picture(found: UnitClassifiers, row: ConceptRow | None, pictures: Path, name: str) -> str:
    """The name of a concept's picture; of no unit in particular where none is told."""
    concept = None if row is None else f"{row.category}/{row.concept}"
    figure = plots.new_figure(4, 1) if concept is None else found.plot(concept)
    return f"{pictures.name}/{plots.save(figure, pictures / f'{name}.png').name}"


def _rows(rows: Sequence[ConceptRow]) -> str:
    heads = ["concept", "with", "without", "unit", "AUROC", "p", "q", "accuracy", "95 %", "peak >"]
    return table(heads, (
        [f"{row.concept} ({row.category})", f"{row.present:,}", f"{row.absent:,}", row.unit, f"{row.auroc:.3f}",
         f"{row.p:.1g}", f"{row.q:.1g}", f"{row.accuracy:.1%}", _between(row.low, row.high), f"{row.threshold:.2f}"]
        for row in rows
    ))  # fmt: skip


def _between(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.1%} to {high:.1%}"


if __name__ == "__main__":
    main()
