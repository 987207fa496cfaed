"""The eleven basic colour names of pixels, by an integer rule."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dissect.tiny.world.vocabulary import COLORS, label

# Upper ends of the hue ranges, in 256ths of a sixth of the circle.
_HUES = ((52, "red"), (178, "orange"), (290, "yellow"), (720, "green"), (1100, "blue"), (1310, "purple"),
         (1450, "pink"), (1536, "red"))  # fmt: skip


def _name(red: int, green: int, blue: int) -> str:
    high, low = max(red, green, blue), min(red, green, blue)
    spread = high - low
    if high < 56:
        return "black"
    if spread * 100 < high * 14:
        return "white" if high >= 200 else "grey"
    if high == red:
        hue = (256 * (green - blue) // spread) % 1536
    elif high == green:
        hue = 512 + 256 * (blue - red) // spread
    else:
        hue = 1024 + 256 * (red - green) // spread
    name = next(name for end, name in _HUES if hue < end)
    if name == "red" and high >= 180 and spread * 100 < high * 50:
        return "pink"
    if name == "orange" and (high < 170 or spread * 100 < high * 45):
        return "brown"
    if name == "yellow" and high < 120:
        return "green"
    return name


def color_name(red: int, green: int, blue: int) -> str:
    """The name of a colour of 8-bit channels.

    Only the upper five bits of each channel count: c becomes c // 8 * 8 + 4. With V the largest channel and S the
    largest minus the smallest, the first of these that holds:

    - V < 56: black. S < 14 % of V: white if V >= 200, else grey.
    - by hue, in 256ths of a sixth of the circle (rounded down): red below 52, orange below 178, yellow below 290,
      green below 720, blue below 1100, purple below 1310, pink below 1450, red above; except that
      a red with V >= 180 and S < 50 % of V is pink, an orange with V < 170 or S < 45 % of V is brown, and a yellow
      with V < 120 is green.

    Example:
        >>> color_name(200, 30, 30), color_name(120, 70, 30), color_name(128, 128, 128)
        ('red', 'brown', 'grey')
    """
    return _name(*(channel // 8 * 8 + 4 for channel in (red, green, blue)))


@lru_cache(maxsize=1)
def _table() -> np.ndarray:
    labels = {name: label("color", name) for name in COLORS}
    levels = range(4, 256, 8)
    names = [labels[_name(red, green, blue)] for red in levels for green in levels for blue in levels]
    return np.array(names, dtype=np.int16)


def color_labels(rgb: np.ndarray) -> np.ndarray:
    """The colour label of every pixel: uint8 [3, H, W] to int16 [H, W]."""
    red, green, blue = (rgb >> 3).astype(np.int32)
    labels: np.ndarray = _table()[(red << 10) | (green << 5) | blue]
    return labels
