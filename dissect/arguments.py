"""Checks of arguments that several functions take, so that each is told in the same words, before any work."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def integer(who: str, name: str, value: int, least: int = 1) -> int:
    """Python's own integer, which JSON can hold, of any integer from `least` on.

    Args:
        who: the function that was called, for the message.
        name: of the argument.
        value: what was given.
        least: the smallest that is allowed.

    Raises:
        TypeError: no integer.
        ValueError: one below `least`.

    Example:
        >>> import numpy
        >>> integer("dissect", "batch_size", numpy.int64(32))
        32
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{who}: {name} must be an integer, but got {value!r}.") from None
    if number < least:
        raise ValueError(f"{who}: {name} must be at least {least}, but got {value}.")
    return number


def ignored_labels(who: str, ignore: int | Iterable[int]) -> tuple[int, ...]:
    """The labels that stand for "no label", of one or several; each once, rising.

    Raises:
        TypeError: no integers.

    Example:
        >>> ignored_labels("dissect", 255), ignored_labels("dissect", [255, -1, 255])
        ((255,), (-1, 255))
    """
    try:
        return tuple(
            sorted({operator.index(label) for label in (ignore if isinstance(ignore, Iterable) else [ignore])})
        )
    except TypeError:
        raise TypeError(f"{who}: ignore must be a label or several, integers, but got {ignore!r}.") from None


#: What stands for memory without a limit.
_ALL = 2**63 - 1


def num_bytes(who: str, name: str, value: float) -> int:
    """A number of bytes, 0 or more, of any real number; infinity is one too.

    Raises:
        ValueError: anything else.

    Example:
        >>> num_bytes("dissect", "memory_budget", 2e9)
        2000000000
    """
    if not isinstance(value, Real) or not value >= 0:  # NaN is not
        raise ValueError(f"{who}: {name} must be a number of bytes, 0 or more, but is {value!r}.")
    return int(min(value, _ALL))


def result_file(who: str, path: Path, suffix: str) -> Path:
    """The path of a result, which may come without its suffix, but is no folder.

    Args:
        who: the command that was called, for the message.
        path: what was given.
        suffix: of the kind of result that it takes.

    Raises:
        ValueError: a folder; says which such files it holds, and that one of them must be given.
    """
    if not path.is_dir() or (path.name and path.with_name(path.name + suffix).is_file()):
        return path
    held = sorted(file for file in path.iterdir() if file.suffix == suffix and file.is_file())
    told = (
        f"which holds no {suffix} file" if not held else "give the file in it" if len(held) == 1 else "give one in it"
    )
    names = ", ".join(map(str, held[:5])) + (f" and {len(held) - 5} more" if len(held) > 5 else "")
    raise ValueError(f"{who}: a {suffix} file is needed, but {path} is a folder, {told}{': ' + names if held else ''}.")


def check_precision(layer: str, output: Any) -> None:
    """Refuses what a network gives in double precision, in which nothing here computes.

    Raises:
        TypeError: it is float64; says what to do.
    """
    if isinstance(output, Tensor) and output.dtype == torch.float64:
        raise TypeError(
            f"activations of layer {layer!r} are float64, but must be float32, float16 or bfloat16: call model.float() "
            "and give the model float32 images."
        )
