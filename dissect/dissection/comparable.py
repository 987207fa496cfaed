"""Which dissections may stand beside one another, and what must be told where they do."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from dissect.arguments import refusal
from dissect.dissection.result import Dissection, load

#: Settings that decide what an IoU, or a detector, is: a difference is refused.
RULES = ("fraction", "positions", "grid", "border", "step", "scope", "relu", "detector_iou", "levels", "match")
#: What may differ within a series if `allow` names it: the network's class.
NETWORK = "network"
ALLOWED = (*RULES, NETWORK)
#: What dissections of before, which do not say it, have been made by.
BEFORE = {"levels": "fraction", "match": "iou"}
#: Settings that may differ without a word: what they say is told elsewhere, or belongs to one network alone.
OWN = ("preset", "tokens", "layouts", "grids", "seed", "weights", "provenance", "num_images", "images_only", "segment",
       "directions")  # fmt: skip
#: Concepts that a message names.
NAMED = 3


def gathered(dissections: Iterable[Any] | Mapping[str, Any]) -> dict[str, Dissection]:
    """The dissections by their networks' names, read where files are given.

    Raises:
        TypeError: no list or mapping of dissections or files; a name that is no text.
        ValueError: none at all.
    """
    rule = "dissections must be a list, or a mapping by name, of Dissections or of files that Dissection.save wrote"
    if isinstance(dissections, (Dissection, str, Path)) or not isinstance(dissections, Iterable):
        raise refusal(TypeError(f"{rule}, but got {type(dissections).__name__}."))
    given = list(dissections.values() if isinstance(dissections, Mapping) else dissections)
    for one in given:
        if not isinstance(one, (Dissection, str, Path)):
            raise refusal(TypeError(f"{rule}, but one is {type(one).__name__}."))
    if not given:
        raise refusal(ValueError("dissections must hold at least one, but there is none."))
    found = [one if isinstance(one, Dissection) else load(one) for one in given]
    names = list(dissections) if isinstance(dissections, Mapping) else _names(given)
    for name in names:
        if not isinstance(name, str) or not name:
            raise refusal(TypeError(f"the names of dissections must be texts, but one is {name!r}."))
    return dict(zip(names, found, strict=True))


def _names(given: list[Dissection | str | Path]) -> list[str]:
    """Names that tell them apart: of files, their folders where they are called alike; of results, their networks."""
    plain, folders = [], []
    for one in given:
        if isinstance(one, Dissection):
            network = (one.settings.get("provenance") or {}).get("network", "network").rpartition(".")[2]
            plain.append(network)
            folders.append(network)
        else:
            plain.append(Path(one).stem)
            folders.append(Path(one).resolve().parent.name)
    for names in (plain, folders):
        if len({*names}) == len(names) and all(names):
            return names
    return [f"{name} {number}" for number, name in enumerate(plain, 1)]


def check_comparable(found: Mapping[str, Dissection], allow: Sequence[str], cutoff: float | None) -> None:
    """Refuses what must not be compared.

    Args:
        found: by name.
        allow: which of `ALLOWED` may differ.
        cutoff: the detector cut-off, if one is given for all.

    Raises:
        ValueError: too little to compare, no concepts, another vocabulary, or other rules; names what differs.
    """
    layers = sum(len(one.layers) for one in found.values())
    if layers < 2:
        raise refusal(ValueError(f"two layers or networks must be there to be compared, but there is {layers}."))
    alone = [name for name, one in found.items() if one.images_only]
    if alone:
        raise refusal(
            ValueError(
                f"dissections must have concepts, but {alone[0]!r} is of images alone, so it has no detectors; "
                "dissect it again with label planes or a segmenter."
            )
        )
    if cutoff is not None and not (
        isinstance(cutoff, (int, float)) and not isinstance(cutoff, bool) and 0 <= cutoff <= 1
    ):
        raise refusal(ValueError(f"detector_iou must be a number from 0 to 1, but got {cutoff!r}."))
    unknown = [name for name in allow if name not in ALLOWED]
    if unknown:
        raise refusal(ValueError(f"allow must name settings of {ALLOWED}, but names {unknown[0]!r}."))
    _check_vocabularies(found)
    free = {*allow, *(() if cutoff is None else ("detector_iou",))}
    differing = [name for name in RULES if name not in free and len(_values(found, name)) > 1]
    if differing:
        told = "; ".join(_told(found, name) for name in differing)
        only_cutoff = differing == ["detector_iou"]
        way = (
            "count all by one cut-off, detector_iou=..." if only_cutoff else f"compare all the same, allow={differing}"
        )
        raise refusal(ValueError(f"dissections must follow the same rules, but {told}. Dissect again, or {way}."))


def _check_vocabularies(found: Mapping[str, Dissection]) -> None:
    first, *others = found
    own = _vocabulary(found[first])
    for name in others:
        its = _vocabulary(found[name])
        lacks, adds = own - its, its - own
        if lacks or adds:
            parts = [f"lacks {_listed(lacks)}"] * bool(lacks) + [f"has {_listed(adds)} beside"] * bool(adds)
            raise refusal(
                ValueError(
                    f"dissections must have one vocabulary, the same names and categories, but {name!r}, against "
                    f"{first!r}, {' and '.join(parts)}: an IoU is the best over all concepts, so counts would not "
                    "compare."
                )
            )


def _vocabulary(one: Dissection) -> Counter[tuple[str, str]]:
    return Counter(zip(one.concepts.names[1:], one.concepts.categories[1:]))


def _listed(concepts: Counter[tuple[str, str]]) -> str:
    """The first few, and how many more."""
    names = [f"{name!r} ({category})" for name, category in concepts.elements()]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _values(found: Mapping[str, Dissection], name: str) -> dict[str, list[str]]:
    """The networks by what their settings say, as text."""
    values: dict[str, list[str]] = defaultdict(list)
    for network, one in found.items():
        settings = BEFORE | one.settings
        values[repr(settings[name]) if name in settings else "not said"].append(network)
    return values


def _told(found: Mapping[str, Dissection], name: str) -> str:
    """What each network's settings say of something."""
    return f"{name} is " + ", ".join(
        f"{value} in {' and '.join(map(repr, networks))}" for value, networks in _values(found, name).items()
    )


def check_steps(found: Mapping[str, Dissection], steps: Iterable[float]) -> dict[str, float]:
    """The steps of a series by the networks' names.

    Raises:
        TypeError: steps that are no numbers.
        ValueError: another number of them.
    """
    values = list(steps)
    if not all(isinstance(step, (int, float)) and not isinstance(step, bool) for step in values):
        raise refusal(TypeError(f"steps must be numbers, but are {values!r}."))
    if len(values) != len(found):
        raise refusal(ValueError(f"steps must have one number per dissection, {len(found)}, but have {len(values)}."))
    return dict(zip(found, values))


def check_series(found: Mapping[str, Dissection], steps: Mapping[str, float], allow: Sequence[str] = ()) -> None:
    """Refuses what is no series.

    Raises:
        ValueError: steps that are not finite or do not rise, or networks that are not of one kind: of other classes,
            layers, numbers of units, or with maps that lie elsewhere in images of one size.
    """
    values = list(steps.values())
    rises = all(a < b for a, b in pairwise(values))  # NaN never does
    if not rises or not all(map(math.isfinite, values)):
        raise refusal(ValueError(f"steps must rise and be finite, but are {values}."))
    first, *others = found
    shapes = {name: {layer: its.num_units for layer, its in one.layers.items()} for name, one in found.items()}
    other = next((name for name in others if shapes[name] != shapes[first]), None)
    if other is not None:
        raise refusal(
            ValueError(
                f"a series must be of one network, with the same layers and numbers of units, but {first!r} has "
                f"{shapes[first]} and {other!r} {shapes[other]}."
            )
        )
    check_classes({name: (one.settings.get("provenance") or {}).get("network") for name, one in found.items()}, allow)
    for name in others:
        _check_maps((first, found[first]), (name, found[name]))


def check_classes(classes: Mapping[str, str | None], allow: Sequence[str]) -> None:
    """Refuses networks of different classes as one series, unless `allow` names "network".

    Args:
        classes: by the networks' names; None is unknown. A class is known by its last name: the module that it is in is
            another where a script runs as the main one.
        allow: see `check_comparable`.

    Raises:
        ValueError: names two that differ.
    """
    known = {name: kind.rpartition(".")[2] for name, kind in classes.items() if kind}
    first = next(iter(known), None)
    other = next((name for name in known if first is not None and known[name] != known[first]), None)
    if first is not None and other is not None and NETWORK not in allow:
        raise refusal(ValueError(
            f"a series must be of one network, but {first!r} is of class {known[first]} and {other!r} of "
            f"{known[other]}; compare them without steps, or, if the class was only renamed, allow={NETWORK!r}."
        ))  # fmt: skip


def _check_maps(one: tuple[str, Dissection], other: tuple[str, Dissection]) -> None:
    """Refuses maps that lie elsewhere in images of one size, as a network's own cannot; given grids may be anything.

    Raises:
        ValueError: names the layer.
    """
    (first, own), (name, its) = one, other
    for layer in own:
        grids = own[layer].grid, its[layer].grid
        rules = [[one.settings.get(rule) for rule in ("grid", "border", "step")] for one in (own, its)]
        same_rule = rules[0] == rules[1] and "given" not in rules[0]
        if not same_rule or grids[0].target_shape != grids[1].target_shape or grids[0].key == grids[1].key:
            continue
        sizes = ["{}x{}".format(*grid.source_shape) for grid in grids]
        raise refusal(ValueError(
            f"a series must be of one network and images of one size, but maps of layer {layer!r} are {sizes[0]} in "
            f"{first!r} and {sizes[1]} in {name!r}{', with other receptive fields' if sizes[0] == sizes[1] else ''}; "
            "compare them without steps."
        ))  # fmt: skip


def doubts(found: Mapping[str, Dissection], allow: Sequence[str]) -> tuple[str, ...]:
    """What differs between dissections that are compared all the same, in sentences."""
    notes = [f"{_told(found, name)}." for name in allow if len(_values(found, name)) > 1]
    told = sorted({name for one in found.values() for name in one.settings} - {*RULES, *OWN})
    notes += [f"{_told(found, name)}." for name in told if len(_values(found, name)) > 1]
    if len(_values(found, "num_images")) > 1:
        notes.append(f"{_told(found, 'num_images')}: fewer images give more detectors by chance.")
    if "'given'" in _values(found, "grid"):
        notes.append("grids were given by hand: nothing tells whether they follow one rule.")
    notes += _image_doubts(found) + _missing_categories(found) + _same_layers(found)
    return tuple(notes)


def _image_doubts(found: Mapping[str, Dissection]) -> list[str]:
    """What the planes tell: each generator's own images differ, as they must."""
    segmented = {name: one.settings.get("segment", "input") for name, one in found.items()}
    if len({*segmented.values()}) > 1:
        made = [repr(name) for name, segment in segmented.items() if segment == "output"]
        return [f"{' and '.join(made)} saw images of its own making, the others images that were given."]
    if "output" in segmented.values():
        return []
    seen: dict[Any, list[str]] = defaultdict(list)
    for name, one in found.items():
        for layer in one.layers.values():
            areas: Counter[tuple[str, str]] = Counter()
            for pair, area in zip(zip(one.concepts.names, one.concepts.categories), layer.label_area.tolist()):
                areas[pair] += area
            seen[layer.grid.target_shape, frozenset(areas.items())].append(name)
    if len(seen) < 2:
        return []
    shapes = {shape for shape, _ in seen}
    if len(shapes) > 1:
        sizes = " and ".join(f"{rows}x{columns}" for rows, columns in sorted(shapes))
        return [f"label planes have {sizes} pixels."]
    numbered = all(name.isdigit() for one in found.values() for name in one.concepts.names[1:])
    unsure = "; labels have numbers for names, so nothing tells whether they mean the same" if numbered else ""
    return [f"the concepts' areas differ, so the images or their labels are not the same{unsure}."]


def _missing_categories(found: Mapping[str, Dissection]) -> list[str]:
    """Categories that some planes never show, as a segmenter's may not, so that there can be no detectors of them."""
    there = {
        name: {one.concepts.categories[at] for layer in one.layers.values() for at in layer.label_area.nonzero()[:, 0]}
        for name, one in found.items()
    }
    every = set().union(*there.values())
    return [
        f"the planes of {name!r} show nothing of the categories {sorted(every - own)}, so it has no detectors of them."
        for name, own in there.items()
        if every - own
    ]


def _same_layers(found: Mapping[str, Dissection]) -> list[str]:
    """Layers of different dissections that have the very same thresholds and counts."""
    alike: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
    for name, one in found.items():
        for layer in one.layers.values():
            counts = layer.thresholds.numpy().tobytes() + layer.intersection.sum(1).numpy().tobytes()
            alike[counts].append((name, layer.name))
    pairs = [same for same in alike.values() if len({name for name, _ in same}) > 1]
    told = " and ".join(f"{layer!r} of {name!r}" for name, layer in pairs[0]) if pairs else ""
    more = f", and {len(pairs) - 1} more layers," if len(pairs) > 1 else ""
    return [f"{told}{more} have the same thresholds and counts: the same units seem to be compared."] if pairs else []
