"""safetensors files read into memory of one's own: a mapped file that is cut meanwhile would end the process."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from torch import Tensor

#: As safetensors limits it.
MOST_HEADER = 100_000_000

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64, "BOOL": torch.bool, "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


def read_tensors(
    path: str | Path | BinaryIO, names: Iterable[str] | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file and its metadata; sizes are compared with the file's before anything is made.

    Args:
        path: of the file, or what is read in its place.
        names: of the tensors to read; all by default.

    Raises:
        SafetensorError: what the file says of itself does not fit its bytes, or it was cut while it was read.
        OSError: the system cannot read it.
        KeyError: it has no tensor of a name.
    """
    opened: AbstractContextManager[Any] = (
        open(path, "rb", buffering=0) if isinstance(path, (str, Path)) else nullcontext(path)
    )
    with opened as file:
        entries, metadata, begin = _header(file)
        tensors = {}
        for name in entries if names is None else names:
            dtype, shape, start, _ = entries[name]
            tensors[name] = torch.empty(shape, dtype=dtype)
            if not fill(tensors[name], file, begin + start):
                raise SafetensorError(f"it was cut while {name!r} was read")
    return tensors, metadata


def fill(tensor: Tensor, file: BinaryIO, offset: int) -> bool:
    """Reads the bytes of a contiguous tensor from this place of a file; whether the file had them all."""
    if not tensor.numel():
        return True
    file.seek(offset)
    left: Any = memoryview(tensor.view(-1).view(torch.uint8).numpy().data)
    while len(left):
        got = file.readinto(left)  # type: ignore[attr-defined]
        if not got:
            return False
        left = left[got:]
    return True


def _header(file: BinaryIO) -> tuple[dict[str, tuple[torch.dtype, list[int], int, int]], dict[str, str], int]:
    """Each tensor's dtype, shape, first byte and the one after its last; the metadata; where the bytes begin.

    Raises:
        SafetensorError: they do not fit each other or the file's size.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    first = file.read(8)
    length = struct.unpack("<Q", first)[0] if len(first) == 8 else MOST_HEADER + 1
    if length > min(MOST_HEADER, size - 8):
        raise SafetensorError("its header is cut, or too long")
    try:
        header = json.loads(_whole(file, length).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SafetensorError(f"its header is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise SafetensorError("its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise SafetensorError("its metadata must be texts by name")
    entries = {name: _entry(name, entry) for name, entry in header.items()}
    end = 0
    for name, (_, _, start, stop) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if start != end:
            raise SafetensorError(f"the bytes of {name!r} must begin where others end, at {end}, but begin at {start}")
        end = stop
    if end != size - 8 - length:
        raise SafetensorError(f"its tensors must take all of its {size - 8 - length} bytes, but take {end}")
    return entries, metadata, 8 + length


def _entry(name: str, entry: Any) -> tuple[torch.dtype, list[int], int, int]:
    """What the header says of a tensor.

    Raises:
        SafetensorError: it is no such entry, or its shape does not fit its bytes.
    """
    kinds = {"dtype": str, "shape": list, "data_offsets": list}
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), kind) for key, kind in kinds.items()):
        raise SafetensorError(f"the header's entry of {name!r} must have a dtype, a shape and data_offsets")
    dtype, shape, offsets = DTYPES.get(entry["dtype"]), entry["shape"], entry["data_offsets"]
    if dtype is None:
        raise SafetensorError(f"{name!r} has a dtype that is not known here, {entry['dtype']!r}")
    if len(offsets) != 2 or not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, *offsets)):
        raise SafetensorError(f"{name!r} must have sizes and two offsets from 0 on, but has {entry}")
    if math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        raise SafetensorError(
            f"{name!r} of {entry['dtype']} {shape} must take the bytes that it has, but has {offsets}"
        )
    return dtype, shape, *offsets


def _whole(file: BinaryIO, length: int) -> bytes:
    """So many bytes, or fewer where the file ends."""
    parts = []
    while length and (part := file.read(length)):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
