"""Files that appear whole or not at all: tensors as safetensors, everything else as JSON in their metadata."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


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
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"dissect": json.dumps({"kind": kind, "version": version, "meta": meta})}
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        save_file(_own_memory(tensors), partial, metadata=header)
        with open(partial, "rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
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
            header = json.loads((file.metadata() or {}).get("dissect", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error
    if header.get("kind") != kind:
        raise ValueError(f"{path} must hold a {kind}, but holds {header.get('kind') or 'something else'}.")
    if header["version"] > version:
        raise ValueError(
            f"{path} is of version {header['version']}, newer than the {version} known here; update dissect."
        )
    return tensors, header["meta"]


def _own_memory(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies, since safetensors refuses tensors that share memory."""
    contiguous = torch.contiguous_format
    return {name: tensor.detach().cpu().clone(memory_format=contiguous) for name, tensor in tensors.items()}
