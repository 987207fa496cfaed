"""What a file or a saved state must hold, said as a table: by name a dtype, a shape by letters, and a range.

Nothing that was read is believed before it was held against such a table; what then still must fit together is asked
for with `require`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

#: How large each letter of a shape is, as far as is known.
Sizes = dict[str, int]


class Rule:
    """What a value must be; its text says it."""

    def wrong(self, value: Any, sizes: Sizes) -> str | None:
        """None, or what the value is instead; learns the letters' sizes."""
        raise NotImplementedError


@dataclass(frozen=True)
class Array(Rule):
    """A tensor.

    Args:
        dtype: its dtype.
        shape: a word per axis: a number, or a letter that is the same size wherever it stands.
        low: the least value.
        high: the largest: a number or a letter's size. NaN is in no range; without one anything is allowed.
        nan: whether NaN is allowed beside the range.
    """

    dtype: torch.dtype
    shape: str
    low: float | None = None
    high: float | str | None = None
    nan: bool = False

    def __str__(self) -> str:
        bounds = "" if self.low is None else f", at least {self.low}"
        bounds += "" if self.high is None else f", at most {self.high}"
        return f"{str(self.dtype).removeprefix('torch.')} [{', '.join(self.shape.split())}]{bounds}"

    def wrong(self, value: Any, sizes: Sizes) -> str | None:
        """See `Rule`."""
        axes = self.shape.split()
        if not isinstance(value, Tensor):
            return type(value).__name__
        if value.dtype != self.dtype or value.ndim != len(axes):
            return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
        for axis, size in zip(axes, value.shape):
            if size != (int(axis) if axis.isdigit() else sizes.setdefault(axis, size)):
                known = {axis: sizes[axis] for axis in axes if axis in sizes}
                return f"{list(value.shape)} where {known}"
        if not value.numel() or self.low is self.high is None:
            return None
        finite = value[~value.isnan()] if self.nan else value
        if not finite.numel():
            return None
        low, high = (end.item() for end in finite.aminmax())
        most = sizes[self.high] if isinstance(self.high, str) else self.high
        fits = (self.low is None or low >= self.low) and (most is None or high <= most)
        return None if fits else f"values from {low} to {high}"


@dataclass(frozen=True)
class Whole(Rule):
    """An integer from `low` to `high`."""

    low: int = 0
    high: int | None = None

    def __str__(self) -> str:
        return f"an integer of at least {self.low}" + ("" if self.high is None else f" and at most {self.high}")

    def wrong(self, value: Any, sizes: Sizes) -> str | None:
        """See `Rule`."""
        whole = isinstance(value, int) and not isinstance(value, bool)
        return None if whole and self.low <= value <= (self.high or math.inf) and value < 1 << 63 else _short(value)


@dataclass(frozen=True)
class Number(Rule):
    """A finite number from `low` to `high`; an integer has no more bits than a tensor's."""

    low: float
    high: float = 1.7e308

    def __str__(self) -> str:
        return f"a number of at least {self.low}" + (f" and at most {self.high}" if self.high < 1.7e308 else "")

    def wrong(self, value: Any, sizes: Sizes) -> str | None:
        """See `Rule`."""
        number = isinstance(value, float) or (_is_int(value) and abs(value) < 1 << 63)
        return None if number and self.low <= value <= self.high else _short(value)


@dataclass(frozen=True)
class Text(Rule):
    """A text: any, or one of some."""

    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"one of {list(self.choices)}" if self.choices else "a text"

    def wrong(self, value: Any, sizes: Sizes) -> str | None:
        """See `Rule`."""
        return None if isinstance(value, str) and (not self.choices or value in self.choices) else _short(value)


@dataclass(frozen=True)
class Each(Rule):
    """A list, or None if that is allowed, whose entries follow a rule.

    Args:
        rule: of every entry.
        size: how many there are: a number or a letter; any by default.
        different: no entry comes twice.
    """

    rule: Rule
    size: int | str | None = None
    different: bool = False

    def __str__(self) -> str:
        return f"a list{'' if self.size is None else f' of {self.size}'}, each entry {self.rule}"

    def wrong(self, value: Any, sizes: Sizes) -> str | None:
        """See `Rule`."""
        if not isinstance(value, (list, tuple)):
            return _short(value)
        size = sizes.setdefault(self.size, len(value)) if isinstance(self.size, str) else self.size
        if size not in (None, len(value)):
            return f"{len(value)} entries where {self.size} is {size}"
        if self.different and len({*map(str, value)}) < len(value):
            return "some entry twice"
        return next((text for text in (self.rule.wrong(each, sizes) for each in value) if text is not None), None)


@dataclass(frozen=True)
class Of(Rule):
    """Anything of a Python type, e.g. dict or bool."""

    kind: type

    def __str__(self) -> str:
        return f"a {self.kind.__name__}"

    def wrong(self, value: Any, sizes: Sizes) -> str | None:
        """See `Rule`."""
        return None if isinstance(value, self.kind) else _short(value)


@dataclass(frozen=True)
class Maybe(Rule):
    """What another rule says, or None."""

    rule: Rule

    def __str__(self) -> str:
        return f"{self.rule}, or nothing"

    def wrong(self, value: Any, sizes: Sizes) -> str | None:
        """See `Rule`."""
        return None if value is None else self.rule.wrong(value, sizes)


def fields(what: str, found: Mapping[str, Any], rules: Mapping[str, Rule], sizes: Sizes | None = None) -> Sizes:
    """Holds what was read against a table; what the table does not name may be anything.

    Args:
        what: the file, or whose state it is, for messages.
        found: by name.
        rules: by name; only what may be None (`Maybe`) may be missing.
        sizes: of letters that are known.

    Returns:
        The letters' sizes.

    Raises:
        ValueError: says what must be held and what is there instead.

    Example:
        >>> rules = {"area": Array(torch.int64, "U C", 0), "units": Whole(1)}
        >>> fields("x.file", {"area": torch.zeros(2, 3, dtype=torch.int64), "units": 2}, rules)
        {'U': 2, 'C': 3}
    """
    sizes = {} if sizes is None else dict(sizes)
    if not isinstance(found, Mapping):
        raise ValueError(f"{what} must hold {', '.join(rules)}, but is {_short(found)}.")
    for name, rule in rules.items():
        if name not in found and not isinstance(rule, Maybe):
            raise ValueError(f"{what} must hold {name} ({rule}), but does not.")
        wrong = rule.wrong(found.get(name), sizes)
        if wrong is not None:
            raise ValueError(f"{what} must hold {name} as {rule}, but holds {wrong}.")
    return sizes


def require(what: str, good: Tensor | bool, rule: str) -> None:
    """Refuses content of which something does not fit together.

    Raises:
        ValueError: says what must hold.
    """
    if not (bool(good.all()) if isinstance(good, Tensor) else good):
        raise ValueError(f"{what} does not fit together: {rule}.")


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Within the block an error about content names the file that it comes from.

    Raises:
        ValueError: instead of a TypeError or ValueError.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} holds what cannot be: {error}") from error


def bytes_of_file(path: str | Path, what: str, most: int) -> bytes:
    """What a file holds, which is `what`, if that is no more than so many bytes.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is larger.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    if path.stat().st_size > most:
        raise ValueError(f"{path} must be {what} of at most {most} bytes, but has {path.stat().st_size}.")
    return path.read_bytes()


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, (str, bool, float, type(None))) else type(value).__name__
    return f"{value.bit_length()} bits of integer" if _is_long(value) else str(value) if _is_int(value) else text[:60]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_long(value: Any) -> bool:
    return _is_int(value) and abs(value) >= 1 << 64
