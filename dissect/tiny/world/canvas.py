"""The painter: an image and its label planes, filled together, so the labels are exact.

A part is named as "door", or as "door/handle" where it lies inside another: the first goes to the first part plane,
the second to the second.

All geometry is in integer units, 1024 to the side, whatever the image's size; a pixel belongs to a shape if its
centre does.
What is painted later covers what lies below it, in the image and in every plane.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dissect.tiny.world.rng import Rng
from dissect.tiny.world.textures import TEXTURE_FUNCTIONS
from dissect.tiny.world.vocabulary import label

#: Units to a side of the canvas.
UNITS = 1024

Color = tuple[int, int, int]
Point = tuple[int, int]


class Surface(NamedTuple):
    """What a shape is made of: its colour, its material ("" for none) and its texture ("" for smooth)."""

    color: Color
    material: str = ""
    texture: str = ""

    def shaded(self, shade: int) -> Surface:
        """The same surface in another light; shade in 256ths, negative for darker."""
        red, green, blue = (min(255, c * (256 + shade) >> 8) for c in self.color)
        return self._replace(color=(red, green, blue))


#: Changes what a thing is made of: from the pen's seed, the object and a surface to another surface.
Dress = Callable[[int, str, Surface], Surface]


@lru_cache(maxsize=8)
def _centres(size: int) -> tuple[list[int], np.ndarray]:
    centres = [(2 * i + 1) * UNITS // (2 * size) for i in range(size)]
    return centres, np.array(centres, dtype=np.int64)


@lru_cache(maxsize=4096)
def _labels(object_name: str, part: str, material: str, texture: str) -> np.ndarray:
    outer, _, inner = part.partition("/")
    named = (("object", object_name), ("part", outer), ("part", inner), ("material", material), ("texture", texture))
    return np.array([label(category, name) for category, name in named], dtype=np.int16)[:, None, None]


class Canvas:
    """An image and its labels: of the object, the part, the part inside a part, the material and the texture.

    Args:
        size: height and width in pixels.
        dress: changes every surface before it is painted.
        without: (category, name) of an object, a part or a texture that is left out: nothing of it is painted, no
            shadow and no light falls from it, and surfaces of that texture are smooth. All else is as it was.

    Attributes:
        rgb: int16 [3, size, size].
        labels: int16 [5, size, size].
        dark: whether it is so dark that windows are lit.
    """

    def __init__(self, size: int, dress: Dress | None = None, without: tuple[str, str] | None = None) -> None:
        self.size, self.dress, self.without, self.dark = size, dress, without, False
        self._list, self.centres = _centres(size)
        self.rgb = np.zeros((3, size, size), dtype=np.int16)
        self.labels = np.zeros((5, size, size), dtype=np.int16)

    def span(self, low: int, high: int) -> slice:
        """The pixels whose centres lie in [low, high)."""
        return slice(bisect_left(self._list, low), bisect_left(self._list, high))

    def pen(self, name: str, rng: Rng) -> Pen:
        """A pen that paints parts of one object."""
        return Pen(self, name, rng.below(4096))

    def omits(self, name: str, part: str = "") -> bool:
        """Whether this part of this object is left out."""
        category, absent = self.without or ("", "")
        return name == absent if category == "object" else category == "part" and absent in part.split("/")

    def shine(self, rows: slice, columns: slice, mask: np.ndarray, part: str, color: Color, strength: int) -> None:
        """Light on what is painted already: blends in a colour by 256ths, and names it a part inside a part."""
        if self.omits("", part):
            return
        region = self.rgb[:, rows, columns]
        light = np.array(color, dtype=np.int32)[:, None, None]
        np.copyto(region, region + ((light - region) * strength >> 8), where=mask, casting="same_kind")
        np.copyto(self.labels[2, rows, columns], label("part", part), where=mask)

    def sprinkle(self, rng: Rng, count: int, color: Color, length: int) -> None:
        """Snowflakes or streaks of rain, without a label; length in units."""
        pixels = np.array(color, dtype=np.int16)[:, None, None]
        for _ in range(count):
            x, y = rng.below(UNITS), rng.below(UNITS)
            rows, columns = self.span(y, y + length), self.span(x, x + 8)
            region = self.rgb[:, rows, columns]
            region[...] = (region + pixels) >> 1

    def fog(self, low: int, horizon: int, high: int, strength: int) -> None:
        """Fade rows [low, high) to a light grey, most at the horizon; strength in 256ths."""
        rows = self.span(low, high)
        y = self.centres[rows]
        above, below = max(1, horizon - low), max(1, high - horizon)
        weight = np.where(y < horizon, (y - low) * strength // above, (high - y) * strength // below)
        weight = weight.astype(np.int32)[None, :, None]
        region = self.rgb[:, rows]
        region[...] = (region * (256 - weight) + 214 * weight) >> 8

    def finish(self, tint: Color, flip: bool) -> tuple[np.ndarray, np.ndarray]:
        """The image uint8 [3, size, size] under a light (256ths per channel), and the labels, mirrored if asked."""
        light = np.array(tint, dtype=np.int32)[:, None, None]
        image = np.clip((self.rgb * light) >> 8, 0, 255).astype(np.uint8)
        if flip:
            return image[:, :, ::-1], self.labels[:, :, ::-1]
        return image, self.labels


def _ellipse(dx: np.ndarray, dy: np.ndarray, radius_x: int, radius_y: int) -> np.ndarray:
    rx2, ry2 = radius_x * radius_x, radius_y * radius_y
    inside: np.ndarray = (dx * dx * ry2)[None, :] + (dy * dy * rx2)[:, None] <= rx2 * ry2
    return inside


def _polygon(x: np.ndarray, y: list[int], rows: np.ndarray, points: Sequence[Point]) -> np.ndarray:
    """Even-odd rule: each edge flips the points to its left, in the rows that it crosses."""
    mask = np.zeros((len(y), len(x)), dtype=bool)
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]]):
        if y0 == y1:
            continue
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        low, high = bisect_left(y, y0), bisect_left(y, y1)
        if low < high:
            crossing = (rows[low:high] - y0) * (x1 - x0) // (y1 - y0) + x0
            mask[low:high] ^= x[None, :] <= crossing[:, None]
    return mask


class Pen:
    """Paints shapes that belong to one object; see `Canvas.pen`. Shapes off the canvas are cut off."""

    def __init__(self, canvas: Canvas, name: str, seed: int) -> None:
        self.canvas = canvas
        self.name = name
        self.seed = seed

    def shadow(self, x: int, y: int, radius_x: int, radius_y: int) -> None:
        """The object's shadow: darkens an ellipse of the image, without a label."""
        canvas = self.canvas
        if canvas.omits(self.name):
            return
        rows = canvas.span(y - radius_y, y + radius_y + 1)
        columns = canvas.span(x - radius_x, x + radius_x + 1)
        mask = _ellipse(canvas.centres[columns] - x, canvas.centres[rows] - y, radius_x, radius_y)
        region = canvas.rgb[:, rows, columns]
        np.copyto(region, region * np.int16(5) >> 3, where=mask)

    def rect(self, x0: int, y0: int, x1: int, y1: int, surface: Surface, part: str = "") -> None:
        """The rectangle [x0, x1) x [y0, y1)."""
        self._fill(self.canvas.span(y0, y1), self.canvas.span(x0, x1), None, surface, part, None)

    def gradient(self, x0: int, y0: int, x1: int, y1: int, top: Surface, bottom: Color,
                 part: str = "") -> None:  # fmt: skip
        """A rectangle whose colour goes from the top's to the bottom's."""
        rows, columns = self.canvas.span(y0, y1), self.canvas.span(x0, x1)
        self._fill(rows, columns, None, top, part, None)
        if self.canvas.omits(self.name, part):
            return
        below = (self.canvas.centres[rows] - y0).astype(np.int32)
        high, low = self._dressed(top).color, self._dressed(top._replace(color=bottom)).color
        change = np.array(low, dtype=np.int32) - np.array(high, dtype=np.int32)
        self.canvas.rgb[:, rows, columns] += (change[:, None] * below // max(1, y1 - y0)).astype(np.int16)[:, :, None]

    def polygon(self, points: Sequence[Point], surface: Surface, part: str = "") -> None:
        """A simple polygon, convex or not."""
        canvas = self.canvas
        columns = canvas.span(min(p[0] for p in points), max(p[0] for p in points) + 1)
        rows = canvas.span(min(p[1] for p in points), max(p[1] for p in points) + 1)
        if rows.start < rows.stop and columns.start < columns.stop:
            mask = _polygon(canvas.centres[columns], canvas._list[rows], canvas.centres[rows], points)
            self._fill(rows, columns, mask, surface, part, None)

    def line(self, x0: int, y0: int, x1: int, y1: int, width: int, surface: Surface, part: str = "") -> None:
        """A straight stroke; its width is measured along the axis that it crosses more steeply."""
        half, rest = width // 2, width - width // 2
        if abs(x1 - x0) > abs(y1 - y0):
            points = [(x0, y0 - half), (x1, y1 - half), (x1, y1 + rest), (x0, y0 + rest)]
        else:
            points = [(x0 - half, y0), (x0 + rest, y0), (x1 + rest, y1), (x1 - half, y1)]
        self.polygon(points, surface, part)

    def ellipse(self, x: int, y: int, radius_x: int, radius_y: int, surface: Surface, part: str = "",
                light: int = 40, half: str = "") -> None:  # fmt: skip
        """An ellipse lit from the upper left by `light` 256ths; half "upper" or "lower" for one half of it."""
        canvas = self.canvas
        if radius_x < 1 or radius_y < 1:
            return
        rows = canvas.span(y if half == "lower" else y - radius_y, y if half == "upper" else y + radius_y + 1)
        columns = canvas.span(x - radius_x, x + radius_x + 1)
        dx, dy = canvas.centres[columns] - x, canvas.centres[rows] - y
        shade = -(dx * light // radius_x)[None, :] - (dy * light // radius_y)[:, None] if light else None
        self._fill(rows, columns, _ellipse(dx, dy, radius_x, radius_y), surface, part, shade)

    def _dressed(self, surface: Surface) -> Surface:
        if self.canvas.dress:
            surface = self.canvas.dress(self.seed, self.name, surface)
        return surface._replace(texture="") if self.canvas.without == ("texture", surface.texture) else surface

    def _fill(self, rows: slice, columns: slice, mask: np.ndarray | None, surface: Surface, part: str,
              shade: np.ndarray | None) -> None:  # fmt: skip
        canvas = self.canvas
        if rows.start >= rows.stop or columns.start >= columns.stop or canvas.omits(self.name, part):
            return
        surface = self._dressed(surface)
        if surface.texture:
            texture = TEXTURE_FUNCTIONS[surface.texture]
            grain = texture(canvas.centres[columns], canvas.centres[rows], self.seed)
            shade = grain if shade is None else grain + shade
        labels = _labels(self.name, part, surface.material, surface.texture)
        color = np.array(surface.color, dtype=np.int32)[:, None, None]
        if shade is not None:
            color = (color * (256 + shade.astype(np.int32))) >> 8
        where = True if mask is None else mask
        np.copyto(canvas.rgb[:, rows, columns], color, where=where, casting="same_kind")
        np.copyto(canvas.labels[:, rows, columns], labels, where=where)
