"""The part of the published painting interface (gandissect's server) that is offered, as functions of plain data.

What it does beyond `Painter`: many images at once, by number or by their z; units' levels at any quantile. As
published, a mask may be a PNG, and all is refused that the published server would fail at.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dissect import extras
from dissect.apps.painter import Painter
from dissect.apps.strokes import MOST_PIXELS, MOST_VALUE, POOLINGS, Mask, Stroke, mask_of, number_within
from dissect.files.checked import Each, Maybe, Of, Text, Whole, fields, require
from dissect.files.pngs import png_of, png_url

#: Images of a request, interventions, and quantiles, at most.
MOST_IMAGES, MOST_MAPS, MOST_INTERVENTIONS, MOST_QUANTILES = 24, 4, 100, 64
#: How far from 0 a value of a z may be, which is drawn from a normal distribution.
MOST_Z = 100.0
#: Images whose maps say what levels units have.
SAMPLE = 64


def published_mask(found: Any) -> Mask | None:
    """A mask of the published interface: see `mask_of`, or with a PNG as a data URL for "bitstring".

    Of a PNG with an alpha channel all is painted that is not transparent, of others all whose red is below 255.

    Raises:
        ImportError: Pillow is not installed, for a PNG.
        ValueError: it is none; says what must hold.
    """
    if found is None:
        return None
    what = "the mask"
    fields(what, found, {"bitstring": Text()})
    if not found["bitstring"].startswith("data:"):
        bounds = found.get("bitbounds") or [0, 0, *_sides(found)]
        return mask_of({"shape": _sides(found), "bitbounds": bounds, "bitstring": found["bitstring"]})
    painted = _png(found["bitstring"])
    shape = _sides(found) if found.get("shape") else list(painted.shape)
    bounds = found.get("bitbounds") or [0, 0, *shape]
    fields(what, {"bitbounds": bounds}, {"bitbounds": Each(Whole(0, MOST_PIXELS), 4)})
    size = [bounds[2] - bounds[0], bounds[3] - bounds[1]]
    require(what, size == list(painted.shape), f"the PNG, of {list(painted.shape)}, is as large as its bitbounds")
    return mask_of({"shape": shape, "bitbounds": bounds, "bitstring": "".join("01"[x] for x in painted.flatten())})


def _sides(found: Mapping[str, Any]) -> list[int]:
    shape = found.get("shape") or [256, 256]
    fields("the mask", {"shape": shape}, {"shape": Each(Whole(1, MOST_PIXELS), 2)})
    return list(shape)


def _png(url: str) -> Tensor:
    """[H, W] bool: what is painted in a data URL."""
    extras.require("a mask that is a PNG", "apps", "PIL")
    picture = png_of("a request", url, MOST_PIXELS)
    alpha = "A" in picture.getbands() or "transparency" in picture.info
    band = picture.convert("RGBA").getchannel("A") if alpha else picture.convert("RGB").getchannel("R")
    pixels = torch.frombuffer(bytearray(band.tobytes()), dtype=torch.uint8).view(band.height, band.width)
    return pixels > 0 if alpha else pixels < 255


def intervention_of(found: Any, layer: str, num_units: int) -> Stroke | None:
    """A stroke of what the published interface calls an intervention; None where it says to change nothing.

    It has a "mask" (see `published_mask`), a "maskpooling", "max" or "mean", and "ablations", each with "layer",
    "unit", "alpha" and "value". Without an alpha it is 1, without a value 0; of a unit that comes twice the last
    counts, as in the published code.

    Raises:
        ValueError: it is none, or of another layer; says what must hold.
    """
    what = "an intervention"
    fields(what, found, {"mask": Maybe(Of(dict)), "ablations": Maybe(Each(Of(dict)))})
    pooling: Any = found.get("maskpooling") or "max"
    require(what, pooling in POOLINGS, f"maskpooling is one of {list(POOLINGS)}")
    chosen: dict[int, tuple[float, float]] = {}
    for each in found.get("ablations") or []:
        fields("an ablation", each, {"layer": Text((layer,)), "unit": Whole(0, num_units - 1)})
        value, alpha = (_given(each, "value", 0.0), _given(each, "alpha", 1.0))
        value = number_within("an ablation", "value", value, -MOST_VALUE, MOST_VALUE)
        chosen[each["unit"]] = (number_within("an ablation", "alpha", alpha, 0, 1), value)
    if not chosen:
        return None
    mask = published_mask(found.get("mask"))
    alphas, values = zip(*chosen.values())
    return Stroke("draw", "", tuple(chosen), values, alphas, mask, pooling)


def _given(found: Mapping[str, Any], name: str, default: float) -> Any:
    value = found.get(name)
    return default if value is None else value


class Published:
    """What the published server answers, of one layer of one generator.

    Args:
        painter: who paints.
        name: of the project.
    """

    def __init__(self, painter: Painter, name: str) -> None:
        self.painter, self.name = painter, name

    def all_projects(self) -> list[dict[str, Any]]:
        """The one project there is."""
        return [{"project": self.name, "info": {"layers": [self.painter.layer], "images": len(self.painter)}}]

    def layers(self) -> list[dict[str, Any]]:
        """The one layer, its units and its map's size."""
        painter = self.painter
        return [{"layer": painter.layer, "channels": painter.num_units, "shape": list(painter.map_size)}]

    def units(self) -> list[dict[str, Any]]:
        """Each unit, and of the brushes by IoU the concept with which its own is highest; "" where it is in none."""
        labels, best = [""] * self.painter.num_units, [0.0] * self.painter.num_units
        for brush in self.painter.brushes:
            for unit, score in zip(brush.units, brush.scores):
                if brush.ranking == "iou" and score > best[unit]:
                    labels[unit], best[unit] = brush.short, score
        return [{"unit": unit, "label": label} for unit, label in enumerate(labels)]

    def rankings(self) -> list[dict[str, Any]]:
        """By brush, a score for each unit, the lowest best, as published: minus IoU or alpha, 0 for units not in it."""
        found = []
        for brush in self.painter.brushes:
            scores = [0.0] * self.painter.num_units
            for unit, score in zip(brush.units, brush.scores):
                scores[unit] = -score
            found.append({"name": brush.name, "metric": brush.ranking, "scores": scores})
        return found

    def levels(self, quantiles: list[float]) -> list[list[float]]:
        """[U][Q]: the level below which a unit is at a share of all places, from the maps of the first 64 images.

        An order statistic of that sample, number ceil(q M) of M. The published server has the quantiles of upsampled
        maps, which a brush's own levels follow.
        """
        require("quantiles", 1 <= len(quantiles) <= MOST_QUANTILES, f"they are 1 to {MOST_QUANTILES}")
        shares = torch.tensor([number_within("quantiles", "each", each, 0, 1) for each in quantiles])
        count = self._sample.shape[1]
        places = (shares.double() * count).ceil().long().sub(1).clamp(0, count - 1)
        found: list[list[float]] = self._sample[:, places].tolist()
        return found

    def generate(self, found: Any) -> list[dict[str, Any]]:
        """Images by number ("ids") or by z ("zs"), with interventions: a data URL each."""
        what = "a request"
        rules = {"ids": Maybe(Each(Whole(0, len(self.painter) - 1))), "interventions": Maybe(Each(Maybe(Of(dict))))}
        fields(what, found, {**rules, "zs": Maybe(Each(Each(Of(object))))})
        require(what, (found.get("ids") is None) != (found.get("zs") is None), "either ids or zs are given")
        strokes = self._strokes(found)
        asked = found["zs"] if found.get("ids") is None else found["ids"]
        require(what, len(asked) <= MOST_IMAGES, f"at most {MOST_IMAGES} images are asked for at once")
        if found.get("ids") is not None:
            return [{"id": number, "d": data_url(self.painter.picture(number, strokes))} for number in asked]
        rows = [[number_within("zs", "each", value, -MOST_Z, MOST_Z) for value in row] for row in asked]
        return [{"d": data_url(picture)} for picture in self.painter.pictures_of(rows, strokes)]

    def features(self, found: Any) -> dict[str, dict[str, list[float]]]:
        """By layer, of each unit over images and what a mask of each shows: "max" and "mean"."""
        what = "a request"
        ids = Each(Whole(0, len(self.painter) - 1))
        fields(what, found, {"ids": ids, "masks": Maybe(Each(Maybe(Of(dict)))), "layers": Maybe(Each(Text()))})
        require(what, 1 <= len(found["ids"]) <= MOST_IMAGES, f"1 to {MOST_IMAGES} images are asked for at once")
        masks = found.get("masks") or [None] * len(found["ids"])
        require(what, len(masks) == len(found["ids"]), "there is a mask for each image")
        require(what, self.painter.layer in (found.get("layers") or [self.painter.layer]), "the layer is the one here")
        strokes, largest, total, weight = self._strokes(found), [], torch.zeros(self.painter.num_units), 0.0
        for number, given in zip(found["ids"], masks):
            mask, maps = published_mask(given), self.painter.maps(number, strokes)[0].float().cpu()
            most, share = (
                torch.ones(self.painter.map_size) if mask is None else mask.pooled(self.painter.map_size, pooling)
                for pooling in ("max", "mean")
            )
            largest.append((maps * most).amax((1, 2)))
            total, weight = total + (maps * share).sum((1, 2)), weight + float(share.sum())
        mean = total / (weight + 1e-15)
        require(what, mean.isfinite(), "interventions leave the maps' means finite")
        return {self.painter.layer: {"max": torch.stack(largest).amax(0).tolist(), "mean": mean.tolist()}}

    def featuremaps(self, found: Any) -> dict[str, list[Any]]:
        """By layer, each image's maps [U][h][w] as 0 to 255: the share of the sample of `levels` that is lower."""
        what = "a request"
        ids = Each(Whole(0, len(self.painter) - 1))
        fields(what, found, {"ids": ids, "layers": Maybe(Each(Text()))})
        require(what, 1 <= len(found["ids"]) <= MOST_MAPS, f"1 to {MOST_MAPS} images are asked for at once")
        require(what, self.painter.layer in (found.get("layers") or [self.painter.layer]), "the layer is the one here")
        strokes, sample, maps = self._strokes(found), self._sample, []
        for number in found["ids"]:
            own = self.painter.maps(number, strokes)[0].float().cpu()
            below = torch.searchsorted(sample, own.flatten(1)).double() / sample.shape[1]
            maps.append((below * 255).byte().view(own.shape).tolist())
        return {self.painter.layer: maps}

    @cached_property
    def means(self) -> list[float]:
        """[U] of each unit the mean of its maps in that sample."""
        found: list[float] = self._sample.double().mean(1).tolist()
        return found

    @cached_property
    def _sample(self) -> Tensor:
        """[U, M] float32, rising."""
        numbers = range(min(SAMPLE, len(self.painter)))
        maps = torch.cat([self.painter.maps(number).float().cpu() for number in numbers])
        found: Tensor = maps.transpose(0, 1).flatten(1).sort().values
        return found

    def _strokes(self, found: Mapping[str, Any]) -> list[Stroke]:
        given = found.get("interventions") or []
        fields("a request", {"interventions": given}, {"interventions": Each(Maybe(Of(dict)))})
        require("a request", len(given) <= MOST_INTERVENTIONS, f"there are at most {MOST_INTERVENTIONS} interventions")
        own = [intervention_of(one, self.painter.layer, self.painter.num_units) for one in given if one is not None]
        return [stroke for stroke in own if stroke is not None]


def data_url(picture: Tensor) -> str:
    """A picture [3, H, W] uint8 as a PNG in a data URL."""
    extras.require("a picture", "apps", "PIL")
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()).save(buffer, "PNG", compress_level=1)
    return png_url(buffer.getvalue())
