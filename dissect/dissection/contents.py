"""What the file of a dissection, and that of one under way, must hold."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dissect.dissection.presets import MATCHES
from dissect.files.checked import Array, Each, Maybe, Number, Of, Text, Whole, fields, require
from dissect.stats.iou import check_counts

META = {
    "layers": Each(Of(dict)),
    "names": Each(Text(), "C"),
    "categories": Each(Text(), "C"),
    "settings": Of(dict),
}
SETTINGS = {
    "detector_iou": Number(0),
    "num_images": Whole(0),
    "thresholds": Maybe(Of(dict)),
    "match": Maybe(Text(MATCHES)),
    "directions": Maybe(Of(dict)),
}
PICTURES = {"images": Array(torch.uint8, "T 3 H W"), "image_numbers": Array(torch.int64, "T", 0)}
LAYER = {"name": Text(), "num_pixels": Whole(1, 1 << 53), "source": Each(Whole(1), 2)}
_FINITE = (-(2.0**126), 2.0**126)
_COUNTS = {
    "thresholds": Array(torch.float32, "U", -math.inf, math.inf),
    "intersection": Array(torch.int64, "U C", 0, "pixels"),
    "unit_area": Array(torch.int64, "U", 0, "pixels"),
    "label_area": Array(torch.int64, "C", 0, "pixels"),
    "peaks": Array(torch.float32, "U k", *_FINITE),
    "peak_images": Array(torch.int64, "U k", 0),
    "peak_maps": Array(torch.float32, "U k h w", *_FINITE),
    "rows": Array(torch.int32, "H 3"),
    "columns": Array(torch.int32, "W 3"),
}

_PAIRS = {
    "label_thresholds": Array(torch.float32, "U C", -math.inf, math.inf, nan=True),
    "union_pixels": Array(torch.int64, "C", 0, "pixels"),
}
_SAMPLE = {
    "sample.peaks": Array(torch.float32, "U S", *_FINITE),
    "sample.images": Array(torch.int64, "U Q", 0),
    "sample.values": Array(torch.float32, "U Q", *_FINITE),
    "sample.maps": Array(torch.float32, "U Q h w", *_FINITE),
}
_EVIDENCE = {
    "evidence.null": Array(torch.float64, "K U", 0, 1),
    "evidence.interval": Array(torch.float64, "U 2", 0, 1, nan=True),
    "evidence.half_labels": Array(torch.int64, "2 U", 0, "last"),
    "evidence.held_out": Array(torch.float64, "2 U", 0, 1, nan=True),
    "evidence.place_iou": Array(torch.float64, "U", 0, 1),
}


def check_layer(what: str, own: dict[str, Tensor], layer: dict[str, Any], labels: int, numbers: Tensor) -> None:
    """Refuses the counts and peaks of a layer that cannot be, or not beside one another.

    Raises:
        ValueError: says which.
    """
    height, width = layer["source"]
    known = fields(what, own, _COUNTS, {"C": labels, "pixels": layer["num_pixels"], "h": height, "w": width})
    union = own.get("union_area")
    scoped = isinstance(union, Tensor) and union.ndim == 2
    fields(what, own, {"union_area": Array(torch.int64, "U C" if scoped else "U", 0, "pixels")}, known)
    if "label_thresholds" in own:
        fields(what, own, _PAIRS, known)
        levels = torch.where(own["label_thresholds"].isnan(), math.inf, own["label_thresholds"])
        one = (levels == own["thresholds"][:, None]).any(1) | (own["thresholds"] == math.inf)
        require(what, scoped and bool(one.all()), "each unit's threshold is that of a label")
        require(what, own["union_area"] <= own["union_pixels"], "no unit's area exceeds all pixels")
        require(what, own["label_area"] <= own["union_pixels"], "no label's area exceeds all pixels")
    else:
        area = own["unit_area"][:, None] if scoped else own["unit_area"]
        require(what, own["union_area"] <= area, "no area that enters a union exceeds its unit's")
    check_counts(what, own["intersection"], own["union_area"], own["label_area"])
    peaks, images = own["peaks"], own["peak_images"]
    require(what, peaks[:, 1:] <= peaks[:, :-1], "peaks never rise")
    require(what, torch.isin(images, numbers), "the images of its peaks are among those that were kept")
    ordered = images.sort(1).values
    require(what, ordered[:, 1:] != ordered[:, :-1], "the images of a unit's peaks are different ones")
    if any(name.startswith("sample.") for name in own):
        fields(what, layer, {"levels": Each(Number(0), "Q")}, fields(what, own, _SAMPLE, known))
        require(what, torch.isin(own["sample.images"], numbers), "the images of its sample are among those kept")
        spread = own["sample.peaks"]
        require(what, spread[:, 1:] >= spread[:, :-1], "the peaks of its sample never fall")
    if any(name.startswith("evidence.") for name in own):
        fields(what, own, _EVIDENCE, {**known, "last": labels - 1})
        require(
            what, not (own["evidence.interval"][:, 0] > own["evidence.interval"][:, 1]).any(), "low is at most high"
        )


def check_directions(what: str, told: dict[str, Any], layers: list[Any]) -> None:
    """Refuses settings on the directions of layers that are not there.

    Raises:
        ValueError: says why.
    """
    for name, directions in told.items():
        require(what, name in layers, "directions are of layers that it has")
        require(what, isinstance(directions, dict), "settings say of directions what they are")
        fields(f"{what}: directions", directions, {"kind": Text(), "digest": Text()})


def check_pictures(what: str, tensors: dict[str, Tensor], labels: int) -> None:
    """Refuses pictures and their numbers that cannot be.

    Raises:
        ValueError: says which.
    """
    fields(what, tensors, PICTURES)
    numbers = tensors["image_numbers"]
    require(what, numbers[1:] > numbers[:-1], "image numbers rise")
    if "image_labels" in tensors:
        fields(what, tensors, {"image_labels": Array(torch.int64, "E 2", 0)})
        require(what, tensors["image_labels"][:, 1] < labels, "images carry labels that there are")
        require(what, torch.isin(tensors["image_labels"][:, 0], numbers), "labels are of images that were kept")


_UNDER_WAY = {
    "phase": Text(("survey", "thresholds", "counts", "done")),
    "visit": Whole(1),
    "num_images": Whole(),
    "labels": Of(dict),
    "images_only": Maybe(Of(bool)),
    "date": Text(),
    "sample": Of(dict),
    "gathering": Of(dict),
    "layers": Of(dict),
    "numbers": Each(Whole(), "T", different=True),
}
_PART = {
    "rows": Array(torch.int32, "H 3"),
    "columns": Array(torch.int32, "W 3"),
    "source": Each(Whole(1), 2),
    "threshold": Of(dict),
    "peaks": Of(dict),
    "tally": Maybe(Of(dict)),
}


def check_under_way(state: dict[str, Any], num_layers: int) -> None:
    """Refuses the state of a dissection under way that cannot be, but for what its own states check.

    Raises:
        ValueError: says which.
    """
    what = "the run"
    sizes = fields(what, state, _UNDER_WAY)
    if sizes["T"]:
        fields(what, state, {"pictures": Array(torch.uint8, "T 3 H W")}, sizes)
    layers = state["layers"]
    require(
        what, len(layers) in ((0, num_layers) if state["phase"] == "survey" else (num_layers,)), "no layer is missing"
    )
    for layer in layers.values():
        fields(what, layer, _PART)
        counted = state["phase"] in ("counts", "done")
        require(what, (layer.get("tally") is not None) == counted, "each layer is counted, in its phase")
        if counted:
            height, width = layer["source"]
            fields(what, layer, {"maps": Array(torch.float32, "U k h w", *_FINITE)}, {"h": height, "w": width})


def check_parts(name: str, peaks: Tensor, shown: Tensor, maps: Tensor | None, units: int, pictures: list[int]) -> None:
    """Refuses what was saved of a layer, each part right for itself, if the parts are not of the same units and images.

    Raises:
        ValueError: names the layer.
    """
    what = f"layer {name!r} of the run"
    require(what, len(peaks) in (0, units), "peaks and thresholds are of the same units")
    require(what, torch.isin(shown, torch.tensor(pictures, dtype=torch.int64)), "there is a picture of each peak")
    require(what, maps is None or maps.shape[:2] == shown.shape, "there is a map of each peak")
