"""Explains the units of the embedded classifier by formulas of concepts, and writes docs/formulas.md.

python docs/scripts/formulas.py [--images N]
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from meanings import DETECTOR, RATE, Elsewhere
from pages import command_line, folder, table

import dissect
from dissect import UnitFormulas, plots, tiny
from dissect.dissection.formulas_result import FormulaRow

LAYERS = ["features.conv4_3", "features.conv5_3"]
#: Rows of the table of examples.
SHOWN = 12

HEAD = """\
<!-- Written by docs/scripts/formulas.py; do not edit. -->
# Units as formulas of concepts

One concept is a coarse name for a unit. `dissect.formulas` looks for the AND, OR and AND NOT of up to three concepts
that a unit overlaps most (compositional explanations, Mu & Andreas 2020), with their beam search:

```python
d = dissect.dissect(model, layers, images)
found = dissect.formulas(model, d, images)      # two more visits; the same images and planes
found.rows()                                    # formula, IoU, p and q by chance; the best single concept, and its IoU
found.save("result")
dissect.write_report(d, "out/", formulas=found) # "better as" on each card
```

On the command line: `dissect run ... --formulas 3`.

**How it counts.** A data set has few different *combinations* of labels. One pass counts, for each unit, on how many
pixels of each combination it fires (`stats.CombinationTally`, exact integers, mergeable). A formula only says of each
combination whether it holds there, so that its IoU follows from these counts, and no masks of pixels are kept or
looked at again, however many images there are. A visit whose single labels do not have the very counts of the
dissection is refused: it saw other images, planes or weights.

**How it searches.** `ops.formula_search` takes the counts of all units: C++ on a CPU, where a formula is the list of
combinations for which it holds, of which each step sums those alone; products of matrices on a GPU; integers, so that
both find the same. Masks of pixels, packed as bits and counted by popcount, are another way: for 512 units, 120 labels,
a beam of 5 and 2,000 images at 56x56 two steps would read some 480 GB of bits. There are 28,000 combinations there, and
the search takes 0.15 s of one thread; their counts take 8 s, nearly all of it the visit that every way needs.

**Longer is better by chance.** The best of some thousand formulas overlaps any unit better than one label does, noise
included. Two things tell how much of it is chance.

- *Other halves:* every half of the images is searched for itself, and what it finds is measured on the other half:
  compare `held_out` with `held_out_concept`, not `iou` with `concept_iou`.
- *Other scenes:* the planes are permuted among the images (`decoys` times, by `seed`, as for [labels](trust.md)), the
  combinations on which units fire are counted anew, and the very search goes through them. `p` is how probable so high
  an IoU of a best formula is there, in any unit of the layer that fires; `q` its false discovery rate among these units
  (Benjamini-Hochberg). Where the counts of all permutations exceed `memory_budget`, there are more visits. A formula
  that passes says something of its images; whether it says more than its best single concept does, the other halves
  tell.

The search is no proof: a better formula may exist that a beam of five does not meet.
"""

BESIDE = """\
## Beside other code

The repository of "Guaranteed Optimal Compositional Explanations for Neurons" (La Rosa & Gilpin 2026) and its package
compositional-explanations search masks, a sparse matrix for each concept, and say that to make those of Broden takes
hours. `dissect.data.write_concept_masks` writes them of any label planes in one visit, and `read_concept_masks` reads
theirs as planes:

```python
disjoint = dissect.data.write_concept_masks("masks/", scenes, concepts, size=(112, 112))  # and their disjoint_info
planes, concepts = dissect.data.read_concept_masks("masks/", (112, 112))                  # files do not say sizes
d = dissect.dissect(model, layers, torch.utils.data.TensorDataset(images, planes), concepts=concepts)
```

`masks/NAME.npz` is scipy's file of a CSR matrix of bool, [images, rows times columns]; names that no file can have are
refused. Read and written are these files alone: their caches are pickled, and results of theirs are not read. Tried
with version 0.0.3.4 of the package, whose functions take dense masks: on 24 embedded scenes and 40 concepts its beam
search gave two units the formulas that `stats.FormulaSearch` gives.
"""

#: What is dissected: whose network, and whether with every scene's planes from another scene.
NETWORKS = {"trained": (True, False), "untrained": (False, False), "trained, other scenes' planes": (True, True)}


def explained(images: int, trained: bool, elsewhere: bool) -> tuple[UnitFormulas, float]:
    """Formulas of the embedded network's units, and the processor time that they took."""
    model, scenes = tiny.vgg(trained=trained), (Elsewhere if elsewhere else tiny.TinyScenes)("val", count=images)
    found = dissect.dissect(model, LAYERS, scenes, decoys=0, progress=False)
    begin = time.process_time()
    return dissect.formulas(model, found, scenes, progress=False), time.process_time() - begin


def numbers(images: int, found: dict[str, UnitFormulas], seconds: float) -> str:
    """What formulas say beyond single concepts, and beyond chance."""
    rows = []
    for name, formulas in found.items():
        for layer in formulas.layers:
            units = [row for row in formulas.rows(layer) if row.held_out is not None]
            better = sum(row.held_out > row.held_out_concept for row in units)
            own = [row for row in formulas.rows(layer) if row.iou > DETECTOR]
            rows.append(
                [f"{name}, {layer.removeprefix('features.')}", len(formulas.rows(layer)),
                 sum(row.length > 1 for row in units), *(f"{value:.3f}" for value in medians(units)),
                 f"{better} of {len(units)}", real(formulas.rows(layer)), f"{real(own)} of {len(own)}"]
            )  # fmt: skip
    head = ["layer", "units", "longer than one label", "median IoU, label", "formula", "held out: label", "formula",
            "formula better, held out", "beyond chance", f"of IoU > {DETECTOR}"]  # fmt: skip
    trained = found["trained"]
    return f"""\
## The embedded classifier

The first {images} validation scenes, formulas of up to three of {len(trained.concepts) - 1} concepts, a beam
of five, thresholds at the top 1 %. The visits and the searches, of both layers, took {seconds:.0f} s of processor time,
{trained.settings["decoys"]} permutations of the planes with theirs. "Beyond chance": units of q <= {RATE}.
The untrained network's units have better formulas than labels too, as objects lie where pixels of some color lie: a
formula says what a unit overlaps, and is no sign of learning. In the last rows every scene has the planes of another
one, so that no formula is right: what is beyond chance there is wrong.

{table(head, rows)}
{by_chance(trained)}

![IoU of formulas and of single concepts on images that did not choose them](formulas/held_out.png)

Each point is a unit of the trained network: above the line its formula is the better name.
"""


def real(rows: list[FormulaRow]) -> int:
    """How many formulas are beyond chance."""
    return sum(row.q is not None and row.q <= RATE for row in rows)


def by_chance(found: UnitFormulas) -> str:
    """How high the best formulas' IoUs are with other scenes' planes, in words."""
    told = []
    for name, layer in found.layers.items():
        middle, high = (float(layer.null.flatten().quantile(share)) for share in (0.5, 0.95))
        told.append(f"{name.removeprefix('features.')} {middle:.3f} (95 % below {high:.3f})")
    return (
        "With other scenes' planes the median IoU of the best formula is, of the trained network's "
        f"{', of '.join(told)}."
    )


def medians(rows: list[FormulaRow]) -> list[float]:
    """Of the columns of IoUs."""
    names = ("concept_iou", "iou", "held_out_concept", "held_out")
    return [median(getattr(row, name) for row in rows) for name in names]


def examples(found: UnitFormulas) -> str:
    """The units that gain most."""
    units = [row for row in found.rows(LAYERS[-1]) if row.length > 1 and row.held_out is not None]
    units.sort(key=lambda row: row.held_out_concept - row.held_out)
    rows = [
        [row.unit, row.formula, f"{row.iou:.3f}", row.concept, f"{row.concept_iou:.3f}", f"{row.held_out:.3f}",
         f"{row.held_out_concept:.3f}", f"{row.q:.3f}"]
        for row in units[:SHOWN]
    ]  # fmt: skip
    head = ["unit", "formula", "IoU", "concept", "IoU", "held out: formula", "concept", "q"]
    return f"""\
## Where formulas say most

The {len(rows)} units of conv5_3 whose formula gains most on images that did not choose it.

{table(head, rows)}"""


def drawn(found: UnitFormulas, path: Path) -> None:
    """Formulas against single concepts, both on images that did not choose them."""
    with plots.drawing():
        figure = plots.new_figure(6.4, 3.1)
        for place, layer in enumerate(found.layers):
            rows = [row for row in found.rows(layer) if row.held_out is not None]
            axes = figure.add_subplot(1, 2, place + 1)
            x, y = [row.held_out_concept for row in rows], [row.held_out for row in rows]
            end = max([*x, *y, 0.1])
            axes.plot([0, end], [0, end], color=plots.QUIET, linewidth=0.8)
            plots.scatter(axes, x, y)
            axes.set_title(layer.removeprefix("features."))
            axes.set_xlabel("IoU of the single concept, held out")
            axes.set_ylabel("IoU of the formula, held out" if place == 0 else "")
    plots.save(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=860, help="validation scenes (default 860)")
    options = parser.parse_args(arguments)
    measured = {name: explained(options.images, *which) for name, which in NETWORKS.items()}
    found, (trained, seconds) = {name: one for name, (one, _) in measured.items()}, measured["trained"]
    drawn(trained, folder(options.out, "formulas") / "held_out.png")
    text = "\n".join([HEAD, numbers(options.images, found, seconds), examples(trained)]) + BESIDE
    (options.out / "formulas.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
