"""Files that appear whole or not at all: tensors as safetensors, everything else as JSON in their metadata."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors_torch
from torch import Tensor

from dissect.checked import Of, Whole, fields

# It can only be read by setting it, so that is done once, early.
_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives the path of a file to write, which takes its place at `path` when the block ends without an error.

    It is on disk by then; after an error there is no trace of it, and what was at `path` is still there. Missing
    folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        yield partial
        with open(partial, "r+b") as written:  # Windows syncs only what may be written
            os.fsync(written.fileno())
        os.chmod(partial, 0o666 & ~_UMASK)  # safetensors makes files that only their owner can read
        os.replace(partial, path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(partial)):
            error.filename = str(path)  # which its user knows
        raise
    finally:
        partial.unlink(missing_ok=True)


def save_file(tensors: dict[str, Tensor], path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """As safetensors' function, but what the system refuses is an OSError, as everywhere, and names the file.

    Raises:
        OSError: the disk is full, say.
    """
    try:
        safetensors_torch.save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def with_suffix(path: str | Path, suffix: str) -> Path:
    """The path, with the suffix of its kind of file added unless it has it."""
    path = Path(path)
    return path if path.suffix == suffix else path.with_name(path.name + suffix)


def save_tensors(path: str | Path, kind: str, version: int, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Path:
    """Writes one safetensors file, replacing an older one only once the new one is complete on disk.

    Args:
        path: where to; missing folders are made.
        kind: what the file holds, e.g. "dissection"; checked when it is read.
        version: the version of its layout.
        tensors: by name.
        meta: anything that JSON can hold.

    Returns:
        The path.
    """
    path = Path(path)
    tensors = _own_memory({name: tensor.cpu() for name, tensor in tensors.items()})
    header = {"kind": kind, "version": version, "meta": meta}
    header["sha256"] = _digest(json.dumps(header), tensors)
    with replacing(path) as partial:
        # One entry: safetensors writes several in any order, and equal contents should be equal files.
        save_file(tensors, partial, metadata={"dissect": json.dumps(header)})
    return path


def load_tensors(path: str | Path, kind: str, version: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save_tensors` wrote.

    Returns:
        The tensors by name, and `meta`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, another kind of file, or a newer version; names the path.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copied: what stays mapped to the file would change with it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
        header = json.loads(metadata.get("dissect", "{}"))
    except (SafetensorError, ValueError, RecursionError) as error:  # no JSON, numbers too long, nested too deep
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error
    if not isinstance(header, dict) or header.get("kind") != kind:
        holds = header.get("kind") if isinstance(header, dict) else None
        raise ValueError(f"{path} must hold a {kind}, but holds {holds or 'something else'}.")
    fields(f"{path}: the header", header, _HEADER)
    sha256 = metadata.get("sha256") or header.pop("sha256", None)  # beside the header in older files
    if header["version"] > version:
        raise ValueError(
            f"{path} is of version {header['version']}, newer than the {version} known here; update dissect."
        )
    if sha256 != _digest(json.dumps(header), tensors):
        raise ValueError(f"{path} is damaged: its content does not match its checksum.")
    return tensors, header["meta"]


_HEADER = {"version": Whole(1), "meta": Of(dict)}


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    """Of everything that the file holds, in an order that does not depend on the file."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _own_memory(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies, since safetensors refuses tensors that share memory."""
    contiguous = torch.contiguous_format
    return {name: tensor.detach().cpu().clone(memory_format=contiguous) for name, tensor in tensors.items()}
