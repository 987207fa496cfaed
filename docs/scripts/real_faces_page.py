"""The text of docs/real_networks.md on the GAN of faces, and its figure, which shows numbers only."""

from __future__ import annotations

from typing import Any

from pages import table
from real_face_parts import LAYERS
from real_faces import Best, Painted

from dissect import plots


def faces_figure(found: Painted) -> Any:
    """The best IoU of each concept, beside that of the fixed mask, at each fraction."""
    with plots.drawing():
        figure = plots.new_figure(6.4, 2.6)
        parts = figure.subplots(1, len(found.at))
        for axes, (fraction, one) in zip(parts, found.at.items()):
            rows = [best_of(found, fraction, name)[1] for name in one.dissection.concepts.names[1:]]
            series = {"best unit": [row.iou for row in rows], "fixed mask": [row.fixed for row in rows]}
            plots.bars(axes, [row.concept for row in rows], series, across=True)
            axes.set_title(f"units fire on {fraction:.0%}")
            axes.set_xlabel("IoU")
            if axes is not parts[0]:
                axes.set_yticks([])
        plots.legend_below(figure, parts[0])
    return figure


def best_of(found: Painted, fraction: float, concept: str, twin: bool = False) -> tuple[str, Best]:
    """The layer of a concept's best unit, and the unit."""
    one = (found.twin if twin else found.at)[fraction]
    rows = [(layer, row) for layer in LAYERS for row in one.rows[layer] if row.concept == concept]
    return max(rows, key=lambda pair: pair[1].iou)


def concepts_table(found: Painted) -> str:
    """A row per concept and fraction."""
    rows = []
    for fraction, one in found.at.items():
        for name in one.dissection.concepts.names[1:]:
            layer, row = best_of(found, fraction, name)
            ends = "another label" if row.low is None else f"{row.low:.3f} to {row.high:.3f}"
            rows.append([f"{fraction:.0%}", name, f"`{layer}`", row.unit, f"{row.iou:.3f}", ends, f"{row.fixed:.3f}",
                         above(found, fraction, name)])  # fmt: skip
    return table(["fires on", "concept", "layer", "best unit", "IoU", "95 %", "fixed mask", "units above it"], rows)


def above(found: Painted, fraction: float, concept: str) -> int:
    """How many units of all layers have a higher IoU with a concept than the fixed mask."""
    one = found.at[fraction]
    return sum(row.units for layer in LAYERS for row in one.rows[layer] if row.concept == concept)


def changes_table(found: Painted) -> str:
    """A row per layer."""
    rows = []
    for one in found.changes:
        ends = f"{one.low:.2f} to {one.high:.2f}"
        others = f"{sum(one.random) / len(one.random):.2f} ({min(one.random):.2f} to {max(one.random):.2f})"
        rows.append([f"`{one.layer}`", LAYERS[one.layer], f"{one.units[0]} of {one.units[1]}", f"{one.ratio:.2f}", ends,
                     others])  # fmt: skip
    return table(["layer", "what it is", "background units", "ratio", "95 %", "random units"], rows)


def faces_text(found: Painted) -> str:
    """The part on the GAN."""
    low, high = found.at
    beaten = {fraction: [name for name in one.dissection.concepts.names[1:]
                         if best_of(found, fraction, name)[1].iou > best_of(found, fraction, name)[1].fixed]
              for fraction, one in found.at.items()}  # fmt: skip
    best = {fraction: [best_of(found, fraction, name)[1] for name in names] for fraction, names in beaten.items()}
    faint = " (none of them with an IoU above 0.04)" if best[low] and all(row.iou <= 0.04 for row in best[low]) else ""
    ruled = [name for name in found.at[low].dissection.concepts.names[1:] if best_of(found, low, name)[1].iou > 0.04]
    rule = ", ".join(ruled) or "none of these"
    told = {fraction: ", ".join(f"{name} (units: {above(found, fraction, name)})" for name in names) or "none"
            for fraction, names in beaten.items()}  # fmt: skip
    return f"""
## A GAN of faces

A DCGAN of 64x64 images, trained by somebody on DigiFace-1M. Two of mediapipe's networks label its images: one tells
people from the background, the other gives 468 places of a face, whose outlines enclose its parts (and it says whether
there is a face at all: in {found.faces[0]} of the {found.images} images here). The attention network of the same
package needs operations that ai-edge-litert does not have, so the plain one is used.

### Place alone, and the units

Faces are aligned. So a mask that is the same in all images, of the places where a concept is most often, as many as a
unit fires on, has an IoU of its own, and a unit says something only where it beats that. Over {found.images} images,
the best unit of all four layers for each concept:

{concepts_table(found)}
![The best unit of each concept against the fixed mask](real_networks/faces.png)

Concepts of which units beat the fixed mask: at {low:.0%} {told[low]}{faint}; at {high:.0%} {told[high]}. The 95 %
are of the unit's IoU where the concept is its label (images drawn again; the fixed mask is not). By the papers' rule
alone, an IoU above 0.04 at {low:.0%}, the GAN would have units for {rule}. In the papers images are scenes, whose
objects have no place of their own.

{changes_text(found)}"""


def changes_text(found: Painted) -> str:
    """What ablations of background units change, and the twin."""
    high, draws = max(found.at), len(found.changes[0].random)
    twin = best_of(found, high, "background", twin=True)[1]
    rest = "Where all is background, there is nothing else whose change ablations could be compared with."
    rest = rest if found.background[1] > 0.99 else ""
    return f"""\
### What background units do

The {found.changes[0].units[0]} units of each layer with the highest IoU with the background (at {high:.0%}) are
ablated in {found.images} other images. The mean change of the background's pixels over that of all others, beside
{draws} draws of as many random units of the layer (mean, and the range of the draws):

{changes_table(found)}
PNAS 2020 removes tree units of a Progressive GAN and loses 53.3 % of the trees' pixels with 20 of them; here nothing
else takes the background's place, so its change is measured, not its area.

### The untrained twin

The same generator as it is drawn before training (its normalisation layers know the mean and variance of these z)
makes images in which the networks find {found.faces[1]} faces and {found.background[1]:.0%} background
({found.background[0]:.0%} of the trained one's pixels are background). Its best unit for the background has an IoU of
{twin.iou:.3f} at {high:.0%}, where the fixed mask has {twin.fixed:.3f}. {rest}
"""
