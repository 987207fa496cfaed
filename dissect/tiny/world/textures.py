"""Textures: how much lighter or darker than its colour a surface is at each point, in 256ths.

Each takes columns x [w] and rows y [h] in canvas units (int64) and a seed, and returns int64 shades that broadcast
to [h, w].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dissect.tiny.world.rng import mix_array

Texture = Callable[[np.ndarray, np.ndarray, int], np.ndarray]

_TILE = 64


def _white_noise() -> np.ndarray:
    cells = np.arange(_TILE * _TILE, dtype=np.uint64).reshape(_TILE, _TILE)
    return (mix_array(cells + np.uint64(0x5EED)) >> np.uint64(56)).astype(np.int64) - 128


def _smooth(noise: np.ndarray, rounds: int) -> np.ndarray:
    for _ in range(rounds):
        for axis in (0, 1):
            noise = np.roll(noise, 1, axis) + 2 * noise + np.roll(noise, -1, axis)
    noise = noise - noise.sum() // noise.size
    scaled: np.ndarray = noise * 128 // np.abs(noise).max()
    return scaled


_WHITE = _white_noise()
_SOFT = _smooth(_WHITE, 2)
_CLOUDY = _smooth(_WHITE, 7)


def _sample(tile: np.ndarray, x: np.ndarray, y: np.ndarray, seed: int, shift_x: int, shift_y: int) -> np.ndarray:
    rows = ((y >> shift_y) + (seed >> 6)) & (_TILE - 1)
    columns = ((x >> shift_x) + seed) & (_TILE - 1)
    sampled: np.ndarray = tile[rows[:, None], columns[None, :]]
    return sampled


def speckled(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Grains: sand, asphalt, snow."""
    return (_sample(_WHITE, x, y, seed, 3, 3) >> 3) + (_sample(_CLOUDY, x, y, seed, 4, 3) >> 3)


def blotchy(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Leaves and rough stone."""
    return (_sample(_SOFT, x, y, seed, 3, 3) * 5 >> 3) + (_sample(_WHITE, x, y, seed, 3, 3) >> 3)


def wavy(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Water: noise drawn out along the rows."""
    return _sample(_SOFT, x, y, seed, 5, 3) >> 1


def bricked(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Courses of bricks with light mortar."""
    course = y // 24
    along = x[None, :] + ((course & 1) * 24)[:, None]
    mortar = (y % 24 < 8)[:, None] | (along % 48 < 8)
    return np.where(mortar, 46, _WHITE[(course & 63)[:, None], (along // 48 + seed) & 63] >> 3)


def grained(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Wood: fibres along the rows."""
    return _sample(_SOFT, x, y, seed, 6, 3) >> 2


def striped(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Upright boards, or a striped cloth."""
    return np.where((x + seed) % 32 < 9, -52, 8)[None, :]


def banded(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Courses of shingles, blinds, stairs."""
    return np.where((y + seed) % 26 < 9, -44, 10)[:, None]


def tiled(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Tiles with dark joints, flattened as on a floor."""
    return np.where((x % 80 < 8)[None, :] | (y % 40 < 8)[:, None], -34, 6)


def checkered(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """A chessboard."""
    return np.where(((x >> 6)[None, :] + (y >> 6)[:, None]) & 1, -80, 20)


def dotted(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Dots in rows."""
    dx, dy = x % 40 - 20, y % 40 - 20
    return np.where((dx * dx)[None, :] + (dy * dy)[:, None] < 130, 64, -12)


def gridded(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Rows of dark openings, some of them lit: the windows of a tall building."""
    opening = (x % 32 >= 12)[None, :] & (y % 40 >= 16)[:, None]
    lit = _WHITE[((y // 40 + seed) & 63)[:, None], ((x // 32 + (seed >> 3)) & 63)[None, :]] > 76
    return np.where(opening, np.where(lit, 120, -100), 0)


TEXTURE_FUNCTIONS: dict[str, Texture] = {
    function.__name__: function
    for function in (speckled, blotchy, wavy, bricked, grained, striped, banded, tiled, checkered, dotted, gridded)
}
