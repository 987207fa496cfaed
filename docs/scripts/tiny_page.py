"""The text of docs/tiny.md: what was measured, between the pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from string import Template
from typing import Any, NamedTuple

import numpy as np
from pages import table

from dissect.tiny.survey import Limit, Survey, coverage
from dissect.tiny.train import SIZES
from dissect.tiny.world import vocabulary

PAGE = Template("""\
<!-- Written by docs/scripts/tiny_world.py; do not edit. -->
# The embedded world

`dissect.tiny.TinyScenes` draws $classes classes of scenes out of $objects shared objects, and knows the object, part,
material, texture and color of every pixel: $concepts concepts, exact, no files, the same bytes on every machine.
$speed images per second at 128x128 on one core of $machine.

## The scenes

The first four validation scenes of each class.

$sheets
## The label planes

Four scenes, chosen to show many concepts, and what their planes say. Of the two planes of parts the second holds what
lies inside other parts or in none.

$planes
## The same scene in other clothes

`restyle=` draws an item again with other textures and colors; its geometry, objects and parts stay.

![Scenes and their restyled twins](tiny/restyled.png)

`watermark=True` stamps a text in the middle of 6 % of the images and at the bottom of 3 %.

![Watermarked scenes](tiny/watermarks.png)

## No short cuts

Measured on $val_count validation scenes; the logistic regressions learned from $train_count training scenes
(standardised inputs, L2 chosen on a held-out fifth, trained until they converge). `tests/tiny/test_shortcuts.py` holds
the scenes to these limits.

$limits
What the vocabulary declares exempt: pairs of concepts that cover nearly the same pixels ($twins); objects in fewer than
three colors ($few_colors); objects of fewer than three materials ($few_materials).

## The classifier

`dissect.tiny.vgg()` is VGG-16 in small: conv1_1 ... conv5_3 and three fully connected layers, no normalisation,
$channels channels in the five blocks. It was trained for $epochs epochs on $trained_on scenes in $minutes minutes (seed
$seed), on images of $sizes, by [`python -m dissect.tiny.train`](../dissect/tiny/train.py). That also
writes twelve snapshots along the way: the untrained network, one after 1/1024 of the training, and then each one twice
as far as the one before.

**It names the class of $accuracy of the $tested_on validation scenes.**

![Accuracy and loss along the training](tiny/training.png)

$log
The hardest classes: $hardest.

![Confusion matrix, in % of each class](tiny/confusion.png)

## The concepts

`pixels`: share of all pixels of the validation scenes; `images`: share of the images that show it; `attainable IoU`: no
unit that fires on the top 1 % of positions can have a larger IoU with it, since IoU <= min(q, f) / max(q, f) for a unit
that fires on q = 0.01 of the pixels and a concept that covers f.

$coverage
""")


class Result(NamedTuple):
    """What the shipped network does on the validation scenes."""

    about: dict[str, Any]
    log: list[dict[str, float]]
    shares: np.ndarray
    names: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        """The mean over the classes, which are equally frequent."""
        return float(self.shares.diagonal().mean())


def page(train: Survey, val: Survey, rows: Iterable[Limit], result: Result, families: Iterable[str],
         machine: str) -> str:  # fmt: skip
    """The whole page."""
    scenes = val.scenes
    about = result.about
    worst = np.argsort(result.shares.diagonal(), kind="stable")[:5]
    return PAGE.substitute(
        classes=len(scenes.classes),
        objects=len(val.labels("object")),
        concepts=len(scenes.concepts) - 1,
        speed=round(len(val.numbers) / val.seconds),
        machine=machine,
        sheets=pictures((f"Scenes of the family {name}", name) for name in families),
        planes=pictures((f"Planes of {name}s", f"planes-{name}") for name in dict.fromkeys(scenes.planes)),
        val_count=f"{len(val.numbers):,}",
        train_count=f"{len(train.numbers):,}",
        twins=", ".join(f"{a[0]} {a[1]} and {b[0]} {b[1]}" for a, b in vocabulary.NEAR_TWINS),
        few_colors=", ".join(vocabulary.FEW_COLORS),
        few_materials=", ".join(vocabulary.FEW_MATERIALS),
        limits=table(("figure", "value", "limit", "met"), map(_limit_cells, rows)),
        channels="-".join(map(str, about["channels"])),
        epochs=f"{about['epochs']:.1f}",
        trained_on=f"{about['train_images']:,}",
        minutes=f"{about['minutes']:.0f}",
        seed=about["seed"],
        sizes=_sizes(about["size"]),
        accuracy=f"{result.accuracy:.1%}",
        tested_on=f"{about['val_images']:,}",
        log=_log_table(result.log),
        hardest=", ".join(f"{result.names[number]} {result.shares[number, number]:.0%}" for number in worst),
        coverage=_coverage_tables(val),
    )


def pictures(entries: Iterable[tuple[str, str]]) -> str:
    """One picture after the other: (what it shows, name of its file)."""
    return "".join(f"![{text}](tiny/{name}.png)\n\n" for text, name in entries)


def _limit_cells(row: Limit) -> tuple[str, ...]:
    value = f"{row.value:.3f}" if isinstance(row.value, float) and row.value < 10 else f"{row.value:.0f}"
    return row.figure, value, row.bound, "yes" if row.met else "**no**"


def _sizes(full: int) -> str:
    """At which size the training sees the images, and from when on."""
    return ", ".join(f"{int(full * share)} px" + (f" from {at:.0%} on" if at else " at first") for at, share in SIZES)


def _log_table(log: Sequence[dict[str, float]]) -> str:
    epochs = [line for line in log if "snapshot" not in line]
    chosen = sorted({round(at) for at in np.linspace(0, len(epochs) - 1, 8)})
    return table(
        ("epoch", "size", "training loss", "validation accuracy", "images/s", "minutes"),
        (
            (
                f"{line['epoch']:g}",
                f"{line['size']} px",
                f"{line['loss']:.3f}",
                f"{line['val_accuracy']:.1%}",
                f"{line['images_per_second']:.0f}",
                f"{line['minutes']:.0f}",
            )
            for line in (epochs[number] for number in chosen)
        ),
    )


def _coverage_tables(val: Survey) -> str:
    rows = coverage(val)
    parts = []
    for category in dict.fromkeys(row.category for row in rows):
        cells = [
            (row.concept, f"{row.pixels:.2%}", f"{row.images:.1%}", f"{row.attainable:.2f}")
            for row in sorted(rows, key=lambda row: -row.pixels)
            if row.category == category
        ]
        rows_of = table(("concept", "pixels", "images", "attainable IoU"), cells)
        parts.append(f"<details><summary>{category}: {len(cells)} concepts</summary>\n\n{rows_of}\n</details>\n")
    return "\n".join(parts)
