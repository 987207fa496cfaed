"""The eleven basic colour names of pixels, by an integer rule."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dissect.segmentation.colors import color_name
from dissect.tiny.world.vocabulary import COLORS, label

__all__ = ["color_labels", "color_name"]


@lru_cache(maxsize=1)
def _table() -> np.ndarray:
    labels = {name: label("color", name) for name in COLORS}
    levels = range(4, 256, 8)
    names = [labels[color_name(red, green, blue)] for red in levels for green in levels for blue in levels]
    return np.array(names, dtype=np.int16)


def color_labels(rgb: np.ndarray) -> np.ndarray:
    """The colour label of every pixel: uint8 [3, H, W] to int16 [H, W]."""
    red, green, blue = (rgb >> 3).astype(np.int32)
    labels: np.ndarray = _table()[(red << 10) | (green << 5) | blue]
    return labels
