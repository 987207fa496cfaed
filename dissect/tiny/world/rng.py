"""The only source of chance in the scenes: an integer hash that gives the same numbers on every machine and version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_MIX1 = 0xBF58476D1CE4E5B9
_MIX2 = 0x94D049BB133111EB


def mix(value: int) -> int:
    """The finaliser of splitmix64: 64 bits in, 64 well mixed bits out."""
    value = ((value ^ (value >> 30)) * _MIX1) & _MASK
    value = ((value ^ (value >> 27)) * _MIX2) & _MASK
    return value ^ (value >> 31)


def mix_array(values: np.ndarray) -> np.ndarray:
    """`mix` of every element of a uint64 array of any shape."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_MIX1)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_MIX2)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed


class Rng:
    """A stream of numbers that is a pure function of its key.

    Args:
        key: strings and integers that name the stream; their order counts.

    Example:
        >>> Rng("train", 3).between(0, 9) == Rng("train", 3).between(0, 9)
        True
    """

    def __init__(self, *key: str | int) -> None:
        state = 0
        for part in key:
            for byte in str(part).encode() + b"\0":
                state = mix((state + byte + _STEP) & _MASK)
        self._state = state

    def below(self, bound: int) -> int:
        """An integer in [0, bound)."""
        self._state = (self._state + _STEP) & _MASK
        return (mix(self._state) >> 32) % bound

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high], both included."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        """True in so many of a hundred cases."""
        return self.below(100) < percent

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices, all equally likely."""
        return choices[self.below(len(choices))]

    def shuffled(self, choices: Sequence[T]) -> list[T]:
        """The choices in a chance order."""
        rest = list(choices)
        return [rest.pop(self.below(len(rest))) for _ in choices]

    def jitter(self, color: tuple[int, int, int], amount: int = 14) -> tuple[int, int, int]:
        """A colour near this one."""
        red, green, blue = (min(255, max(0, c + self.between(-amount, amount))) for c in color)
        return red, green, blue
