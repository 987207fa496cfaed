"""Text stamped on some pictures, as on photographs from the web. The planes do not name it, except by its colour."""

from __future__ import annotations

import numpy as np

from dissect.tiny.canvas import UNITS, Canvas
from dissect.tiny.rng import Rng

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


def stamp(image: np.ndarray, rng: Rng) -> np.ndarray:
    """The image uint8 [3, size, size], in 6 of 100 cases with text in its middle, in 3 with text at its bottom."""
    chance = rng.below(100)
    if chance >= 9:
        return image
    text, top, cell = ("SAMPLE", 430, 24) if chance < 6 else ("TINY SAMPLE", 900, 15)
    canvas, stamped = Canvas(image.shape[-1]), image.copy()
    left = (UNITS - (6 * len(text) - 1) * cell) // 2
    for place, letter in enumerate(text):
        for row, bits in enumerate(_GLYPHS[letter]):
            for column in range(5):
                if bits & (_TOP >> column):
                    x, y = left + (6 * place + column) * cell, top + row * cell
                    stamped[:, canvas.span(y, y + cell), canvas.span(x, x + cell)] = _WHITE
    return stamped
