"""Files that appear whole or not at all: tensors as safetensors, everything else as JSON in their metadata."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors_torch
from torch import Tensor

from dissect.digests import digest
from dissect.files.checked import Of, Whole, fields
from dissect.files.tensorfile import read_tensors


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives the path of a file to write, which takes its place at `path` when the block ends without an error.

    It is on disk by then; after an error there is no trace of it, and what was at `path` is still there. Missing
    folders are made.

    Raises:
        ValueError: the path names no file.
    """
    path = _named(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    partial = path.with_name(f".{path.name}.{_writer()}.{secrets.token_hex(6)}.part")
    try:
        made = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        mode = stat.S_IMODE(os.fstat(made).st_mode)  # which the system made of the umask, as it is now
        os.close(made)
        yield partial
        with open(partial, "r+b") as written:  # Windows syncs only what may be written
            os.fsync(written.fileno())
        os.chmod(partial, mode)  # safetensors makes files that only their owner can read
        os.replace(partial, path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(partial)):
            error.filename = str(path)  # which its user knows
        raise
    finally:
        partial.unlink(missing_ok=True)


def sweep(path: str | Path) -> None:
    """Removes what processes of this machine that were killed while they wrote the file at `path` have left of it."""
    path = Path(path)
    pattern = re.compile(rf"\.{re.escape(path.name)}\.{_host()}-(\d{{1,9}})\.[0-9a-f]+\.part")
    try:
        names = os.listdir(path.parent)
    except OSError:  # there is nothing to remove, or nobody may
        return
    for name in names:
        found = pattern.fullmatch(name)
        if found is not None and not _runs(int(found[1])):
            with suppress(OSError):
                (path.parent / name).unlink()


def _writer() -> str:
    """This machine and process, as they stand in the names of files under way."""
    return f"{_host()}-{os.getpid()}"


def _host() -> str:
    return digest([os.fsencode(platform.node())], 8)


def _runs(process: int) -> bool:
    """Whether a process of this machine may still be there; on Windows there is no way to ask that does no harm."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    return True


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


def _named(path: str | Path) -> Path:
    if not Path(path).name:
        raise ValueError(f"path must name a file, but is {str(path)!r}.")
    return Path(path)


def with_suffix(path: str | Path, suffix: str) -> Path:
    """The path, with the suffix of its kind of file added unless it has it."""
    path = _named(path)
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
    tensors, metadata = _contents(kind, version, tensors, meta)
    with replacing(path) as partial:
        save_file(tensors, partial, metadata=metadata)
    return path


def bytes_of(kind: str, version: int, tensors: dict[str, Tensor], meta: dict[str, Any]) -> bytes:
    """What `save_tensors` would write."""
    tensors, metadata = _contents(kind, version, tensors, meta)
    return safetensors_torch.save(tensors, metadata=metadata)


def _contents(
    kind: str, version: int, tensors: dict[str, Tensor], meta: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a file."""
    tensors = _own_memory({name: tensor.cpu() for name, tensor in tensors.items()})
    header = {"kind": kind, "version": version, "meta": meta}
    header["sha256"] = _digest(json.dumps(header), tensors)
    # One entry: safetensors writes several in any order, and equal contents should be equal files.
    return tensors, {"dissect": json.dumps(header)}


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
    return _checked(str(path), path, kind, version)


def tensors_of(what: str, data: bytes, kind: str, version: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """As `load_tensors`, of the bytes of a file; `what` names them in messages.

    Raises:
        ValueError: see `load_tensors`.
    """
    return _checked(what, io.BytesIO(data), kind, version)


def _checked(path: str, source: Path | BinaryIO, kind: str, version: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, metadata, header = _read(path, source, None)
    if header.get("kind") != kind:
        raise ValueError(f"{path} must hold a {kind}, but holds {header.get('kind') or 'something else'}.")
    fields(f"{path}: the header", header, _HEADER)
    sha256 = metadata.get("sha256") or header.pop("sha256", None)  # beside the header in older files
    if header["version"] > version:
        raise ValueError(
            f"{path} is of version {header['version']}, newer than the {version} known here; update dissect."
        )
    if sha256 != _digest(json.dumps(header), tensors):
        raise ValueError(f"{path} is damaged: its content does not match its checksum.")
    return tensors, header["meta"]


def kind_of(path: Path) -> str | None:
    """What a file holds, by its header alone; None where it is no file of this library's.

    Raises:
        ValueError: a damaged file; names the path.
    """
    kind = _read(str(path), path, ())[2].get("kind")
    return kind if isinstance(kind, str) else None


def _read(
    path: str, source: Path | BinaryIO, names: Iterable[str] | None
) -> tuple[dict[str, Tensor], dict[str, str], dict[str, Any]]:
    """A file's tensors of these names, or all; its metadata; and what this library says there, if it wrote the file."""
    try:
        tensors, metadata = read_tensors(source, names)
        header = json.loads(metadata.get("dissect", "{}"))
    except (SafetensorError, ValueError, RecursionError) as error:  # no JSON, numbers too long, nested too deep
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error
    return tensors, metadata, header if isinstance(header, dict) else {}


_HEADER = {"version": Whole(1), "meta": Of(dict)}


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    """Of everything that the file holds, in an order that does not depend on the file."""
    parts: list[str | Tensor] = [text]
    for name in sorted(tensors):
        parts += [f"{name} {tensors[name].dtype} {list(tensors[name].shape)}", tensors[name]]
    return digest(parts, 64)


def _own_memory(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies, since safetensors refuses tensors that share memory."""
    contiguous = torch.contiguous_format
    return {name: tensor.detach().cpu().clone(memory_format=contiguous) for name, tensor in tensors.items()}
