"""Light that acts at a distance: two rules, which follow from what is drawn and from nothing else.

The sun over water casts a reflection: a column of glints below it, on the water. A lit window brightens the ground
before it. Both change the image and name the part "reflection" or "glow" in the second part plane.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dissect.tiny.world.canvas import Canvas, Color, Pen
from dissect.tiny.world.rng import mix
from dissect.tiny.world.vocabulary import GROUNDS, label

_SUNLIGHT: Color = (330, 296, 200)
_WINDOW_LIGHT: Color = (400, 320, 170)
_ROW = 22


class Sun(NamedTuple):
    """Where the sun stands, in units."""

    x: int
    y: int
    radius: int


class Light(NamedTuple):
    """The light of a scene in 256ths per channel, and the sun, if it shows."""

    tint: Color
    sun: Sun | None = None


def reflect(canvas: Canvas, sun: Sun | None, top: int, bottom: int) -> None:
    """The sun's reflection on what is water in rows [top, bottom); none if the sun is hidden by what is painted."""
    if sun is None or not _shows(canvas, sun):
        return
    water = label("object", "water")
    for row in range(top + _ROW // 2, bottom, _ROW):
        sway = mix(row * 64 + sun.x % 64)
        half = sun.radius * (80 + 60 * (row - top) // (bottom - top) + sway % 30) // 100
        middle = sun.x + (sway >> 8) % (sun.radius // 2) - sun.radius // 4
        rows, columns = canvas.span(row, row + _ROW * 6 // 10), canvas.span(middle - half, middle + half)
        canvas.shine(rows, columns, canvas.labels[0, rows, columns] == water, "reflection", _SUNLIGHT, 190)


def _shows(canvas: Canvas, sun: Sun) -> bool:
    rows = canvas.span(sun.y - sun.radius, sun.y + sun.radius)
    columns = canvas.span(sun.x - sun.radius, sun.x + sun.radius)
    return bool((canvas.labels[0, rows, columns] == label("object", "sun")).any())


def glow(pen: Pen, x0: int, x1: int, base: int, depth: int) -> None:
    """The light of a window of the pen's object, between the columns x0 and x1, on the ground before the row `base`."""
    canvas = pen.canvas
    if canvas.omits(pen.name, "window"):
        return
    low, high = 2 * x0 - x1, 2 * x1 - x0
    rows, columns = canvas.span(base, base + depth), canvas.span(low, high)
    across = np.abs(2 * canvas.centres[columns] - low - high)
    spread = (x1 - x0) * (depth + 2 * (canvas.centres[rows] - base)) // depth
    grounds = np.isin(canvas.labels[0, rows, columns], [label("object", name) for name in GROUNDS])
    canvas.shine(rows, columns, grounds & (across[None, :] <= spread[:, None]), "glow", _WINDOW_LIGHT, 120)
