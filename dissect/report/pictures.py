"""Images and masks as text: small, and each of them once in a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dissect.reference import upsample
from dissect.stats.places import spread

if TYPE_CHECKING:
    from dissect.dissection.result import LayerDissection

#: Larger masks are thinned out to the first of these sides at which all fit the budget; cards show about 128 pixels.
MASK_SIDES = (128, 96, 64, 48, 32, 24)
#: Base64 characters that all masks, and all pictures, of a page may take together.
MASK_BUDGET, PICTURE_BUDGET = 4_000_000, 14_000_000
#: (longest side, quality) of pictures, the best first; the first that fits the budget is taken.
QUALITIES = ((224, 82), (160, 80), (128, 76), (112, 70), (96, 62), (80, 55), (64, 45), (48, 35), (32, 25))
#: How many pictures, and units of a layer, are tried to judge what fits.
PROBES = 24
#: Pixels of masks that are computed together.
PIXELS = 1 << 21


def encode_pictures(images: Tensor) -> tuple[str, list[str]]:
    """Compresses pictures as well as the budget of a page allows.

    Args:
        images: [T, 3, H, W] uint8.

    Returns:
        Their media type, and the base64 text of each.
    """
    from PIL import features

    kind = "WEBP" if features.check("webp") else "JPEG"
    probes = images[torch.linspace(0, max(len(images) - 1, 0), min(PROBES, len(images))).long()]
    for side, quality in QUALITIES:
        tried = [_encode(image, kind, side, quality) for image in probes]
        last = (side, quality) == QUALITIES[-1]
        if not last and sum(map(len, tried)) / max(len(tried), 1) * len(images) > PICTURE_BUDGET:
            continue
        texts = [_encode(image, kind, side, quality) for image in images]
        if last or sum(map(len, texts)) <= PICTURE_BUDGET:  # the others may be larger than those that were tried
            break
    return f"image/{kind.lower()}", texts


def _encode(image: Tensor, kind: str, side: int, quality: int) -> str:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    picture.save(written, kind, quality=quality)
    return base64.b64encode(written.getvalue()).decode("ascii")


def mask_side(layers: Iterable[LayerDissection], count: int) -> int:
    """The side to which masks are thinned, so that those of `count` images per unit fit the budget."""
    layers = list(layers)
    for side in MASK_SIDES:
        total = 0.0
        for layer in layers:
            units = torch.linspace(0, layer.num_units - 1, min(PROBES, layer.num_units)).long()
            maps = _shown_maps(layer, count, units)
            tried = sum(len(text) for masks in _masks(layer, maps, units, side) for text in encode_masks(masks))
            total += tried / len(units) * layer.num_units
        if total <= MASK_BUDGET:
            break
    return side


def top_masks(layer: LayerDissection, count: int, side: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Per unit `layer.masks` of the first images, and where it fires in those of the layer's sample.

    Yields:
        [count + Q, rows, columns] bool, thinned to at most `side` rows and columns, and [count + Q] float: the share of
        each that was True before.
    """
    height, width = layer.grid.target_shape
    rows, columns = spread(height, side), spread(width, side)
    for units in torch.arange(layer.num_units).split(max(1, PIXELS // (count * height * width))):
        whole = _masks(layer, _shown_maps(layer, count, units), units, max(height, width))
        shares = whole.sum((2, 3)).double() / (height * width)
        yield from zip(whole[:, :, rows][..., columns], shares, strict=True)


def _shown_maps(layer: LayerDissection, count: int, units: Tensor) -> Tensor:
    """Some units' maps in their first images, and then in the sample's."""
    maps = layer.peak_maps[units, :count]
    return maps if layer.sample is None else torch.cat([maps, layer.sample.maps[units]], 1)


def _masks(layer: LayerDissection, maps: Tensor, units: Tensor, side: int) -> Tensor:
    rows, columns = (axis[spread(len(axis), side)] for axis in (layer.grid.rows, layer.grid.columns))
    return upsample(maps, rows, columns) > layer.thresholds[units, None, None, None]


def encode_masks(masks: Tensor) -> Iterable[str]:
    """Each mask [H, W] of [k, H, W] as base64 of its run lengths.

    The runs go row by row, without a break at a row's end; the first is outside the mask. Each is one byte, after as
    many bytes of 255, which do not end a run, as its length holds 255.
    """
    for mask in masks.numpy():
        turns = np.flatnonzero(np.diff(mask.ravel(), prepend=False))
        runs = np.diff(turns, prepend=0, append=mask.size)
        lengths = runs // 255 + 1
        coded = np.full(lengths.sum(), 255, np.uint8)
        coded[np.cumsum(lengths) - 1] = runs % 255
        yield base64.b64encode(coded.tobytes()).decode("ascii")
