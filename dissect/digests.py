"""What tells content from other content: digests of texts, bytes and tensors, always made in the same way."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def digest(parts: Iterable[str | bytes | Tensor | np.ndarray], length: int = 16) -> str:
    """The first hexadecimal digits, of 64, of the SHA-256 of parts one after another.

    Args:
        parts: texts, which count as UTF-8; bytes; tensors and arrays, by the bits of their elements in their order,
            wherever and however they lie in memory.
        length: how many digits; 16 tell apart what nobody forges.

    Example:
        >>> digest(["weights", torch.tensor([1.0, 2.0])]) == digest([b"weights", torch.tensor([[1.0], [2.0]])])
        True
    """
    made = hashlib.sha256()
    for part in parts:
        made.update(_bytes_of(part))
    return made.hexdigest()[:length]


def number_of(part: bytes) -> int:
    """A number of 64 bits, with its sign, by which samples can be told apart."""
    return int.from_bytes(hashlib.blake2b(part, digest_size=8).digest(), "little", signed=True)


def crc(part: Tensor) -> int:
    """The CRC-32 of a tensor's elements."""
    return zlib.crc32(_bytes_of(part))


def _bytes_of(part: str | bytes | Tensor | np.ndarray) -> bytes | memoryview:
    if isinstance(part, str):
        return part.encode()
    if isinstance(part, Tensor):
        return part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
    return np.ascontiguousarray(part).data.cast("B") if isinstance(part, np.ndarray) else part
