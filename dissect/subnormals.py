"""Numbers below the normal ones, which `torch.set_flush_denormal` may have told the processor to drop."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

#: The least of all; a processor that drops such numbers takes it for 0, even where it is written in digits.
(_LEAST,) = struct.unpack("<d", bytes([1, 0, 0, 0, 0, 0, 0, 0]))


def keeps_subnormals(function: Callable[P, R]) -> Callable[P, R]:
    """Lets a function compute with subnormal numbers, whatever mode the processor is in; the engine does so by itself.

    It serves what must give the same bits everywhere. Where nothing is dropped it costs one comparison.

    Example:
        >>> @keeps_subnormals
        ... def is_positive(value: torch.Tensor) -> bool:
        ...     return bool((value > 0).all())
        >>> is_positive(torch.tensor([1], dtype=torch.int32).view(torch.float32))
        True
    """

    @wraps(function)
    def keeping(*arguments: P.args, **named: P.kwargs) -> R:
        if _LEAST != 0.0:
            return function(*arguments, **named)
        # torch's other threads have a mode of their own, which cannot be reached: this one does all.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        torch.set_flush_denormal(False)
        try:
            return function(*arguments, **named)
        finally:
            torch.set_flush_denormal(True)
            torch.set_num_threads(threads)

    return keeping
