"""What the page on omissions measures of distributions: statistics of every shipped generator, and of real scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from experiments_generators import Measured
from torch import Tensor

from dissect.omissions import SegmentationStatistics, segmentation_statistics
from dissect.stats import frechet_distance, pyramid_patches, sliced_wasserstein
from dissect.tiny import TinyScenes, generator, segmenter
from dissect.tiny.judge import features, in_bytes, sampled

#: Generated images of each generator; twice as many real ones, for the distance of two halves.
COUNT = 2000
#: Rows and columns at which everything is segmented.
SIZE = (64, 64)
#: The scenes on which each generator was trained, others of the same kind: family, watermarks, rows and columns.
SCENES = {
    "progan-street": ("street", False, 64),
    "stylegan2-street-watermark": ("street", True, 64),
    "progan-street-small": ("street", False, 32),
    "progan-street-small-no-pixelnorm": ("street", False, 32),
    "progan-street-small-baseline": ("street", False, 32),
    "wgangp-street-small": ("street", False, 32),
    "progan-room-small": ("room", False, 32),
}
#: Of which a second segmentation network and true labels tell too: it takes as long again.
TWICE = ("progan-street",)


def statistics(measured: Measured) -> dict[str, dict[str, Any]]:
    """By generator: its images, real ones, and for some what a second network sees and what the labels say."""
    found: dict[str, dict[str, Any]] = {}
    for name, scenes in SCENES.items():
        found[name] = {"made": _made(measured, name, 0), "real": _real(measured, scenes, 0)}
        if name in TWICE:
            found[name]["second"] = (_made(measured, name, 1), _real(measured, scenes, 1))
            found[name]["truth"] = _real(measured, scenes, None)
    return found


def _made(measured: Measured, name: str, seed: int) -> SegmentationStatistics:
    return measured(
        f"{name}-{seed}", SegmentationStatistics, lambda: segmentation_statistics(
            generator(name), segmenter(seed, signed=True), count=COUNT, size=SIZE, progress=False
        )
    )  # fmt: skip


def _drawn(scenes: tuple[str, bool, int], count: int) -> TinyScenes:
    family, watermark, size = scenes
    return TinyScenes("val", size, 2 * count, family=family, watermark=watermark)


def _real(measured: Measured, scenes: tuple[str, bool, int], seed: int | None) -> SegmentationStatistics:
    family, watermark, size = scenes
    drawn = _drawn(scenes, COUNT)
    seen = None if seed is None else segmenter(seed)
    return measured(
        f"{family}{'-watermark' if watermark else ''}-{size}-{'labels' if seed is None else seed}",
        SegmentationStatistics,
        lambda: segmentation_statistics(drawn, seen, count=2 * COUNT, size=SIZE, progress=False),
    )


#: Images of each generator whose looks are compared, with twice as many scenes: the classifier takes long. And patches
#: of each image and level of the pyramid (Karras et al. 2018 take 128 of 16,384 images).
LOOKED, PATCHES = 500, 32


def looks(work: Path) -> dict[str, list[float]]:
    """How far the first of these images look from the first scenes, without their segments; kept in a file.

    By generator: the sliced Wasserstein distance, and as that of two halves of the scenes; the Frechet distance by the
    embedded classifier's features, and as that of the halves.
    """
    path = work / "looks.json"
    found: dict[str, list[float]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, scenes in SCENES.items():
        if name not in found:
            drawn = _drawn(scenes, LOOKED)
            halves = torch.randperm(2 * LOOKED, generator=torch.Generator().manual_seed(0)).split(LOOKED)
            real, other = (
                in_bytes(torch.stack([drawn[at][0] for at in half.sort().values.tolist()]) * 2 - 1) for half in halves
            )
            made = sampled(generator(name), LOOKED)
            seen = [features(images) for images in (made, real, other)]
            found[name] = [_sliced(made, real), _sliced(other, real), frechet_distance(seen[0], seen[1]),
                           frechet_distance(seen[2], seen[1])]  # fmt: skip
            path.write_text(json.dumps(found), encoding="utf-8")
    return found


def _sliced(images: Tensor, others: Tensor) -> float:
    """The mean over the levels of the pyramid, times 1,000, as it is printed."""
    one, other = (pyramid_patches(part.float() / 127.5 - 1, count=PATCHES) for part in (images, others))
    levels = [sliced_wasserstein(one[side], other[side]) for side in one]
    return 1000 * sum(levels) / len(levels)
