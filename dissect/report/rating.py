"""Pages on which people name units, and say whether labels fit them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dissect.arguments import integer, refusal, seed_number, speaks
from dissect.dissection.result import Dissection
from dissect.dissection.rows import is_detector
from dissect.report.content import check_dissection
from dissect.report.embedded import json_inside
from dissect.report.html import check_extras
from dissect.report.pictures import encode_masks, encode_pictures, mask_side, top_masks
from dissect.report.sheets import PairsPage, Sheet, write_sheet

SCRIPTS = ("pictures.js", "patches.js", "rating.js")
RATING = Sheet("rating", "label", "rating", "rating.html", SCRIPTS)
NAMING = Sheet("naming", "unit", "naming", "rating.html", SCRIPTS)
#: Pictures of a unit, as published (TPAMI 2018, Fig. 4).
SHOWN = 15
#: Letters of a label.
LONGEST = 60
#: What the labels of a dissection are called.
MACHINE = "dissection"
QUESTION = "Do these words describe most of the highlighted patches?"
NAME_QUESTION = "Which words describe the highlighted patches?"


@speaks
def write_rating(
    dissection: Dissection,
    path: str | Path,
    *,
    seed: int,
    labels: Mapping[str, Mapping[tuple[str, int], str]] | None = None,
    units: Mapping[str, Iterable[int]] | None = None,
    images: int = SHOWN,
    detector_iou: float | None = None,
    question: str = QUESTION,
) -> PairsPage:
    """Writes a page on which people say whether labels fit units, and the key to their answers (TPAMI 2018, 3.1).

    Each question has the images that excite a unit most, dark where it does not fire, and a label in quotes. Those of
    the dissection are mixed with others, such as people's (`read_names`), in an order that is drawn; all are written
    in one way (see `dissect.report.plain_label`), and which is whose is in the key alone. A label that several methods
    give a unit is asked once, and counts for each. The page is one file that opens without a network.

    Args:
        dissection: with its top images (``dissect.dissect(..., top_images=15)``).
        path: a folder, in which "rating.html" is written, or a file that ends in ".html"; the key is beside it, with
            the suffix ".key.json".
        seed: of the order.
        labels: further ones, by the method that gives them, of units by (layer, number).
        units: by layer, of which units labels are asked; of all by default.
        images: of each unit, at most. Published are 15.
        detector_iou: labels of the dissection are asked above it; as it was dissected by default.
        question: what people are asked.

    Returns:
        A `PairsPage`.

    Raises:
        ImportError: jinja2, matplotlib or pillow is not installed.
        KeyError: a layer that was not dissected.
        TypeError, ValueError: no dissection, one without top images or concepts, a label of no unit, an empty one, a
            method called "dissection", or no labels at all.

    Example:
        >>> d = dissect.load("out/result")  # doctest: +SKIP
        >>> dissect.report.write_rating(d, "out/", seed=1)  # doctest: +SKIP
        PairsPage(page=PosixPath('out/rating.html'), key=PosixPath('out/rating.key.json'))
    """
    found = _labels(dissection, chosen_units(dissection, units), {} if labels is None else labels, detector_iou)
    if not found:
        raise refusal(ValueError("labels must be of the units that are asked about, but there are none of these."))
    order = drawn_order(len(found), seed)
    asked = [(found[at]["layer"], found[at]["unit"], found[at]["label"]) for at in order]
    return _write(RATING, dissection, path, asked, [found[at] for at in order], images, seed, question)


@speaks
def write_naming(
    dissection: Dissection,
    path: str | Path,
    *,
    seed: int,
    units: Mapping[str, Iterable[int]] | None = None,
    images: int = SHOWN,
    question: str = NAME_QUESTION,
) -> PairsPage:
    """Writes a page on which people name units in one or two words of their own, and its key (thesis, A.2).

    The page tells no labels. Units that never fire are left out. The names are read by `read_names`.

    Args:
        dissection: see `write_rating`; it needs no concepts.
        path: a folder, in which "naming.html" is written, or a file that ends in ".html"; the key is beside it.
        seed: of the order of the units.
        units: by layer, which; all by default.
        images: see `write_rating`.
        question: what people are asked.

    Returns:
        A `PairsPage`.

    Raises:
        ImportError: jinja2, matplotlib or pillow is not installed.
        KeyError: a layer that was not dissected.
        TypeError, ValueError: no dissection, one without top images, or no unit that fires.

    Example:
        >>> d = dissect.load("out/result")  # doctest: +SKIP
        >>> dissect.report.write_naming(d, "out/", seed=1, units={"layer4": range(40)})  # doctest: +SKIP
        PairsPage(page=PosixPath('out/naming.html'), key=PosixPath('out/naming.key.json'))
    """
    chosen = chosen_units(dissection, units)
    fire = {
        name: [unit for unit in sorted(those) if dissection[name].unit_area[unit] > 0] for name, those in chosen.items()
    }
    found: list[dict[str, Any]] = [{"layer": name, "unit": unit} for name, those in fire.items() for unit in those]
    if not found:
        raise refusal(ValueError("units must have one that fires, but none of these does."))
    key = [found[at] for at in drawn_order(len(found), seed)]
    asked = [(each["layer"], each["unit"], None) for each in key]
    return _write(NAMING, dissection, path, asked, key, images, seed, question)


def plain_label(label: str, category: str = "") -> str:
    """A label as people are asked about it, so that its spelling does not tell whose it is.

    In lower case, with spaces for underscores; without the "-c" and "-s" that Broden puts behind its colors and scenes.

    Example:
        >>> plain_label("dining_table "), plain_label("blue-c", "color"), plain_label("T-shirt")
        ('dining table', 'blue', 't-shirt')
    """
    end = {"color": "-c", "scene": "-s"}.get(category, "")
    return " ".join(label.removesuffix(end).replace("_", " ").casefold().split())


def chosen_units(dissection: Dissection, units: Mapping[str, Iterable[int]] | None) -> dict[str, set[int]]:
    """By layer, the units to ask about."""
    check_dissection(dissection)
    if units is None:
        return {name: set(range(dissection[name].num_units)) for name in dissection}
    if not isinstance(units, Mapping):
        raise refusal(TypeError(f"units must be numbers by layer, but got {type(units).__name__}."))
    return {
        name: {integer("units", unit, 0, dissection[name].num_units - 1) for unit in those}
        for name, those in units.items()
    }


def _labels(
    dissection: Dissection,
    units: Mapping[str, set[int]],
    labels: Mapping[str, Mapping[tuple[str, int], str]],
    detector_iou: float | None,
) -> list[dict[str, Any]]:
    """The key's items: each label of a unit once, with the methods that give it."""
    if not isinstance(labels, Mapping) or not all(isinstance(given, Mapping) for given in labels.values()):
        raise refusal(TypeError("labels must be texts by (layer, unit), by method."))
    if MACHINE in labels:
        raise refusal(ValueError(f"labels must be of other methods than {MACHINE!r}, whose the result's own are."))
    if detector_iou is not None and not 0 <= detector_iou <= 1:
        raise refusal(ValueError(f"detector_iou must be between 0 and 1, but is {detector_iou}."))
    concepts = dissection.concepts
    categories = {plain_label(name, its): its for name, its in zip(concepts.names[1:], concepts.categories[1:])}
    found: dict[tuple[str, int, str], dict[str, Any]] = {}

    def note(layer: str, unit: int, text: str, method: str, category: str) -> None:
        own = {"layer": layer, "unit": unit, "label": text, "category": category, "methods": []}
        found.setdefault((layer, unit, text), own)["methods"].append(method)

    for name, those in units.items():
        for row in dissection.best(name):
            if row.unit in those and is_detector(row, dissection.settings, detector_iou):
                note(name, row.unit, plain_label(row.concept, row.category), MACHINE, row.category)
    for method, given in labels.items():
        for (name, unit), label in given.items():
            integer("labels", unit, 0, dissection[name].num_units - 1)
            text = plain_label(label)
            if not 0 < len(text) <= LONGEST or not text.isprintable():
                raise refusal(
                    ValueError(
                        f"labels must be printable texts of 1 to {LONGEST} letters, but {method!r} has {label!r}."
                    )
                )
            if unit in units.get(name, ()):
                note(name, unit, text, method, categories.get(text, "other"))
    return list(found.values())


def drawn_order(count: int, seed: int) -> list[int]:
    """The order in which so many questions are asked."""
    chance = torch.Generator().manual_seed(seed_number(seed))
    order: list[int] = torch.randperm(count, generator=chance).tolist()
    return order


def _write(
    kind: Sheet,
    dissection: Dissection,
    path: str | Path,
    asked: Sequence[tuple[str, int, str | None]],
    key: Sequence[Mapping[str, Any]],
    images: int,
    seed: int,
    question: str,
) -> PairsPage:
    """Writes a page about units, each of which it has once, in the order in which they are first asked about."""
    check_extras()
    places = {unit: at for at, unit in enumerate(dict.fromkeys((layer, unit) for layer, unit, _ in asked))}
    shown, pictures = pictures_of(dissection, [*places], integer("images", images))
    media, texts = encode_pictures(torch.stack([*pictures.values()]))
    return write_sheet(
        kind, path, [[places[layer, unit], text] for layer, unit, text in asked], key,
        seed=seed, question=question, sheet={"units": shown},
        naming=kind is NAMING, longest=LONGEST,
        aspect="{} / {}".format(*reversed(dissection.images.shape[-2:])),
        pictures=json_inside({"type": media, "data": dict(zip(pictures, texts))}),
    )  # fmt: skip


def pictures_of(
    dissection: Dissection,
    asked: Sequence[tuple[str, int]],
    images: int,
    called: Callable[[int], Any] = lambda number: number,
) -> tuple[list[dict[str, Any]], dict[Any, Tensor]]:
    """What a page shows of each of some units, and all images that it needs for that, uint8 [3, H, W].

    Args:
        dissection: with its top images.
        asked: different units, by (layer, number).
        images: of each, at most.
        called: what an image of a number is called in the page.

    Raises:
        ValueError: a dissection without top images.
    """
    images = min(images, *(layer.peaks.shape[1] for layer in dissection.layers.values()))
    if not images or not len(dissection.images):
        raise refusal(ValueError("dissection must have top images, dissect.dissect(..., top_images=15), but has none."))
    places = {unit: at for at, unit in enumerate(asked)}
    layers = {name: layer for name, layer in dissection.layers.items() if name in {layer for layer, _ in places}}
    side, shown = mask_side(layers.values(), images), [dict[str, Any]()] * len(places)
    numbers: set[int] = set()
    for name, layer in layers.items():
        for unit, (masks, _) in enumerate(top_masks(layer, images, side)):
            if (name, unit) in places:
                tops = layer.peak_images[unit, :images].tolist()
                pictures = [[called(number), mask] for number, mask in zip(tops, encode_masks(masks[:images]))]
                own = {"rows": masks.shape[1], "columns": masks.shape[2], "pictures": pictures}
                shown[places[name, unit]] = own
                numbers |= {*tops}
    at_number = {number: at for at, number in enumerate(dissection.image_numbers.tolist())}
    return shown, {called(number): dissection.images[at_number[number]] for number in sorted(numbers)}
