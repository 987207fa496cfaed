"""What the page on omissions measures of distributions: statistics of every shipped generator, and of real scenes."""

from __future__ import annotations

from typing import Any

from experiments_generators import Measured

from dissect.omissions import SegmentationStatistics, segmentation_statistics
from dissect.tiny import TinyScenes, generator, segmenter

#: Generated images of each generator; twice as many real ones, for the distance of two halves.
COUNT = 500
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


def _real(measured: Measured, scenes: tuple[str, bool, int], seed: int | None) -> SegmentationStatistics:
    family, watermark, size = scenes
    drawn = TinyScenes("val", size, 2 * COUNT, family=family, watermark=watermark)
    seen = None if seed is None else segmenter(seed)
    return measured(
        f"{family}{'-watermark' if watermark else ''}-{size}-{'labels' if seed is None else seed}",
        SegmentationStatistics,
        lambda: segmentation_statistics(drawn, seen, count=2 * COUNT, size=SIZE, progress=False),
    )
