"""What units of a GAN of faces mean, beside what place alone tells, and what becomes of images without them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from real_classifiers import calibrated
from real_face_parts import CHANNELS, FRACTIONS, LAYERS, NUMBER, Dcgan, FaceParts, face_parts, faces
from real_files import Unavailable
from torch import Tensor, nn

import dissect
from dissect.stats.bootstrap import drawn_again, ends


class Best(NamedTuple):
    """The best unit of a layer for a concept, and the best that place alone does.

    Attributes:
        concept, unit, iou: of the unit with the highest IoU.
        low, high: 95 % of its IoUs when images are drawn again; None where the label of the unit is another.
        fixed: the IoU of the same mask in all images: the likeliest places, as many as units fire on.
        units: how many units of the layer exceed `fixed`.
    """

    concept: str
    unit: int
    iou: float
    low: float | None
    high: float | None
    fixed: float
    units: int


def fixed_masks(planes: Tensor, labels: int, fraction: float) -> Tensor:
    """[C] float64: of each label, the IoU of the mask of its likeliest places, the same in all images.

    Args:
        planes: [N, K, H, W], no label in two planes of a pixel.
        labels: C.
        fraction: of all places that the mask has, rounded down.
    """
    found = torch.zeros(labels, dtype=torch.float64)
    for label in range(1, labels):
        often = (planes == label).any(1).sum(0).flatten()
        places = int(fraction * len(often))
        both = int(often.topk(places).values.sum())
        union = len(planes) * places + int(often.sum()) - both
        found[label] = both / union if union else 0.0
    return found


def best_rows(layer: Any, rows: Sequence[Any], fixed: Tensor, names: Sequence[str]) -> list[Best]:
    """A row per concept of a layer's dissection."""
    found = []
    for label, name in enumerate(names):
        if label:
            values = layer.iou[:, label]
            unit = int(values.argmax())
            ends_of = (rows[unit].low, rows[unit].high) if rows[unit].concept == name else (None, None)
            more = int((values > fixed[label]).sum())
            found.append(Best(name, unit, float(values[unit]), *ends_of, float(fixed[label]), more))
    return found


class Dissected(NamedTuple):
    """A dissection of the generator at a fraction, the fixed masks of the same size [C], and rows by layer."""

    dissection: dissect.Dissection
    fixed: Tensor
    rows: dict[str, list[Best]]


def dissected(generator: nn.Module, segmenter: FaceParts, z: Tensor, fraction: float, work: Path) -> Dissected:
    """The generator's layers by its own images' parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dissect.DoubtfulResultWarning)  # an untrained one, and the page says so
        found = dissect.dissect(
            generator, list(LAYERS), z, segmenter=segmenter, segment="output", fraction=fraction, top_images=1,
            resume=work,
        )  # fmt: skip
    with torch.no_grad():
        planes = torch.cat([segmenter(generator(part)) for part in z.split(32)])
    fixed = fixed_masks(planes, len(segmenter.concepts), fraction)
    rows = {name: best_rows(found[name], found.best(name), fixed, found.concepts.names) for name in LAYERS}
    return Dissected(found, fixed, rows)


class Change(NamedTuple):
    """What becomes of images when units are ablated.

    Attributes:
        layer: of the units.
        units: how many, of how many.
        ratio: mean change of the background's pixels over that of the other pixels.
        low, high: 95 % of its values when images are drawn again.
        random: the same ratio of as many random units, per draw.
    """

    layer: str
    units: tuple[int, int]
    ratio: float
    low: float
    high: float
    random: tuple[float, ...]


def ratios(before: Tensor, after: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Per image: the change within a mask and outside of it, and how many pixels each has; all [N].

    Args:
        before: images [N, 3, H, W].
        after: the same, edited.
        mask: bool [N, H', W'] of a multiple of their size; a pixel has the share of it that is True.
    """
    share = nn.functional.adaptive_avg_pool2d(mask[:, None].double(), before.shape[2:])[:, 0]
    change = (after - before).abs().double().mean(1)
    inside, outside = (change * share).sum((1, 2)), (change * (1 - share)).sum((1, 2))
    return inside, outside, share.sum((1, 2)), (1 - share).sum((1, 2))


def ratio(parts: tuple[Tensor, Tensor, Tensor, Tensor], times: Tensor) -> Tensor:
    """The mean change inside over that outside, of images taken so many times: [R] of times [R, N]."""
    inside, outside, area, rest = (times.double() @ part for part in parts)
    return (inside / area) / (outside / rest)


def changed(generator: nn.Module, segmenter: FaceParts, z: Tensor, layer: str, units: Tensor, draws: int) -> Change:
    """Ablates units, and as many random ones, and sees where images change."""

    def images(chosen: Tensor | None) -> Tensor:
        with torch.no_grad():
            if chosen is None:
                return torch.cat([generator(part) for part in z.split(32)])
            with dissect.ablate(generator, layer, chosen.tolist()):
                return torch.cat([generator(part) for part in z.split(32)])

    before = images(None)
    mask = torch.cat([segmenter(part)[:, 0] == NUMBER["background"] for part in before.split(32)])
    once = torch.ones(1, len(z))
    own = ratios(before, images(units), mask)
    low, high = ends(ratio(own, drawn_again(len(z), 1000, 0))).tolist()
    total = CHANNELS[1 + list(LAYERS).index(layer)]
    stream = torch.Generator().manual_seed(0)
    sets = [torch.randperm(total, generator=stream)[: len(units)] for _ in range(draws)]
    random = tuple(float(ratio(ratios(before, images(chosen), mask), once)) for chosen in sets)
    return Change(layer, (len(units), total), float(ratio(own, once)), low, high, random)


class Painted(NamedTuple):
    """All that is measured of the generator.

    Attributes:
        images: how many label the units, and as many others show what ablation does.
        faces: in how many of the images the networks find a face; of the twin's images too.
        background: share of the pixels of each that is background.
        at: by the fraction that units fire on.
        twin: the same of the untrained generator.
        changes: of background units, per layer.
    """

    images: int
    faces: tuple[int, int]
    background: tuple[float, float]
    at: dict[float, Dissected]
    twin: dict[float, Dissected]
    changes: list[Change]


def painted(files: Path, work: Path, images: int, units: int, draws: int) -> Painted:
    """Dissects the generator and its twin, and ablates units.

    Raises:
        Unavailable: something cannot be had.
    """
    try:
        parts = {kind: face_parts(files) for kind in ("trained", "untrained")}
    except ImportError as error:
        raise Unavailable(str(error)) from error
    generator = faces(files)
    z, others = (dissect.latents(generator, images, seed=seed) for seed in (1, 2))
    models = {"trained": generator, "untrained": calibrated(Dcgan(), z)}
    found: dict[str, dict[float, Dissected]] = {}
    shown, share = [], []
    for kind, model in models.items():
        found[kind] = {
            fraction: dissected(model, parts[kind], z, fraction, work / f"{kind}-{fraction}") for fraction in FRACTIONS
        }
        one = found[kind][FRACTIONS[0]].dissection[next(iter(LAYERS))]
        shown.append(parts[kind].found)
        share.append(float(one.label_area[NUMBER["background"]]) / one.num_pixels)
    changes, kept = [], work / f"changes-{images}-{units}-{draws}.json"
    if kept.is_file():
        changes = [Change(**one) for one in json.loads(kept.read_text(encoding="utf-8"))]
    else:
        for layer in LAYERS:
            values = found["trained"][FRACTIONS[-1]].dissection[layer].iou[:, NUMBER["background"]]
            changes.append(changed(generator, parts["trained"], others, layer, values.topk(units).indices, draws))
        kept.write_text(json.dumps([one._asdict() for one in changes]), encoding="utf-8")
    return Painted(images, (shown[0], shown[1]), (share[0], share[1]), found["trained"], found["untrained"], changes)
