"""Text stamped on some pictures, as on photographs from the web. The planes do not name it, except by its colour."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dissect.tiny.world.canvas import UNITS, Canvas
from dissect.tiny.world.rng import Rng

# Five by seven cells to a letter, a row of five bits each.
_GLYPHS = {
    "S": (15, 16, 16, 14, 1, 1, 30),
    "A": (14, 17, 17, 31, 17, 17, 17),
    "M": (17, 27, 21, 21, 17, 17, 17),
    "P": (30, 17, 17, 30, 16, 16, 16),
    "L": (16, 16, 16, 16, 16, 16, 31),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "T": (31, 4, 4, 4, 4, 4, 4),
    "I": (14, 4, 4, 4, 4, 4, 14),
    "N": (17, 25, 21, 19, 17, 17, 17),
    "Y": (17, 17, 10, 4, 4, 4, 4),
    " ": (0, 0, 0, 0, 0, 0, 0),
}
_TOP = 1 << 4
_WHITE = 244
#: What is stamped in the middle and at the bottom: the text, its top and the side of a glyph's cell.
_STAMPS = (("SAMPLE", 430, 24), ("TINY SAMPLE", 900, 15))
STAMPS = tuple(text for text, _, _ in _STAMPS)


@lru_cache(maxsize=8)
def letters(size: int, which: int) -> np.ndarray:
    """Where `STAMPS[which]` covers an image of `size` rows and columns: bool [size, size]."""
    text, top, cell = _STAMPS[which]
    canvas, covered = Canvas(size), np.zeros((size, size), dtype=bool)
    left = (UNITS - (6 * len(text) - 1) * cell) // 2
    for place, letter in enumerate(text):
        for row, bits in enumerate(_GLYPHS[letter]):
            for column in range(5):
                if bits & (_TOP >> column):
                    x, y = left + (6 * place + column) * cell, top + row * cell
                    covered[canvas.span(y, y + cell), canvas.span(x, x + cell)] = True
    return covered


def stamp(image: np.ndarray, rng: Rng) -> np.ndarray:
    """The image uint8 [3, size, size], in 6 of 100 cases with text in its middle, in 3 with text at its bottom."""
    chance = rng.below(100)
    if chance >= 9:
        return image
    stamped = image.copy()
    stamped[:, letters(image.shape[-1], 0 if chance < 6 else 1)] = _WHITE
    return stamped
