"""The files of the embedded world's networks: weights in 16 bits, and what they are of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dissect.files.tensors import load_tensors

#: What the files of networks say that they are.
FORMAT = ("network", 1)


def narrowed(states: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as they are shipped: floats in 16 bits, counters as they are."""
    return {name: value.half() if value.is_floating_point() else value for name, value in states.items()}


def widened(path: str | Path, *architectures: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights in a file of one of these architectures, in float32, and what the file says of them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or holds something else.
    """
    states, about = load_tensors(path, *FORMAT)
    found = about.get("architecture", "training that is not finished")
    if found not in architectures:
        raise ValueError(f"{path} must hold a {' or a '.join(architectures)}, but holds a {found}.")
    return {name: value.float() if value.is_floating_point() else value for name, value in states.items()}, about
